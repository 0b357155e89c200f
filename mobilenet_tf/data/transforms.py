"""Pure Sample -> Sample operations; geometry moves image, boxes and mask together.

Random ones draw from sample["seed"] alone, so that a sample's augmentation can be repeated. Images keep values in
0..255.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from mobilenet_tf.data import image_decoding, images
from mobilenet_tf.data.preprocess import GRAY
from mobilenet_tf.data.source import Sample, fold_in

Op = Callable[[Sample], Sample]
Mix = Callable[[tuple[tf.Tensor, tf.Tensor], tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

IGNORE = 255  # in masks
BOX_FIELDS = ("boxes", "labels", "crowd")  # one row a box
MIN_VISIBLE = 0.25  # of a box's area: what a crop leaves less of is dropped


def compose(ops: Sequence[Op]) -> Op:
    """One transform of several; each draws from its own seed, folded from the sample's and its position."""

    def transform(sample: Sample) -> Sample:
        out = dict(sample)
        for position, op in enumerate(ops):
            seeded = {**out, "seed": fold_in(sample["seed"], position)} if "seed" in sample else out
            image = out["image"]
            out = dict(op(seeded))
            if out["image"] is not image:
                out.pop("encoded", None)  # no longer the bytes of this image
        return {**out, "seed": sample["seed"]} if "seed" in sample else out

    return transform


# Geometry: a transform says which window, flip or affine map it wants; `apply` moves every field by it


class Sampling(NamedTuple):
    """How the pixels of a field are sampled: (values, size) -> values, the interpolation of a warp, a fill value."""

    resize: Callable
    interpolation: str
    fill: float


@dataclass(frozen=True)
class CropResizePad:
    """Shows the part of an image in a window, scaled to `shape`, with its corner at `offset` in an output of `size`.

    window: int32 [4], top, left, height, width in pixels. whole: int32 [2], height and width of the image.
    size: height, width of the output. shape, offset: int32 [2] each; None: all of `size`, from its corner on.
    """

    window: tf.Tensor
    whole: tf.Tensor
    size: tuple[int, int]
    shape: Any = None
    offset: Any = None

    def pixels(self, values, sampling: Sampling):
        """[H, W, ...] of the image -> [*size, ...]."""
        return self.resize_pad(image_decoding.crop(values, self.window), sampling)

    def resize_pad(self, part, sampling: Sampling):
        """[height, width, ...] of the window -> [*size, ...]."""
        rest = part.shape[2:]
        part = sampling.resize(part, self.size if self.shape is None else self.shape)
        if self.shape is not None:
            after = tf.constant(self.size) - self.shape - self.offset
            room = tf.concat([tf.stack([self.offset, after], 1), tf.zeros([len(rest), 2], tf.int32)], 0)
            part = tf.pad(part, room, constant_values=sampling.fill)
        return tf.ensure_shape(part, [*self.size, *rest])

    def points(self, points):
        """(y, x) [..., 2] as shares of the image's sides -> as shares of the window's."""
        part = tf.cast(self.window, tf.float32) / tf.tile(tf.cast(self.whole, tf.float32), [2])
        return (points - part[:2]) / part[2:]

    def clip(self, boxes):
        """Boxes as shares of the window -> (cut to it and as shares of the output, whether each is still seen)."""
        boxes, seen = clip_boxes(boxes)
        if self.shape is not None:
            size = tf.constant(self.size, tf.float32)
            scale, shift = (tf.tile(tf.cast(x, tf.float32) / size, [2]) for x in (self.shape, self.offset))
            boxes = boxes * scale + shift
        return boxes, seen


@dataclass(frozen=True)
class Flip:
    """Mirrors along an axis, 0 (top and bottom) or 1 (left and right), where `chosen`, bool []."""

    axis: int
    chosen: tf.Tensor

    def pixels(self, values, sampling: Sampling):
        """[H, W, ...] of the image -> [H, W, ...]."""
        return tf.cond(self.chosen, lambda: tf.reverse(values, [self.axis]), lambda: tf.identity(values))

    def points(self, points):
        """(y, x) [..., 2] as shares of the image's sides -> the same of the result's."""
        mirrored = tf.one_hot(self.axis, 2, True, False) & self.chosen
        return tf.where(mirrored, 1 - points, points)

    def clip(self, boxes):
        """Moved boxes -> (what lies in the result of them, whether each is still seen)."""
        return boxes, tf.ones(tf.shape(boxes)[:1], tf.bool)


@dataclass(frozen=True)
class Affine:
    """Moves what lies at (x, y), in pixels from the center, to matrix float32 [2, 3] times (x, y, 1).

    size: float32 [2], height and width of the image, which stay.
    """

    matrix: tf.Tensor
    size: tf.Tensor

    def pixels(self, values, sampling: Sampling):
        """[H, W, ...] of the image -> [H, W, ...]."""
        backward = tf.linalg.inv(tf.concat([self.matrix, [[0.0, 0.0, 1.0]]], 0))  # output -> input, as the op wants it
        center = (self.size[::-1] - 1) / 2
        shift = backward[:2, 2] + center - tf.linalg.matvec(backward[:2, :2], center)
        rows = tf.concat([backward[:2, :2], shift[:, None]], 1)
        flat = len(values.shape) == 2
        warped = tf.raw_ops.ImageProjectiveTransformV3(
            images=(values[..., None] if flat else values)[None],
            transforms=tf.concat([tf.reshape(rows, [1, 6]), tf.zeros([1, 2])], 1),
            output_shape=tf.shape(values)[:2],
            fill_value=float(sampling.fill),
            interpolation=sampling.interpolation,
            fill_mode="CONSTANT",
        )[0]
        return warped[..., 0] if flat else warped

    def points(self, points):
        """(y, x) [..., 2] as shares of the image's sides -> the same of the result's."""
        away = (points[..., ::-1] - 0.5) * self.size[::-1]  # (x, y) in pixels from the center
        moved = (tf.einsum("ij,...j->...i", self.matrix[:, :2], away) + self.matrix[:, 2]) / self.size[::-1] + 0.5
        return moved[..., ::-1]

    def clip(self, boxes):
        """Moved boxes -> (what lies in the result of them, whether each is still seen)."""
        return clip_boxes(boxes)


Geometry = CropResizePad | Flip | Affine


def apply(sample: Sample, geometry: Geometry) -> Sample:
    """The sample with image, mask and boxes moved by a geometry, each by its kernel."""
    out = dict(sample)
    for field, kernel in KERNELS.items():
        if field in sample:
            out |= kernel(sample, geometry)
    return out


def _image_kernel(sample, geometry):
    return {"image": geometry.pixels(sample["image"], IMAGE_SAMPLING)}


def _mask_kernel(sample, geometry):
    return {"mask": geometry.pixels(sample["mask"], MASK_SAMPLING)}


def _boxes_kernel(sample, geometry):
    """The boxes around their moved corners, and all fields of those that are still seen."""
    corners = tf.gather(sample["boxes"], [[0, 1], [0, 3], [2, 1], [2, 3]], axis=1)  # [N, 4, 2] (y, x)
    moved = geometry.points(corners)
    boxes, seen = geometry.clip(tf.concat([tf.reduce_min(moved, 1), tf.reduce_max(moved, 1)], 1))
    fields = {**sample, "boxes": boxes}
    return {key: tf.boolean_mask(fields[key], seen) for key in BOX_FIELDS if key in fields}


KERNELS: dict[str, Callable[[Sample, Geometry], Sample]] = {
    "image": _image_kernel,
    "mask": _mask_kernel,
    "boxes": _boxes_kernel,
}


def image_size(sample: Sample) -> tf.Tensor:
    """The (height, width) int32 [2] of a sample's image, without decoding it straight after `Source.load`."""
    if "encoded" not in sample:
        return tf.shape(sample["image"])[:2]
    return tf.maximum(sample["original_size"], images.MIN_SIDE)  # that of the blank for an unreadable item


def crop_resize_pad(sample: Sample, window, size: tuple[int, int], shape=None, offset=None) -> Sample:
    """The sample seen through a window, as `CropResizePad` says; of an encoded image only that part is decoded."""
    whole, encoded = image_size(sample), sample.get("encoded")
    if encoded is None:
        return apply(sample, CropResizePad(window, whole, size, shape, offset))
    part, window = image_decoding.decode_crop(encoded, window, size if shape is None else shape)
    geometry = CropResizePad(window, whole, size, shape, offset)
    others = {key: value for key, value in sample.items() if key != "image"}
    return {**apply(others, geometry), "image": geometry.resize_pad(part, IMAGE_SAMPLING)}


def resize(size: int | tuple[int, int], crop_fraction: float | None = None) -> Op:
    """Image -> float32 [*size, 3]: all of it, or (evaluation) its central part.

    With `crop_fraction` the result is what resizing the shorter side to size / crop_fraction and cutting out the center
    gives: the aspect ratio is kept. Without, the image is stretched to `size` (height, width; an int is square).
    """
    target = _pair(size)

    def op(sample: Sample) -> Sample:
        whole = tf.shape(sample["image"])[:2]
        if crop_fraction is None:
            return apply(sample, CropResizePad(_all_of(whole), whole, target))
        shape = tf.constant(target, tf.float32)
        scale = tf.reduce_min(tf.cast(whole, tf.float32) / shape)
        part = tf.cast(tf.round(shape * scale * crop_fraction), tf.int32)
        part = tf.clip_by_value(part, 1, whole)
        return apply(sample, CropResizePad(tf.concat([(whole - part) // 2, part], 0), whole, target))

    return op


def random_resized_crop(
    size: int | tuple[int, int], scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> Op:
    """A random part of the image -> float32 [*size, 3]; `scale` is its share of the area, `ratio` its width / height.

    Straight after `Source.load` only that part of a JPEG is decoded. Source: Szegedy et al. 2014, section 6.
    """
    target = _pair(size)

    def op(sample: Sample) -> Sample:
        shape = tf.concat([image_size(sample), [3]], 0)
        return crop_resize_pad(sample, _random_window(shape, sample["seed"], scale, ratio), target)

    return op


def letterbox(size: tuple[int, int], resize: str = "letterbox") -> Op:
    """Image -> float32 [*size, 3] with all of the image at the top left, its size that of `resized_shape`.

    What is left over is gray in the image and 255 in the mask.
    """

    def op(sample: Sample) -> Sample:
        whole = tf.shape(sample["image"])[:2]
        shape = resized_shape(resize, size, whole)
        return apply(sample, CropResizePad(_all_of(whole), whole, size, shape, tf.constant([0, 0])))

    return op


def random_scale_crop(size: tuple[int, int], scale: tuple[float, float], resize: str, full: tuple[int, int]) -> Op:
    """A random part -> float32 [*size, 3], its size `scale` times that which `letterbox(full, resize)` would give.

    An image that becomes smaller than `size` is put at a random position in it; the rest is gray, 255 in the mask.
    The mask's pixels are picked, never mixed. Source: deeplab/core/preprocess_utils.py.
    """

    def op(sample: Sample) -> Sample:
        seed, target = sample["seed"], tf.constant(size, tf.float32)
        shape = tf.shape(sample["image"])[:2]
        whole = tf.cast(shape, tf.float32)
        factor = tf.random.stateless_uniform([], fold_in(seed, 0), *scale)
        factor *= tf.cast(resized_shape(resize, full, shape), tf.float32) / whole  # [2]
        part = tf.clip_by_value(tf.round(target / factor), 1, whole)
        shown = tf.clip_by_value(tf.round(part * factor), 1, target)
        draws = tf.random.stateless_uniform([2, 2], fold_in(seed, 1))
        corner, offset = tf.floor(draws[0] * (whole - part + 1)), tf.floor(draws[1] * (target - shown + 1))
        window, shown, offset = (tf.cast(x, tf.int32) for x in (tf.concat([corner, part], 0), shown, offset))
        return apply(sample, CropResizePad(window, shape, size, shown, offset))

    return op


def resized_shape(resize: str, size: tuple[int, int], whole) -> tf.Tensor:
    """The (height, width) int32 [2] at which `letterbox` shows an image of (height, width) `whole` in `size`.

    resize: "stretch" (all of `size`), "letterbox" (as much as the shape allows) or "pad" (as it is, unless it is
    larger).
    """
    target, whole = tf.constant(size, tf.int64), tf.cast(whole, tf.int64)
    across = target * whole[::-1]  # compares the shapes without division
    rounded = (2 * whole * target[::-1] + whole[::-1]) // (2 * whole[::-1])
    inside = tf.where(across <= across[::-1], target, tf.maximum(rounded, 1))
    padded = tf.where(tf.reduce_all(whole <= target), whole, inside)
    return tf.cast({"stretch": target, "letterbox": inside, "pad": padded}[resize], tf.int32)


def random_flip(axis: int = 1) -> Op:
    """Mirrors every other time: left and right, or (axis 0) top and bottom."""

    def op(sample: Sample) -> Sample:
        return apply(sample, Flip(axis, tf.random.stateless_uniform([], sample["seed"]) < 0.5))

    return op


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _all_of(whole):
    return tf.concat([[0, 0], whole], 0)


def _random_window(shape, seed, scale, ratio):
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        tf.zeros([1, 0, 4]),
        seed,
        min_object_covered=0.0,
        aspect_ratio_range=ratio,
        area_range=scale,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], extent[:2]], 0)


def _bilinear(image, size):
    """[h, w, 3] -> float32 [*size, 3]. Up to a factor of 2 no pixel goes unused without a wider filter."""
    shrink = tf.reduce_max(tf.shape(image)[:2] / tf.convert_to_tensor(size))
    return tf.cond(
        shrink > 2,
        lambda: tf.image.resize(image, size, antialias=True),
        lambda: tf.image.resize(image, size),
    )


def _nearest(mask, size):
    """[h, w] -> [*size]: of each pixel of the result the one that lies under its center."""
    whole, size = tf.shape(mask), size if isinstance(size, tuple) else tf.unstack(size)
    rows, columns = ((2 * tf.range(n) + 1) * whole[axis] // (2 * n) for axis, n in enumerate(size))
    return tf.gather(tf.gather(mask, rows), columns, axis=1)


IMAGE_SAMPLING = Sampling(_bilinear, "BILINEAR", GRAY)
MASK_SAMPLING = Sampling(_nearest, "NEAREST", IGNORE)


def clip_boxes(boxes):
    """Boxes [..., 4] cut to 0..1, and whether enough of each is left to be seen, bool [...]."""
    clipped = tf.clip_by_value(boxes, 0.0, 1.0)
    return clipped, box_area(clipped) >= tf.maximum(MIN_VISIBLE * box_area(boxes), 1e-8)


def box_area(boxes):
    """The areas [...] of boxes [..., 4]."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


# Color


def color_jitter(brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0) -> Op:
    """Random changes of color, image -> float32.

    brightness: added, up to this share of the range; contrast, saturation: factors of 1 ± this; hue: turned by up to
    this share of the circle (0.5 at most).
    """
    steps = [
        (brightness, lambda image, seed: tf.image.stateless_random_brightness(image, brightness, seed)),
        (contrast, lambda image, seed: tf.image.stateless_random_contrast(image, 1 - contrast, 1 + contrast, seed)),
        (saturation, lambda im, seed: tf.image.stateless_random_saturation(im, 1 - saturation, 1 + saturation, seed)),
        (hue, lambda image, seed: tf.image.stateless_random_hue(image, hue, seed)),
    ]

    def op(sample: Sample) -> Sample:
        image = tf.cast(sample["image"], tf.float32) / 255
        for position, (strength, step) in enumerate(steps):
            if strength:
                image = tf.clip_by_value(step(image, fold_in(sample["seed"], position)), 0.0, 1.0)
        return {**sample, "image": image * 255}

    return op


def random_erasing(probability: float, scale=(0.02, 1 / 3), ratio=(0.3, 10 / 3)) -> Op:
    """Puts noise over a random rectangle of `scale` of the image's area. Source: Zhong et al. 2017 (RE-R)."""

    def op(sample: Sample) -> Sample:
        image, seed = sample["image"], sample["seed"]
        shape = tf.shape(image)

        def erased():
            top, left, height, width = tf.unstack(_random_window(shape, fold_in(seed, 1), scale, ratio))
            noise = tf.random.stateless_uniform([height, width, 3], fold_in(seed, 2), maxval=255.0)
            inside = [[top, shape[0] - top - height], [left, shape[1] - left - width], [0, 0]]
            erase = tf.pad(tf.ones([height, width, 1], tf.bool), inside)
            return tf.where(erase, tf.cast(tf.pad(noise, inside), image.dtype), image)

        chosen = tf.random.stateless_uniform([], fold_in(seed, 0)) < probability
        return {**sample, "image": tf.cond(chosen, erased, lambda: tf.identity(image))}

    return op


# RandAugment


def rand_augment(layers: int, magnitude: float) -> Op:
    """`layers` operations drawn from 14, each at strength `magnitude` (0..10). Image -> float32.

    Turned and moved parts show gray in the image and 255 in the mask. Source: Cubuk et al. 2019; strengths of
    torchvision.transforms.RandAugment.
    """
    strength = magnitude / 10

    def op(sample: Sample) -> Sample:
        sample = {**sample, "image": tf.cast(sample["image"], tf.float32)}
        moved = [key for key in ("image", "mask", *BOX_FIELDS) if key in sample]
        for layer in range(layers):
            seed = fold_in(sample["seed"], layer)
            choice = tf.random.stateless_uniform([], fold_in(seed, 0), maxval=len(AUGMENTATIONS), dtype=tf.int32)
            sign = tf.where(tf.random.stateless_uniform([], fold_in(seed, 1)) < 0.5, -1.0, 1.0)
            part = {key: sample[key] for key in moved}
            branches = [
                lambda augment=augment, part=part, sign=sign: augment(part, strength, sign) for augment in AUGMENTATIONS
            ]
            sample = {**sample, **tf.switch_case(choice, branches)}
            sample["image"] = tf.ensure_shape(sample["image"], part["image"].shape)
        return sample

    return op


def _pixels(change):
    """An augmentation of the pixels alone, from (image, strength, sign) -> image."""

    def augment(sample, strength, sign):
        image = sample["image"]
        return {**sample, "image": tf.clip_by_value(change(image, strength, sign), 0.0, 255.0)}

    return augment


def _blend(base):
    """Moves the image away from `base(image)` or towards it, by a factor of 1 ± 0.9 strength."""
    return _pixels(lambda image, strength, sign: base(image) + (1 + sign * 0.9 * strength) * (image - base(image)))


def _gray(image):
    return tf.tile(tf.image.rgb_to_grayscale(image), [1, 1, 3])


def _smooth(image):
    kernel = tf.tile(tf.reshape(tf.constant([1.0, 1, 1, 1, 5, 1, 1, 1, 1]) / 13, [3, 3, 1, 1]), [1, 1, 3, 1])
    smooth = tf.nn.depthwise_conv2d(image[None], kernel, [1, 1, 1, 1], "VALID")[0]
    frame = [[1, 1], [1, 1], [0, 0]]
    return tf.where(tf.pad(tf.ones_like(smooth, tf.bool), frame), tf.pad(smooth, frame), image)


def _autocontrast(image, strength, sign):
    low, high = tf.reduce_min(image, [0, 1]), tf.reduce_max(image, [0, 1])
    return tf.where(high > low, tf.math.divide_no_nan(image - low, high - low) * 255, image)


def _equalize(image, strength, sign):
    levels = tf.cast(image, tf.int32)

    def channel(values):
        histogram = tf.math.bincount(tf.reshape(values, [-1]), minlength=256, maxlength=256)
        cumulative = tf.cumsum(histogram)
        lowest = tf.reduce_min(tf.boolean_mask(cumulative, histogram > 0))
        spread = tf.cast(cumulative - lowest, tf.float32) / tf.cast(tf.maximum(cumulative[-1] - lowest, 1), tf.float32)
        return tf.where(cumulative[-1] > lowest, tf.gather(tf.round(spread * 255), values), tf.cast(values, tf.float32))

    return tf.stack([channel(levels[..., c]) for c in range(3)], -1)


def _posterize(image, strength, sign):
    step = 2.0 ** round(4 * strength)
    return tf.floor(image / step) * step


def _solarize(image, strength, sign):
    return tf.where(image >= 255 * (1 - strength), 255 - image, image)


def _affine(matrix):
    """A geometric augmentation, from (strength * sign) -> 2 x 3: where (x, y) from the center, in image sides, goes."""

    def augment(sample, strength, sign):
        size = tf.cast(tf.shape(sample["image"])[:2], tf.float32)
        (a, b, c), (d, e, f) = matrix(strength * sign)
        return apply(sample, Affine(tf.reshape(tf.stack([a, b, c * size[1], d, e, f * size[0]]), [2, 3]), size))

    return augment


def _rotation(amount):
    angle = amount * 0.5236  # 30 degrees
    return (tf.cos(angle), -tf.sin(angle), 0.0), (tf.sin(angle), tf.cos(angle), 0.0)


AUGMENTATIONS = [
    lambda sample, strength, sign: {key: tf.identity(value) for key, value in sample.items()},
    _affine(lambda amount: ((1.0, 0.3 * amount, 0.0), (0.0, 1.0, 0.0))),  # shear in x
    _affine(lambda amount: ((1.0, 0.0, 0.0), (0.3 * amount, 1.0, 0.0))),  # shear in y
    _affine(lambda amount: ((1.0, 0.0, 0.45 * amount), (0.0, 1.0, 0.0))),  # move in x
    _affine(lambda amount: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.45 * amount))),  # move in y
    _affine(_rotation),
    _blend(tf.zeros_like),  # brightness
    _blend(_gray),  # saturation
    _blend(lambda image: tf.zeros_like(image) + tf.reduce_mean(_gray(image))),  # contrast
    _blend(_smooth),  # sharpness
    _pixels(_autocontrast),
    _pixels(_equalize),
    _pixels(_posterize),
    _pixels(_solarize),
]


# Batches


def mixup(alpha: float) -> Mix:
    """Blends each image [N, H, W, 3] and one-hot target [N, C] with its neighbor's. Source: Zhang et al. 2017."""

    def mix(batch, seed):
        values, targets = batch
        share = _beta(alpha, tf.shape(values)[:1], seed)  # [N]
        return _lerp(tf.cast(values, tf.float32), share), _lerp(targets, share)

    return mix


def cutmix(alpha: float) -> Mix:
    """Puts a random rectangle of its neighbor into each image, and as much of the target. Source: Yun et al. 2019."""

    def mix(batch, seed):
        values, targets = batch
        count, height, width = (tf.shape(values)[axis] for axis in range(3))
        share = _beta(alpha, [count], fold_in(seed, 0))
        rows = _spans(height, tf.sqrt(1 - share), fold_in(seed, 1))  # [N, H]
        columns = _spans(width, tf.sqrt(1 - share), fold_in(seed, 2))
        pasted = tf.logical_and(rows[:, :, None], columns[:, None, :])  # [N, H, W]
        share = 1 - tf.reduce_mean(tf.cast(pasted, tf.float32), [1, 2])
        return tf.where(pasted[..., None], tf.roll(values, 1, 0), values), _lerp(targets, share)

    return mix


def one_of(mixes: Sequence[Mix]) -> Mix:
    """Draws one of several mixes for each batch."""

    def mix(batch, seed):
        values, targets = batch
        batch = tf.cast(values, tf.float32), targets
        choice = tf.random.stateless_uniform([], fold_in(seed, 0), maxval=len(mixes), dtype=tf.int32)
        return tf.switch_case(choice, [lambda mix=mix: mix(batch, fold_in(seed, 1)) for mix in mixes])

    return mix


def _lerp(values, share):
    share = tf.reshape(share, [-1] + [1] * (len(values.shape) - 1))
    return share * values + (1 - share) * tf.roll(values, 1, 0)  # batches are shuffled: the neighbor is a random one


def _beta(alpha, shape, seed):
    draws = tf.random.stateless_gamma(tf.concat([shape, [2]], 0), seed, alpha)
    return tf.math.divide_no_nan(draws[:, 0], draws[:, 0] + draws[:, 1])


def _spans(length, part, seed):
    """[N, length]: true from a random center - part * length / 2 to center + part * length / 2."""
    center = tf.random.stateless_uniform(tf.shape(part), seed) * tf.cast(length, tf.float32)
    half = part * tf.cast(length, tf.float32) / 2
    position = tf.range(length, dtype=tf.float32)[None] + 0.5
    return tf.abs(position - center[:, None]) < half[:, None]
