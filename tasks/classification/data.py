"""Labelled pictures from folders, CSV files, TensorFlow Datasets or the built-in scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilenet_tf.data import image_decoding, images, scenes, tfds
from mobilenet_tf.data.image_lists import Row, csv_rows, folder_rows, stratified
from mobilenet_tf.data.source import Sample, Source, file_source, image_loader
from mobilenet_tf.utils.errors import UserError

SPLITS = ("train", "validation", "test")


def read(
    reader: str,
    root: str | Path | None,
    split: str,
    *,
    name: str | None = None,
    splits: Mapping[str, str] | None = None,
    classes: str | Path | None = None,
    validation_fraction: float = 0.1,
    box_crop: bool = False,
    box_margin: float = 0.1,
    counts: Mapping[str, int] | None = None,
    size: int = 96,
    seed: int = 0,
    on_corrupt: str = "skip",
) -> Source:
    """The Source of a split: Samples with "id", "image" uint8 [H, W, 3] and "label" int32.

    reader: "folder" (root/split/class/*.jpg or root/class/*.jpg), "csv" (`root` is a file with columns path, label and,
        if you like, split; paths relative to it), "tfds" (`root` is its data_dir, `name` the data set) or "scenes".
    splits: TFDS expressions a split, such as train[:90%]. classes: a label file, one class name a line, in label order.
    validation_fraction: drawn from train, class by class, where there is no validation split; where there are no
        splits at all, test gets as much again. Of a TFDS train split it is the last part.
    box_crop, box_margin: TFDS: cut out the (largest) annotated box, wider by this share of its sides on each.
    counts, size: pictures a split and their side in pixels, for the scenes.
    Raises UserError: no such reader or split, nothing found, labels and class names that do not fit, one class only.
    """
    if reader not in READERS:
        raise UserError(f"data.reader must be one of {', '.join(READERS)}. Received: {reader!r}")
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}. Received: {split!r}")
    options = {
        "name": name, "splits": splits or {}, "classes": classes, "validation_fraction": validation_fraction,
        "box_crop": box_crop, "box_margin": box_margin, "counts": counts or {}, "size": size, "seed": seed,
        "on_corrupt": on_corrupt,
    }  # fmt: skip
    return READERS[reader](None if root is None else Path(root), split, **options)


# Folders and CSV files


def _read_folder(root, split, **options):
    return _from_rows(folder_rows(root), root, split, **options)


def _read_csv(root, split, **options):
    return _from_rows(csv_rows(root), root, split, **options)


def _from_rows(rows, root, split, *, classes, validation_fraction, seed, on_corrupt, **_):
    names = _class_names(rows, root, classes)
    chosen = _choose(rows, split, validation_fraction, seed)
    if not chosen:
        raise UserError(f"{root} must have pictures for the split {split}. Received: none")
    label_of = {label: index for index, label in enumerate(names)}
    labels = np.array([label_of[row.label] for row in chosen], np.int32)
    return file_source([row.path for row in chosen], {"label": labels}, names, on_corrupt=on_corrupt)


def _class_names(rows: Sequence[Row], root, label_file) -> list[str]:
    """The names in the label file, or those of the training rows, sorted; they fit the rows."""
    trained = [row for row in rows if row.split in ("train", None)] or rows
    known = _label_file(label_file) if label_file else sorted({row.label for row in trained})
    allowed = set(known)
    for row in rows:
        if row.label not in allowed:
            source = label_file or f"the train split of {root}"
            raise UserError(f"{source} must have every class. Received: {row.path} of unknown class {row.label!r}")
    unused = sorted(allowed - {row.label for row in rows})
    if unused:
        raise UserError(
            f"{label_file} must only name classes of {root}. Received: {', '.join(unused)}, without pictures"
        )
    return _several(known, root)


def _label_file(path) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"data.classes must be a text file. Received: {path}: {error.strerror}") from None
    names = [line.strip() for line in lines if line.strip()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} must name each class once. Received: {twice} more than once")
    return names


def _several(classes, where):
    if len(classes) < 2:
        raise UserError(f"{where} must have at least two classes. Received: {', '.join(classes) or 'none'}")
    return list(classes)


def _choose(rows: Sequence[Row], split: str, fraction: float, seed: int) -> list[Row]:
    """The rows of a split; what has no split of its own is divided class by class, the same way for every split."""
    own = [row for row in rows if row.split == split]
    undivided = [row for row in rows if row.split is None]
    if undivided:
        return own + stratified(undivided, {"validation": fraction, "test": fraction}, seed)[split]
    if split == "test" or any(row.split == "validation" for row in rows):
        return own
    train = [row for row in rows if row.split == "train"]
    return stratified(train, {"validation": fraction}, seed)[split]


# TensorFlow Datasets


def _read_tfds(root, split, *, name, splits, classes, validation_fraction, box_crop, box_margin, on_corrupt, **_):
    builder = tfds.builder(name, root)
    features = builder.info.features
    if features is None or not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise UserError(f"data.name must be a classification set with image and label. Received: {name}")
    names = _several(features["label"].names, name)
    if classes and _label_file(classes) != names:
        raise UserError(f"{classes} must name the classes of {name} in its order. Received: other names")
    if box_crop and _boxes_of(features) is None:
        raise UserError(f"data.box_crop needs boxes (bbox or objects/bbox). Received: {name} has {', '.join(features)}")

    expression = splits.get(split) or _tfds_split(builder, split, splits, validation_fraction)
    encoded, count = tfds.records(builder, split, expression)

    def item(record):
        kept = {"id": record["tfds_id"], "encoded": record["image"], "label": tf.cast(record["label"], tf.int32)}
        return {**kept, "box": _largest(_boxes_of(record))} if box_crop else kept

    corrupt = {}
    load = image_loader(count, corrupt, on_corrupt=on_corrupt)
    source = Source(encoded.map(item), load, count, names, corrupt, tfds.SHUFFLE)
    return replace(source, load=_cropped(load, box_margin)) if box_crop else source


def _tfds_split(builder, split, splits, fraction):
    if split == "test" or "validation" in builder.info.splits or "validation" in splits or "train" in splits:
        return split
    kept = round(100 * (1 - fraction))
    return {"train": f"train[:{kept}%]", "validation": f"train[{kept}%:]"}[split]


def _boxes_of(record):
    if "objects" in record and "bbox" in record["objects"]:
        return record["objects"]["bbox"]
    return record["bbox"] if "bbox" in record else None  # noqa: SIM401 - features have no get


def _largest(boxes):
    boxes = tf.concat([tf.reshape(boxes, [-1, 4]), [[0.0, 0.0, 0.0, 0.0]]], 0)  # yxyx; none is an empty one
    return boxes[tf.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))]


def _cropped(load, margin):
    """`load`, then the part of the image inside "box" and a margin; all of it where that is under 4 px a side."""

    def load_box(record: Sample) -> Sample:
        sample = load({key: value for key, value in record.items() if key != "box"})
        del sample["encoded"]  # of the whole image
        size = tf.cast(tf.tile(tf.shape(sample["image"])[:2], [2]), tf.float32)
        low, high = record["box"][:2], record["box"][2:]
        wider = tf.concat([low - margin * (high - low), high + margin * (high - low)], 0)
        edges = tf.cast(tf.round(tf.clip_by_value(wider, 0.0, 1.0) * size), tf.int32)
        window = tf.concat([edges[:2], edges[2:] - edges[:2]], 0)
        whole = tf.concat([[0, 0], tf.shape(sample["image"])[:2]], 0)
        window = tf.where(tf.reduce_min(window[2:]) >= images.MIN_SIDE, window, whole)
        readable = sample["original_size"] > 0
        return {
            **sample,
            "image": image_decoding.crop(sample["image"], window),
            "original_size": tf.where(readable, window[2:], 0),
        }

    return load_box


# The built-in set


def _read_scenes(root, split, *, counts, size, seed, **_):
    if split not in counts:
        raise UserError(f"data.counts must have {split}. Received: {', '.join(counts) or 'none'}")
    source = scenes.source(split, counts[split], size, seed)

    def load(record: Sample) -> Sample:
        sample = source.load(record)
        return {key: sample[key] for key in ("id", "image", "label", "index", "seed") if key in sample}

    return replace(source, load=load)


READERS = {"folder": _read_folder, "csv": _read_csv, "tfds": _read_tfds, "scenes": _read_scenes}
