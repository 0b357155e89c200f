"""COCO's JSON: the official layout, or any file and folder of images."""

from __future__ import annotations

import json
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide, label_order
from mobilenet_tf.utils.errors import UserError

# No boxes of COCO's test sets are public
OFFICIAL: dict[Split, str] = {"train": "train2017", "validation": "val2017", "test": "val2017"}
LISTS = {"images": ("id", "file_name"), "annotations": ("id", "image_id", "category_id", "bbox"),
         "categories": ("id", "name")}  # fmt: skip


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split.

    `data.annotations` and `data.images` are the JSON files and image folders of the splits, relative to `data.root`.
    Without them the layout is the official one: annotations/instances_<name>.json and <name>/, the name from
    `data.splits`. Where only train has annotations, the other splits are drawn from it.
    """
    root, files = data.path, data.annotations
    if not files:
        name = data.splits.get(split, OFFICIAL[split])
        return load(root / "annotations" / f"instances_{name}.json", root / name)
    candidates: list[Split] = ["test", "validation"] if split == "test" else [split]
    given: Split | None = next((name for name in candidates if name in files), None)
    if given is None and "train" not in files:
        raise UserError(f"data.annotations must have {split}. Received: {', '.join(files)}")
    annotated: Split = given or "train"
    folder = root / data.images.get(annotated, next(iter(data.images.values()), Path()))
    annotations = load(root / files[annotated], folder)
    if given is None or (given == "train" and "validation" not in files):
        return divide(annotations, split, data.validation_fraction, seed)
    return annotations


def load(path: Path, folder: Path) -> AnnotationSet:
    """A JSON file in COCO's format, with the folder of its images. Raises UserError for anything else."""
    try:
        coco = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"the COCO annotations must be a JSON file. Received: {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} must be valid JSON. Received: {error}") from None
    check_structure(coco, path)
    paths = [folder / image["file_name"] for image in coco["images"]]
    return AnnotationSet(coco, paths, label_order(coco["categories"]), path)


def check_structure(coco, path: Path) -> None:
    """Raises UserError where what every entry of COCO's format has is not there."""
    for key, wanted in LISTS.items():
        entries = coco.get(key) if isinstance(coco, dict) else None
        if not isinstance(entries, list):
            received = ", ".join(coco) if isinstance(coco, dict) else type(coco).__name__
            raise UserError(f"{path} must be in COCO's format, with a list {key!r}. Received: {received}")
        for index, entry in enumerate(entries):
            missing = [name for name in wanted if name not in entry] if isinstance(entry, dict) else list(wanted)
            if missing:
                raise UserError(f"{path}: {key}[{index}] must have {', '.join(missing)}. Received: {str(entry)[:60]}")
    names = [category["name"] for category in coco["categories"]]
    ids = [category["id"] for category in coco["categories"]]
    for values, what in ((names, "name"), (ids, "id")):
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise UserError(f"{path} must have each category {what} once. Received: {twice} more than once")
