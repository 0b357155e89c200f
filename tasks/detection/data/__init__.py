"""Pictures with boxes from COCO JSON, Pascal VOC, YOLO, TensorFlow Datasets or the built-in scenes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import tensorflow as tf

from mobilenet_tf.data import scenes
from mobilenet_tf.data.source import Sample, Source
from mobilenet_tf.tasks.detection.data import coco, listing, tfds, validation, voc, yolo
from mobilenet_tf.tasks.detection.data.listing import Listing
from mobilenet_tf.tasks.detection.data.validation import Finding
from mobilenet_tf.utils.errors import UserError

SPLITS = ("train", "validation", "test")
FIELDS = ("id", "image", "boxes", "labels", "crowd", "index", "seed", "original_size", "encoded")
LISTINGS = {"coco": coco.read, "voc": voc.read, "yolo": yolo.read}
ANIMALS = (1, 3)  # in a built-in scene


def read(
    reader: str,
    root: str | Path | None,
    split: str,
    *,
    name: str | None = None,
    splits: Mapping[str, str] | None = None,
    annotations: Mapping[str, Path] | None = None,
    images: Mapping[str, Path] | None = None,
    classes: str | Path | None = None,
    validation_fraction: float = 0.1,
    counts: Mapping[str, int] | None = None,
    size: int = 128,
    seed: int = 0,
    skip_empty: bool = False,
    on_corrupt: str = "skip",
) -> Source:
    """The Source of a split.

    Samples have "id" (the data set's own image id), "image" uint8 [H, W, 3], "boxes" float32 [N, 4] yxyx within 0..1,
    "labels" int32 [N] and "crowd" bool [N]: regions of many objects, and VOC's difficult ones, that are neither found
    nor missed. `ground_truth` is the data set's annotation in COCO's structure, or its categories alone.
    Faults of the annotations become warnings.

    reader: "coco", "voc", "yolo", "tfds" (`name` the data set, `root` its data_dir) or "scenes". What the other
        arguments mean is said in `tasks.detection.config.Data`.
    size: side of a scene in pixels. skip_empty: leave pictures without boxes out of the training split.
    Raises UserError: no such reader or split, files that are not there or not of their format, no picture.
    """
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}. Received: {split!r}")
    root = None if root is None else Path(root)
    options = {
        "name": name, "splits": splits or {}, "annotations": annotations or {}, "images": images or {},
        "classes": classes, "validation_fraction": validation_fraction, "counts": counts or {}, "size": size,
        "seed": seed, "on_corrupt": on_corrupt,
    }  # fmt: skip
    if reader in SOURCES:
        if classes:
            raise UserError(
                f"data.classes goes with {', '.join(LISTINGS)}; {reader} names its classes. Received: {classes}"
            )
        return SOURCES[reader](root, split, **options)
    found, findings = examine(reader, root, split, **options)
    validation.warn(findings, quiet=("no boxes",) if split == "train" else ("no boxes", "class without boxes"))
    if skip_empty and split == "train":
        with_boxes = {entry["image_id"] for entry in found.coco["annotations"]}
        found = listing.part(found, [i for i, image in enumerate(found.coco["images"]) if image["id"] in with_boxes])
    return listing.source(found, on_corrupt=on_corrupt)


def examine(
    reader: str, root: Path, split: str, *, classes: Path | None, on_corrupt: str, **options
) -> tuple[Listing, list[Finding]]:
    """The usable annotations of a split on disk and what was found when they were checked.

    Raises UserError: as `read`; a training split without any box.
    """
    if reader not in LISTINGS:
        raise UserError(f"data.reader must be one of {', '.join([*LISTINGS, *SOURCES])}. Received: {reader!r}")
    found = LISTINGS[reader](root, split, **options)
    if classes:
        found = _chosen_classes(found, _label_file(classes), classes)
    found, findings = validation.checked(found, on_corrupt=on_corrupt)
    if split == "train" and not found.coco["annotations"]:
        raise UserError(
            f"{found.where} must have boxes for the split train. Received: {len(found.paths)} pictures, no box"
        )
    return found, findings


def _chosen_classes(found: Listing, names: list[str], path: Path) -> Listing:
    """The listing with these classes only, in this order."""
    unknown = [name for name in names if name not in found.classes]
    if unknown:
        raise UserError(f"{path} must name categories of {found.where}. Received: {', '.join(unknown)}")
    categories = [category for category in found.coco["categories"] if category["name"] in names]
    others = {category["id"] for category in found.coco["categories"]} - {category["id"] for category in categories}
    annotations = [entry for entry in found.coco["annotations"] if entry["category_id"] not in others]
    return replace(found, coco={**found.coco, "categories": categories, "annotations": annotations}, classes=names)


def _label_file(path: Path) -> list[str]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"data.classes must be a text file. Received: {path}: {error.strerror}") from None
    names = [line.strip() for line in lines if line.strip()]
    if not names or len(set(names)) < len(names):
        twice = next((name for name in names if names.count(name) > 1), "no name")
        raise UserError(f"{path} must name each class once. Received: {twice}")
    return names


def _read_scenes(root, split, *, counts, size, seed, **_) -> Source:
    if split not in counts:
        raise UserError(f"data.counts must have {split}. Received: {', '.join(counts) or 'none'}")
    source = scenes.source(split, counts[split], size, seed, ANIMALS)

    def load(record: Sample) -> Sample:
        sample = source.load(record)
        sample["crowd"] = tf.zeros_like(sample["labels"], tf.bool)
        return {key: sample[key] for key in FIELDS if key in sample}

    return replace(source, load=load)


SOURCES = {"scenes": _read_scenes, "tfds": tfds.source}
