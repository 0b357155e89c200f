"""COCO's JSON: the official layout, or any file and folder of pictures."""

from __future__ import annotations

import json
from pathlib import Path

from mobilenet_tf.tasks.detection.data.listing import Listing, divide, label_order
from mobilenet_tf.utils.errors import UserError

SPLITS = {"train": "train2017", "validation": "val2017", "test": "val2017"}  # of COCO's test sets no boxes are public
LISTS = {"images": ("id", "file_name"), "annotations": ("id", "image_id", "category_id", "bbox"),
         "categories": ("id", "name")}  # fmt: skip


def read(root: Path, split: str, *, splits, annotations, images, validation_fraction, seed, **_) -> Listing:
    """The images and boxes of a split.

    annotations, images: JSON files and picture folders of the splits, relative to root. Without them the official
    layout: annotations/instances_<name>.json and <name>/, the name from `splits`. Where only train has annotations,
    the other splits are drawn from it.
    """
    if not annotations:
        name = splits.get(split, SPLITS[split])
        return load(root / "annotations" / f"instances_{name}.json", root / name)
    own = {"train": ["train"], "validation": ["validation"], "test": ["test", "validation"]}[split]
    given = next((name for name in own if name in annotations), None)
    if given is None and "train" not in annotations:
        raise UserError(f"data.annotations must have {split}. Received: {', '.join(annotations)}")
    folder = root / images.get(given or "train", next(iter(images.values()), Path()))
    listing = load(root / annotations[given or "train"], folder)
    if given is None or (given == "train" and "validation" not in annotations):
        return divide(listing, split, validation_fraction, seed)
    return listing


def load(path: Path, folder: Path) -> Listing:
    """A JSON file in COCO's format, with the pictures' folder. Raises UserError for anything else."""
    try:
        coco = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"the COCO annotations must be a JSON file. Received: {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} must be valid JSON. Received: {error}") from None
    check_structure(coco, path)
    paths = [folder / image["file_name"] for image in coco["images"]]
    return Listing(coco, paths, label_order(coco["categories"]), path)


def check_structure(coco, path: Path) -> None:
    """Raises UserError where what every entry of COCO's format has is not there."""
    for key, wanted in LISTS.items():
        entries = coco.get(key) if isinstance(coco, dict) else None
        if not isinstance(entries, list):
            received = ", ".join(coco) if isinstance(coco, dict) else type(coco).__name__
            raise UserError(f"{path} must be in COCO's format, with a list {key!r}. Received: {received}")
        for place, entry in enumerate(entries):
            missing = [name for name in wanted if name not in entry] if isinstance(entry, dict) else list(wanted)
            if missing:
                raise UserError(f"{path}: {key}[{place}] must have {', '.join(missing)}. Received: {str(entry)[:60]}")
    names = [category["name"] for category in coco["categories"]]
    ids = [category["id"] for category in coco["categories"]]
    for values, what in ((names, "name"), (ids, "id")):
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise UserError(f"{path} must have each category {what} once. Received: {twice} more than once")
