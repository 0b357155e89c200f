"""SSD's random changes of an image and its boxes, and mosaics of a batch. Every draw comes from sample["seed"]."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mobilenet_tf.data.source import Batch, Sample, fold_in
from mobilenet_tf.data.transforms import BOX_FIELDS, Op, box_area, clip_boxes, crop_resize_pad, image_size

OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # the smallest IoU of a crop with some box; 1: no crop
OVERLAPS_DRAWN = 5  # how many of OVERLAPS are tried before the image stays whole
CROPS_PER_OVERLAP = 40  # how many crops are tried for each of them
CROP_SIDES = (0.3, 1.0)  # the sides of a crop as shares of the image's
CROP_RATIOS = (0.5, 2.0)  # width / height of a crop
MOSAIC_SIDES = (0.5, 1.0)  # the sides of what a mosaic shows as shares of the four images' together


def random_view(
    size: tuple[int, int], *, zoom_out: float = 0.5, zoom_out_max: float = 4.0, iou_crop: float = 1.0, pad: bool = False
) -> Op:
    """Zoom-out, then IoU-constrained crop -> float32 [*size, 3]; scaled once. Boxes stay whose center is in sight.

    Straight after `Source.load` only the part of a JPEG that is seen is decoded. The rest is gray.

    Args:
        zoom_out: probability of a canvas whose sides are up to `zoom_out_max` times the image's, which lies anywhere
            on it.
        iou_crop: probability of a crop; one of the smallest overlaps with a box is drawn from `OVERLAPS`.
        pad: start from a canvas of the shape of `size` instead of the image's own.
    Source: arXiv:1512.02325, sections 2.2 and 3.6; torchvision/references/detection/transforms.py.
    """

    def op(sample: Sample) -> Sample:
        seed, whole = sample["seed"], image_size(sample)
        pixels = tf.cast(whole, tf.float32)
        window = _canvas(pixels, size) if pad else tf.constant([0.0, 0.0, 1.0, 1.0])
        window = _sometimes(zoom_out, fold_in(seed, 0), lambda s: _zoomed_out(window, zoom_out_max, s), window)
        shape = window[2:] * pixels
        boxes = _seen_from(window, sample["boxes"])
        wanted = tf.boolean_mask(boxes, tf.logical_not(sample["crowd"]))
        none = tf.constant([0.0, 0.0, 1.0, 1.0])
        crop = _sometimes(iou_crop, fold_in(seed, 1), lambda s: crop_window(wanted, shape, s), none)
        visible = center_inside(_seen_from(crop, boxes), tf.constant([[0.0, 0.0, 1.0, 1.0]]))[:, 0]
        sample = sample | {key: tf.boolean_mask(sample[key], visible) for key in BOX_FIELDS if key in sample}
        window = tf.concat([window[:2] + crop[:2] * window[2:], crop[2:] * window[2:]], 0)
        part, shape, offset = _pixels(window * tf.tile(pixels, [2]), whole, size)
        return crop_resize_pad(sample, part, size, shape, offset)

    return op


def _sometimes(probability, seed, draw, otherwise):
    chosen = tf.random.stateless_uniform([], fold_in(seed, 0)) < probability
    return tf.cond(chosen, lambda: draw(fold_in(seed, 1)), lambda: otherwise)


def _canvas(pixels, size):
    """The window, in sides of the image, that keeps its shape in `size`, with the image at its top left."""
    scale = tf.reduce_min(tf.constant(size, tf.float32) / pixels)
    return tf.concat([[0.0, 0.0], tf.constant(size, tf.float32) / (scale * pixels)], 0)


def _zoomed_out(window, most, seed):
    factor = tf.random.stateless_uniform([], fold_in(seed, 0), 1.0, most)
    corner = tf.random.stateless_uniform([2], fold_in(seed, 1)) * (factor - 1)
    return tf.concat([window[:2] - corner * window[2:], factor * window[2:]], 0)


def _seen_from(window, boxes):
    """Boxes [N, 4] in the coordinates of a window (top, left, height, width)."""
    return (boxes - tf.tile(window[:2], [2])) / tf.tile(window[2:], [2])


def crop_window(boxes: tf.Tensor, shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A random part (top, left, height, width within 0..1) that overlaps some box [N, 4] by a random least IoU.

    shape: float32 [2], height and width in pixels, for the limits of the aspect ratio. All of it where none is found;
    without boxes any part will do.
    """
    options = tf.random.stateless_uniform([OVERLAPS_DRAWN], fold_in(seed, 0), maxval=len(OVERLAPS), dtype=tf.int32)
    least = tf.repeat(tf.gather(tf.constant(OVERLAPS), options), CROPS_PER_OVERLAP)  # [R]
    draws = tf.random.stateless_uniform([OVERLAPS_DRAWN * CROPS_PER_OVERLAP, 4], fold_in(seed, 1))
    sides = CROP_SIDES[0] + draws[:, :2] * (CROP_SIDES[1] - CROP_SIDES[0])
    corners = draws[:, 2:] * (1 - sides)
    crops = tf.concat([corners, corners + sides], 1)  # [R, 4]
    ratio = sides[:, 1] * shape[1] / (sides[:, 0] * shape[0])
    overlap = tf.where(center_inside(boxes, crops), _iou(boxes, crops), -1.0)  # [N, R]
    alone = tf.equal(tf.shape(boxes)[0], 0)
    fits = (ratio >= CROP_RATIOS[0]) & (ratio <= CROP_RATIOS[1])
    fits &= alone | (tf.reduce_max(tf.pad(overlap, [[1, 0], [0, 0]], constant_values=-1.0), 0) >= least)
    is_whole = least >= 1
    first_fit = tf.argmax(tf.cast(fits | is_whole, tf.int32))  # the first, in the order they were drawn
    keep_whole = is_whole[first_fit] | ~tf.reduce_any(fits | is_whole)
    return tf.where(keep_whole, [0.0, 0.0, 1.0, 1.0], tf.concat([corners[first_fit], sides[first_fit]], 0))


def center_inside(boxes: tf.Tensor, crops: tf.Tensor) -> tf.Tensor:
    """Whether the centers of boxes [N, 4] lie in crops [R, 4]: bool [N, R]."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    inside = (center[:, None] > crops[None, :, :2]) & (center[:, None] < crops[None, :, 2:])
    return tf.reduce_all(inside, -1)


def _iou(a, b):
    low, high = tf.maximum(a[:, None, :2], b[None, :, :2]), tf.minimum(a[:, None, 2:], b[None, :, 2:])
    common = tf.reduce_prod(tf.maximum(high - low, 0.0), -1)
    union = box_area(a)[:, None] + box_area(b)[None] - common
    return tf.math.divide_no_nan(common, union)


def _pixels(window, whole, size):
    """(the part of the image in a window, int32 [4]; its (height, width) in `size`; its (top, left) there)."""
    target = tf.constant(size, tf.float32)
    low = tf.clip_by_value(tf.cast(tf.round(window[:2]), tf.int32), 0, whole - 1)
    high = tf.clip_by_value(tf.cast(tf.round(window[:2] + window[2:]), tf.int32), low + 1, whole)
    scale = target / window[2:]
    offset = tf.clip_by_value(tf.round((tf.cast(low, tf.float32) - window[:2]) * scale), 0, target - 1)
    shape = tf.clip_by_value(tf.round(tf.cast(high - low, tf.float32) * scale), 1, target - offset)
    return tf.concat([low, high - low], 0), tf.cast(shape, tf.int32), tf.cast(offset, tf.int32)


def photometric(probability: float = 0.5) -> Op:
    """Brightness, contrast, saturation and hue, each with this probability; contrast before or after the colors.

    Strengths of arXiv:1512.02325's code: ±32 of 255, factors 0.5 to 1.5 twice, ±18 degrees.
    """
    changes = {
        "brightness": lambda image, seed: tf.image.stateless_random_brightness(image, 32 / 255, seed),
        "contrast": lambda image, seed: tf.image.stateless_random_contrast(image, 0.5, 1.5, seed),
        "saturation": lambda image, seed: tf.image.stateless_random_saturation(image, 0.5, 1.5, seed),
        "hue": lambda image, seed: tf.image.stateless_random_hue(image, 18 / 360, seed),
    }

    def op(sample: Sample) -> Sample:
        seed = sample["seed"]
        image = tf.cast(sample["image"], tf.float32) / 255
        early = tf.random.stateless_uniform([], fold_in(seed, 0)) < 0.5
        order = [
            ("brightness", True),
            ("contrast", early),
            ("saturation", True),
            ("hue", True),
            ("contrast", tf.logical_not(early)),
        ]
        for position, (name, now) in enumerate(order, 1):
            draw = tf.random.stateless_uniform([], fold_in(seed, 2 * position)) < probability
            op_seed = fold_in(seed, 2 * position + 1)
            changed = lambda image=image, name=name, s=op_seed: tf.clip_by_value(changes[name](image, s), 0, 1)  # noqa: E731
            image = tf.cond(draw & now, changed, lambda image=image: image)
        return {**sample, "image": image * 255}

    return op


def mark_mosaic(probability: float) -> Op:
    """Adds "mosaic", bool: whether `mosaic` shall make this sample one of four when it has become part of a batch."""
    return lambda sample: {**sample, "mosaic": tf.random.stateless_uniform([], sample["seed"]) < probability}


def mosaic(batch: Batch) -> Batch:
    """Where batch["mosaic"] says so, a random part of four images side by side: an image and the next three.

    Images [N, H, W, 3]; boxes [N, T, 4] become [N, 4T, 4], with label -1 and no area where there is none or under a
    quarter of it is seen. Source: arXiv:2004.10934, section 3.3.
    """
    image, chosen = batch["image"], batch["mosaic"]
    count, size = tf.shape(image)[0], image.shape[1:3]
    four = [tf.roll(image, -i, 0) for i in range(4)]
    canvas = tf.concat([tf.concat(four[:2], 2), tf.concat(four[2:], 2)], 1)
    draws = tf.map_fn(
        lambda seed: tf.random.stateless_uniform([3], fold_in(seed, 1)), batch["seed"], fn_output_signature=tf.float32
    )
    side = MOSAIC_SIDES[0] + draws[:, :1] * (MOSAIC_SIDES[1] - MOSAIC_SIDES[0])  # [N, 1]
    corner = draws[:, 1:] * (1 - side)
    windows = tf.concat([corner, corner + side], 1)
    parts = tf.image.crop_and_resize(canvas, windows, tf.range(count), size)
    quarters = tf.constant([[0.0, 0.0], [0.0, 0.5], [0.5, 0.0], [0.5, 0.5]])
    boxes = [tf.roll(batch["boxes"], -i, 0) / 2 + tf.tile(quarters[i], [2]) for i in range(4)]
    boxes = (tf.concat(boxes, 1) - tf.tile(corner, [1, 2])[:, None]) / side[:, None]
    clipped, seen = clip_boxes(boxes)
    labels = tf.concat([tf.roll(batch["labels"], -i, 0) for i in range(4)], 1)
    labels = tf.where(seen, labels, -1)
    crowd = tf.concat([tf.roll(batch["crowd"], -i, 0) for i in range(4)], 1)
    room = [[0, 0], [0, 3 * tf.shape(batch["labels"])[1]]]
    one: Any = chosen[:, None]  # the stubs know no ellipsis as an index
    return {
        **batch,
        "image": tf.where(chosen[:, None, None, None], parts, tf.cast(image, tf.float32)),
        "boxes": tf.where(one[..., None], clipped, tf.pad(batch["boxes"], [*room, [0, 0]])),
        "labels": tf.where(one, labels, tf.pad(batch["labels"], room, constant_values=-1)),
        "crowd": tf.where(one, crowd, tf.pad(batch["crowd"], room)),
    }
