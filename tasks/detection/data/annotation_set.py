"""What every reader of annotation files gives: images and boxes in COCO's structure, and the Source made of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_tf.config import DataWithSplits, Rendering, Split
from mobilenet_tf.data import splits
from mobilenet_tf.data.coco_objects import identifier
from mobilenet_tf.data.source import Sample, Source, image_loader
from mobilenet_tf.tasks.detection.data.findings import Finding
from mobilenet_tf.utils.errors import UserError


@dataclass(frozen=True)
class AnnotationSet:
    """The images of a split and their boxes, before they are checked.

    coco: images (id, file_name, height, width), annotations (id, image_id, category_id, bbox in pixels x, y, width,
        height, iscrowd; "line" where in a text file) and categories (id, name), as COCO's JSON has them.
    paths: the file of each image. classes: the names of the categories in label order.
    where: the file or folder that messages name.
    findings: what was found when the types of the fields were checked; None: they have not been.
    """

    coco: dict
    paths: list[Path]
    classes: list[str]
    where: Path
    findings: list[Finding] | None = None


def label_order(categories: Sequence[dict]) -> list[str]:
    """The names of categories by ascending id: labels count from 0 without gaps."""
    return [category["name"] for category in sorted(categories, key=lambda category: _order(category["id"]))]


def _order(number: int | str) -> tuple[bool, int | str]:
    """Sorts ids: numbers, also those that stand as text, before names."""
    key = identifier(number)
    return isinstance(key, str), key


def select(annotations: AnnotationSet, indices: Sequence[int]) -> AnnotationSet:
    """The images at these indices with their annotations."""
    images = [annotations.coco["images"][index] for index in indices]
    ids = {image["id"] for image in images}
    entries = [entry for entry in annotations.coco["annotations"] if entry.get("image_id") in ids]
    coco = {**annotations.coco, "images": images, "annotations": entries}
    return replace(annotations, coco=coco, paths=[annotations.paths[index] for index in indices])


def divide(
    annotations: AnnotationSet, split: Split, data: DataWithSplits, given: Collection[Split], seed: int
) -> AnnotationSet:
    """The images of a split among the train images of a data set that has the splits `given`: see `splits.divide`.

    Raises UserError where too few images are left for the split.
    """
    parts = splits.divide(annotations.paths, data, seed, fraction=data.validation_fraction, given=given)
    if not len(parts.get(split, ())):
        raise splits.no_such_split(split, annotations.where, [name for name, found in parts.items() if len(found)])
    return select(annotations, parts[split].tolist())


def source(
    annotations: AnnotationSet,
    *,
    on_corrupt: str = "skip",
    rendering: Rendering = Rendering(),  # noqa: B008 - immutable
) -> Source:
    """The Source of a checked set: Samples with "id", "image", "boxes", "labels" and "crowd"."""
    if not annotations.paths:
        raise UserError(f"{annotations.where} must have images. Received: none")
    coco, classes = annotations.coco, annotations.classes
    images, entries = coco["images"], coco["annotations"]
    label_of = {category["id"]: classes.index(category["name"]) for category in coco["categories"]}
    row_of = {image["id"]: row for row, image in enumerate(images)}
    rows = np.array([row_of[entry["image_id"]] for entry in entries], np.int64)
    order = np.argsort(rows, kind="stable")
    sizes = np.array([[image["height"], image["width"]] for image in images], np.float32).reshape(-1, 2)
    boxes = normalized([entry["bbox"] for entry in entries], sizes[rows])[order]
    labels = np.array([label_of[entry["category_id"]] for entry in entries], np.int32)[order]
    crowd = np.array([bool(entry.get("iscrowd", 0)) for entry in entries], bool)[order]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(images)))])
    columns: Any = {  # the stubs know no dicts of columns
        "id": [os.fsencode(str(image["id"])) for image in images],
        "path": [os.fsencode(path) for path in annotations.paths],
        "first": offsets[:-1],
        "last": offsets[1:],
    }
    corrupt: dict[str, str] = {}
    load_image = image_loader(len(images), corrupt, on_corrupt=on_corrupt, rendering=rendering)
    load = _with_boxes(load_image, boxes, labels, crowd)
    items = tf.data.Dataset.from_tensor_slices(columns)
    return Source(items, load, len(images), classes, corrupt, ground_truth=coco)


def _with_boxes(load_image, boxes: np.ndarray, labels: np.ndarray, crowd: np.ndarray):
    """The `load` of a Source whose records name a file ("path") and rows "first" to "last" of the boxes [B, 4]."""
    columns = {"boxes": tf.constant(boxes), "labels": tf.constant(labels), "crowd": tf.constant(crowd)}

    def load(record: Sample) -> Sample:
        record = dict(record)
        name, path, first, last = (record.pop(key) for key in ("id", "path", "first", "last"))
        sample = load_image({**record, "id": path})
        return {**sample, "id": name, **{key: column[first:last] for key, column in columns.items()}}

    return load


def normalized(boxes: Sequence, sizes: np.ndarray) -> np.ndarray:
    """COCO's boxes [N, 4] (x, y, width, height in pixels) of images of `sizes` [N, 2] -> yxyx within 0..1, float32."""
    x, y, width, height = np.asarray(boxes, np.float64).reshape(-1, 4).T
    corners = np.stack([y, x, y + height, x + width], 1) / np.tile(sizes, 2)
    return np.clip(corners, 0, 1).astype(np.float32)
