"""Images with boxes from COCO JSON, Pascal VOC, YOLO, TensorFlow Datasets or the built-in scenes: one module a reader.

A reader of annotation files gives an AnnotationSet, which is checked here; the others give a Source.
"""

from __future__ import annotations

from dataclasses import replace

from mobilenet_tf.data.label_files import read_class_names
from mobilenet_tf.data.readers import reader_table
from mobilenet_tf.data.source import Source
from mobilenet_tf.data.splits import check_split
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data import annotation_set, validation
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet
from mobilenet_tf.tasks.detection.data.fields import checked_fields
from mobilenet_tf.tasks.detection.data.findings import Finding, warn
from mobilenet_tf.utils.errors import UserError

READERS = reader_table(__name__, Data)


def read(data: Data, split: str, *, seed: int = 0, size: int = 128) -> Source:
    """The Source of a split.

    Samples have "id" (the data set's own image id), "image" uint8 [H, W, 3], "boxes" float32 [N, 4] yxyx within 0..1,
    "labels" int32 [N] and "crowd" bool [N]: regions of many objects, and VOC's difficult ones, that are neither found
    nor missed. `ground_truth` is the data set's annotation in COCO's structure, or its categories alone.
    Faults of the annotations become warnings.

    seed: of the splits that are drawn, and of the scenes. size: the side of the scenes in pixels.
    Raises UserError: no such split, files that are not there or not of their format, no image.
    """
    annotations, findings = examine(data, split, seed=seed, size=size)
    if isinstance(annotations, Source):
        return annotations
    warn(findings, quiet=("no boxes",) if split == "train" else ("no boxes", "class without boxes"))
    if data.skip_empty and split == "train":
        with_boxes = {entry["image_id"] for entry in annotations.coco["annotations"]}
        images = enumerate(annotations.coco["images"])
        indices = [index for index, image in images if image["id"] in with_boxes]
        annotations = annotation_set.select(annotations, indices)
    return annotation_set.source(annotations, on_corrupt=data.on_corrupt, rendering=data.rendering)


def examine(data: Data, split: str, *, seed: int = 0, size: int = 128) -> tuple[AnnotationSet | Source, list[Finding]]:
    """The usable annotations of a split, and what was found when they were checked.

    Where they do not come from annotation files, the Source instead, and nothing is checked.
    Raises UserError: as `read`; a training split without any box.
    """
    annotations = READERS[data.reader](data, check_split(split), seed, size)
    if isinstance(annotations, Source):
        return annotations, []
    annotations = checked_fields(annotations)
    if data.classes:
        annotations = _with_classes(annotations, read_class_names(data.classes, data.encoding), data.classes)
    annotations, findings = validation.checked(annotations, on_corrupt=data.on_corrupt)
    if split == "train" and not annotations.coco["annotations"]:
        received = f"{len(annotations.paths)} images, no box" + (f" of {data.classes}" if data.classes else "")
        raise UserError(f"{annotations.where} must have boxes for the split train. Received: {received}")
    return annotations, findings


def _with_classes(annotations: AnnotationSet, names: list[str], where) -> AnnotationSet:
    """The set with these classes only, in this order; `where` they stand."""
    unknown = [name for name in names if name not in annotations.classes]
    if unknown:
        raise UserError(f"{where} must name categories of {annotations.where}. Received: {', '.join(unknown)}")
    coco = annotations.coco
    categories = [category for category in coco["categories"] if category["name"] in names]
    others = {category["id"] for category in coco["categories"]} - {category["id"] for category in categories}
    entries = [entry for entry in coco["annotations"] if entry["category_id"] not in others]
    return replace(annotations, coco={**coco, "categories": categories, "annotations": entries}, classes=names)
