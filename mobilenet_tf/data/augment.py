"""The random changes of a training picture that a config names, for tasks whose answer does not move with them."""

from __future__ import annotations

from mobilenet_tf.data import transforms


def augmentation(
    size: tuple[int, int],
    *,
    crop_scale: tuple[float, float] | None,
    crop_ratio: tuple[float, float],
    flip: bool,
    color_jitter: float,
    rand_augment_layers: int,
    rand_augment_magnitude: float,
    erasing: float,
) -> transforms.Op:
    """Sample -> Sample with a float32 image [*size, 3] in 0..255; the keys are those of `config.Augment`."""
    ops = [transforms.random_resized_crop(size, crop_scale, crop_ratio) if crop_scale else transforms.resize(size)]
    if flip:
        ops.append(transforms.random_flip())
    if color_jitter:
        ops.append(transforms.color_jitter(*[color_jitter] * 3))
    if rand_augment_layers:
        ops.append(transforms.rand_augment(rand_augment_layers, rand_augment_magnitude))
    if erasing:
        ops.append(transforms.random_erasing(erasing))
    return transforms.compose(ops)
