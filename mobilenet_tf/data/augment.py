"""The random changes of training images that a config names, for tasks whose targets do not move with the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilenet_tf.data import transforms

if TYPE_CHECKING:
    from mobilenet_tf.config import Augment


def augmentation(size: tuple[int, int], options: Augment) -> transforms.Op:
    """Sample -> Sample with a float32 image [*size, 3] in 0..255."""
    if options.crop_scale:
        ops = [transforms.random_resized_crop(size, options.crop_scale, options.crop_ratio)]
    else:
        ops = [transforms.resize(size)]
    if options.flip:
        ops.append(transforms.random_flip())
    if options.color_jitter:
        ops.append(transforms.color_jitter(*[options.color_jitter] * 3))
    if options.rand_augment_layers:
        ops.append(transforms.rand_augment(options.rand_augment_layers, options.rand_augment_magnitude))
    if options.erasing:
        ops.append(transforms.random_erasing(options.erasing))
    return transforms.compose(ops)
