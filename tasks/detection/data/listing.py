"""What every reader of files gives: pictures and boxes in COCO's structure, and the Source made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from mobilenet_tf.data.images import ORIENTATION
from mobilenet_tf.data.source import Sample, Source, image_loader
from mobilenet_tf.utils.errors import UserError

TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


@dataclass(frozen=True)
class Listing:
    """An annotated set of pictures before it is checked.

    coco: images (id, file_name, height, width), annotations (id, image_id, category_id, bbox in pixels x, y, width,
        height, iscrowd; "line" where in a text file) and categories (id, name), as COCO's JSON has them.
    paths: the file of each image. classes: the names of the categories in label order.
    where: the file or folder that messages name.
    """

    coco: dict
    paths: list[Path]
    classes: list[str]
    where: Path


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of a picture as it is shown, from its header. Raises OSError and Pillow's errors."""
    with Image.open(path) as picture:
        width, height = picture.size
        return (width, height) if picture.getexif().get(ORIENTATION) in TURNED else (height, width)


def label_order(categories: Sequence[dict]) -> list[str]:
    """The names of categories by ascending id: labels count from 0 without gaps."""
    return [category["name"] for category in sorted(categories, key=lambda category: category["id"])]


def part(listing: Listing, chosen: Sequence[int]) -> Listing:
    """The images at these places with their annotations."""
    images = [listing.coco["images"][place] for place in chosen]
    ids = {image["id"] for image in images}
    annotations = [entry for entry in listing.coco["annotations"] if entry.get("image_id") in ids]
    coco = {**listing.coco, "images": images, "annotations": annotations}
    return replace(listing, coco=coco, paths=[listing.paths[place] for place in chosen])


def divide(listing: Listing, split: str, fraction: float, seed: int) -> Listing:
    """Train and validation parts of a set that has no splits; the test part is the validation part."""
    count = len(listing.paths)
    held_out = min(max(1, round(fraction * count)), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return part(listing, sorted(order[held_out:] if split == "train" else order[:held_out]))


def source(listing: Listing, *, on_corrupt: str = "skip") -> Source:
    """The Source of a checked listing: Samples with "id", "image", "boxes", "labels" and "crowd"."""
    if not listing.paths:
        raise UserError(f"{listing.where} must have pictures. Received: none")
    images, annotations = listing.coco["images"], listing.coco["annotations"]
    label_of = {category["id"]: listing.classes.index(category["name"]) for category in listing.coco["categories"]}
    row_of = {image["id"]: row for row, image in enumerate(images)}
    rows = np.array([row_of[entry["image_id"]] for entry in annotations], np.int64)
    order = np.argsort(rows, kind="stable")
    sizes = np.array([[image["height"], image["width"]] for image in images], np.float32).reshape(-1, 2)
    boxes = normalised([entry["bbox"] for entry in annotations], sizes[rows])[order]
    labels = np.array([label_of[entry["category_id"]] for entry in annotations], np.int32)[order]
    crowd = np.array([bool(entry.get("iscrowd", 0)) for entry in annotations], bool)[order]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(images)))])
    items = {
        "id": [str(image["id"]) for image in images],
        "path": [str(path) for path in listing.paths],
        "first": offsets[:-1],
        "last": offsets[1:],
    }
    corrupt = {}
    load = with_boxes(image_loader(len(images), corrupt, on_corrupt=on_corrupt), boxes, labels, crowd)
    items = tf.data.Dataset.from_tensor_slices(items)
    return Source(items, load, len(images), listing.classes, corrupt, ground_truth=listing.coco)


def with_boxes(load_image, boxes: np.ndarray, labels: np.ndarray, crowd: np.ndarray):
    """The `load` of a Source whose records name a file ("path") and rows "first" to "last" of the boxes [B, 4]."""
    columns = {"boxes": tf.constant(boxes), "labels": tf.constant(labels), "crowd": tf.constant(crowd)}

    def load(record: Sample) -> Sample:
        record = dict(record)
        name, path, first, last = (record.pop(key) for key in ("id", "path", "first", "last"))
        sample = load_image({**record, "id": path})
        return {**sample, "id": name, **{key: column[first:last] for key, column in columns.items()}}

    return load


def normalised(boxes: Sequence, sizes: np.ndarray) -> np.ndarray:
    """COCO's boxes [N, 4] (x, y, width, height in pixels) of images of `sizes` [N, 2] -> yxyx within 0..1, float32."""
    x, y, width, height = np.asarray(boxes, np.float64).reshape(-1, 4).T
    corners = np.stack([y, x, y + height, x + width], 1) / np.tile(sizes, 2)
    return np.clip(corners, 0, 1).astype(np.float32)
