"""Pictures with a class for every pixel: the Source of a split, from any of the readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from mobilenet_tf.data import scenes, tfds
from mobilenet_tf.data.source import Sample, Source, image_loader, user_errors
from mobilenet_tf.utils.errors import UserError

SPLITS = ("train", "validation", "test")
IGNORE = 255
UNKNOWN = -1  # in tables: a value that no mask may hold


@dataclass(frozen=True)
class Pairs:
    """The pictures of one split and what their masks are made of.

    read_mask: mask key (for most readers the mask's path) -> uint8 [H, W] of class ids and 255; raises UserError.
    """

    images: Sequence[Path]
    masks: Sequence[str]
    classes: Sequence[str]
    read_mask: Callable[[str], np.ndarray]


def read(
    reader: str,
    root: str | Path | None,
    split: str,
    *,
    name: str | None = None,
    splits: Mapping[str, str] | None = None,
    classes: Sequence[str] | str | Path | None = None,
    colours: str | Path | None = None,
    annotations: str = "instances",
    validation_fraction: float = 0.1,
    counts: Mapping[str, int] | None = None,
    size: int = 96,
    seed: int = 0,
    on_corrupt: str = "skip",
) -> Source:
    """The Source of a split: Samples with "id", "image" uint8 [H, W, 3] and "mask" uint8 [H, W], 255 = ignore.

    reader: "folder", "voc", "cityscapes", "coco" (see `readers`), "tfds" (`root` is its data_dir, `name` the data set)
        or "scenes" (`counts` pictures a split of side `size`; two `classes`: background and animals of any breed).
    Raises UserError: no such reader or split, nothing found, and, when a sample is read, a mask that is not of its
    picture's size or holds values that stand for no class.
    """
    from mobilenet_tf.tasks.segmentation import readers

    known = {**readers.READERS, "tfds": None, "scenes": None}
    if reader not in known:
        raise UserError(f"data.reader must be one of {', '.join(known)}. Received: {reader!r}")
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}. Received: {split!r}")
    if reader == "scenes":
        return _scenes(split, counts or {}, classes, size, seed)
    if reader == "tfds":
        return _tfds(name, root, split, splits or {}, classes, validation_fraction, on_corrupt)
    options = {"classes": classes, "validation_fraction": validation_fraction, "seed": seed}
    pairs = readers.READERS[reader](Path(root), split, colours=colours, annotations=annotations, **options)
    return source(pairs, on_corrupt=on_corrupt)


def source(pairs: Pairs, *, on_corrupt: str = "skip") -> Source:
    """The Source of pairs of picture and mask. Pictures that cannot be read are skipped; a wrong mask is an error."""
    items = tf.data.Dataset.from_tensor_slices(
        {"id": [str(path) for path in pairs.images], "mask": [str(key) for key in pairs.masks]}
    )
    corrupt = {}
    load_image = image_loader(len(pairs.images), corrupt, on_corrupt=on_corrupt)

    def load(record: Sample) -> Sample:
        record = dict(record)
        key = record.pop("mask")
        sample = load_image(record)
        return {**sample, "mask": checked_mask(pairs.read_mask, sample["id"], key, sample["original_size"])}

    return Source(items, load, len(pairs.images), list(pairs.classes), corrupt)


def checked_mask(read_mask: Callable, name: tf.Tensor, key: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """The mask uint8 [H, W] of a picture of `size` (H, W; [0, 0]: unreadable). UserErrors come out of tf.data."""

    def fetch(name, key, size):
        # strings are bytes in a graph, arrays of no dimensions in eager mode
        name, key = (
            value.item() if np.ndim(value) == 0 and not isinstance(value, bytes) else value for value in (name, key)
        )
        if not size[0]:  # the picture is skipped
            return np.full((4, 4), IGNORE, np.uint8), ""
        try:
            mask = read_mask(key.decode() if isinstance(key, bytes) else key)
        except UserError as error:
            return np.zeros((1, 1), np.uint8), f"UserError: {error}"
        if mask.shape != tuple(size):
            (height, width), (rows, columns) = size, mask.shape
            message = f"the mask of {name.decode()} must be of its size, {width}x{height}"
            return mask, f"UserError: {message}. Received: {columns}x{rows}"
        return mask, ""

    mask, error = tf.numpy_function(fetch, [name, key, size], [tf.uint8, tf.string])
    with tf.control_dependencies([tf.debugging.Assert(error == b"", [error])]):
        return tf.ensure_shape(tf.identity(mask), [None, None])


# Masks in files


@dataclass(frozen=True)
class PathReader:
    """Reads mask files: index and palette PNGs as their indices, colour pictures by `colours`.

    table: int16 [256], stored value -> class id or 255; UNKNOWN for a value that is an error.
    colours: {(red, green, blue): class id or 255}, for masks that are colour pictures.
    """

    table: np.ndarray
    colours: Mapping[tuple[int, int, int], int] | None = None

    def __call__(self, path: str) -> np.ndarray:
        try:
            with Image.open(path) as image:
                if self.colours is not None:
                    return self._from_colours(np.asarray(image.convert("RGB")), path)
                if image.mode not in ("L", "P", "1"):
                    wanted = "a mask of one channel, or data.colours must name its colours"
                    raise UserError(f"{path} must be {wanted}. Received: {image.mode}")
                stored = np.asarray(image, np.uint8)
        except OSError as error:
            raise UserError(f"{path} must be a mask that can be read. Received: {error.strerror or error}") from None
        return through(self.table, stored, path)

    def _from_colours(self, image: np.ndarray, path: str) -> np.ndarray:
        packed = image.astype(np.int32) @ [1 << 16, 1 << 8, 1]
        keys = np.array([(r << 16) + (g << 8) + b for r, g, b in self.colours])
        order = np.argsort(keys)
        place = order[np.searchsorted(keys, packed, sorter=order).clip(max=len(keys) - 1)]
        wrong = keys[place] != packed
        if wrong.any():
            found = [f"#{value:06x}" for value in np.unique(packed[wrong])]
            raise UserError(f"{path} must hold the colours of data.colours only. Received: {_few(found)}")
        return np.array(list(self.colours.values()), np.uint8)[place]


def through(table: np.ndarray, stored: np.ndarray, name: str) -> np.ndarray:
    """The class ids of stored values. Raises UserError for a value that stands for none, saying whose (`name`)."""
    mask = table[stored]
    if mask.min(initial=0) == UNKNOWN:
        allowed = _ranges(np.flatnonzero(table != UNKNOWN))
        wrong = _few(np.unique(stored[mask == UNKNOWN]))
        raise UserError(f"{name} must hold the values {allowed} only. Received: {wrong}")
    return mask.astype(np.uint8)


def identity_table(classes: int) -> np.ndarray:
    """The table of masks that hold class ids and 255."""
    table = np.full(256, UNKNOWN, np.int16)
    table[:classes] = np.arange(classes)
    table[IGNORE] = IGNORE
    return table


def _few(values) -> str:
    return ", ".join(str(value) for value in values[:6]) + (", …" if len(values) > 6 else "")


def _ranges(values: np.ndarray) -> str:
    """[0, 1, 2, 255] -> "0..2, 255"."""
    parts = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{part[0]}..{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)


# TensorFlow Datasets

TFDS_CLASSES = {"oxford_iiit_pet": (1, ("pet", "background", "border"))}  # (first value, names); others count from 0
TFDS_MASKS = ("segmentation_mask", "segmentation_label")


def _tfds(name, root, split, splits, classes, fraction, on_corrupt) -> Source:
    from mobilenet_tf.tasks.segmentation.readers import read_names

    builder = tfds.builder(name, root)
    mask = next((key for key in TFDS_MASKS if key in builder.info.features), None)
    if mask is None:
        raise UserError(f"data.name must be a set with image and {' or '.join(TFDS_MASKS)}. Received: {name}")
    first, names = TFDS_CLASSES.get(builder.name, (0, ()))
    names = read_names(classes) if classes else list(names)
    if len(names) < 2:
        raise UserError(f"data.classes must name the classes of {name}, one a line. Received: {classes}")
    table = np.full(256, UNKNOWN, np.int16)
    table[first : first + len(names)] = np.arange(len(names))
    table[IGNORE] = IGNORE
    records, count = tfds.records(builder, split, splits.get(split) or _tfds_split(builder, split, splits, fraction))

    def item(record):
        return {"id": record["tfds_id"], "encoded": record["image"], "mask": record[mask]}

    def read_mask(stored):
        return through(table, stored[..., 0] if stored.ndim == 3 else stored, f"the mask of a picture of {name}")

    corrupt = {}
    load_image = image_loader(count, corrupt, on_corrupt=on_corrupt)

    def load(record: Sample) -> Sample:
        record = dict(record)
        stored = record.pop("mask")
        sample = load_image(record)
        return {**sample, "mask": checked_mask(read_mask, sample["id"], stored, sample["original_size"])}

    return Source(records.map(item), load, count, names, corrupt, tfds.SHUFFLE)


def _tfds_split(builder, split, splits, fraction):
    if split == "test" or "validation" in builder.info.splits or "validation" in splits or "train" in splits:
        return split
    kept = round(100 * (1 - fraction))
    return {"train": f"train[:{kept}%]", "validation": f"train[{kept}%:]"}[split]


# Counting


def pixel_counts(source: Source) -> np.ndarray:
    """Pixels of each value in all masks of a source, int64 [256]."""
    counts = np.zeros(256, np.int64)
    with user_errors():
        for sample in source.items.map(source.load, num_parallel_calls=tf.data.AUTOTUNE):
            if sample.get("original_size", [1])[0]:
                counts += np.bincount(sample["mask"].numpy().ravel(), minlength=256)
    return counts


def median_weights(source: Source) -> np.ndarray:
    """Median frequency balancing, float32 [C]: the median of the classes' shares over the class's own; 0 without any.

    Source: Eigen and Fergus 2015, section 6.3.2, with shares of all pixels rather than of the pictures with the class.
    """
    counts = pixel_counts(source)[: len(source.classes)]
    if not counts.any():
        raise UserError("loss.class_weights: median needs masks with classes. Received: masks of 255 alone")
    return np.where(counts, np.median(counts[counts > 0]) / np.maximum(counts, 1), 0).astype(np.float32)


# The built-in set


def _scenes(split, counts, classes, size, seed) -> Source:
    """Background and the breeds; with two `classes`, background and animals of any breed."""
    if split not in counts:
        raise UserError(f"data.counts must have {split}. Received: {', '.join(counts) or 'none'}")
    drawn = scenes.source(split, counts[split], size, seed)
    names = list(classes) if isinstance(classes, list) else ["background", *drawn.classes]
    if len(names) not in (2, 1 + len(drawn.classes)):
        raise UserError(f"data.classes of scenes must be 2 names or {1 + len(drawn.classes)}. Received: {len(names)}")

    def load(record: Sample) -> Sample:
        sample = drawn.load(record)
        sample["mask"] = tf.minimum(sample["mask"], len(names) - 1)
        return {key: sample[key] for key in ("id", "image", "mask", "index", "seed") if key in sample}

    return replace(drawn, load=load, classes=names)
