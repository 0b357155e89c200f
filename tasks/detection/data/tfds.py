"""Detection sets of TensorFlow Datasets, such as coco/2017 and voc/2007: features "image" and "objects"."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mobilenet_tf.config import Split
from mobilenet_tf.data import tfds
from mobilenet_tf.data.source import Sample, Source
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.utils.errors import UserError

COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # category ids that COCO left out of 1..90; TFDS keeps names only
UNLABELED_TESTS = ("coco", "coco/2014", "coco/2017", "voc/2012")  # no boxes of their test splits are public
CROWDS = ("is_crowd", "is_difficult")


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split; `data.root` is TFDS's data_dir.

    `ground_truth` has the categories alone, with COCO's own ids for its sets.
    Raises UserError: not a data set of boxes, or no such split.
    """
    builder = tfds.builder(data.name, data.root)
    features = builder.info.features
    objects = {} if features is None else _objects(features)
    if features is None or "image" not in features or not {"bbox", "label"} <= set(objects):
        received = f"{data.name}, with {', '.join(features or ['no features'])}"
        raise UserError(f"data.name must be a data set with image and objects. Received: {received}")
    if not hasattr(objects["label"], "names") or type(objects["bbox"]).__name__ != "BBoxFeature":
        received = f"{data.name}, with {objects['bbox']} and {objects['label']}"
        raise UserError(f"data.name must be a data set with a box and a named class an object. Received: {received}")
    classes = list(objects["label"].names)
    crowd = next((key for key in CROWDS if key in objects), None)

    def item(record: dict[str, Any]) -> Sample:
        fields = record["objects"]
        boxes = tf.clip_by_value(tf.reshape(tf.cast(fields["bbox"], tf.float32), [-1, 4]), 0, 1)
        ignored = fields[crowd] if crowd else tf.zeros_like(fields["label"], tf.bool)
        columns = {"boxes": boxes, "labels": tf.cast(fields["label"], tf.int32), "crowd": ignored}
        usable = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & (fields["label"] >= 0)
        columns = {key: tf.boolean_mask(value, usable) for key, value in columns.items()}
        return {"id": _image_id(record), "encoded": record["image"], **columns}

    unlabeled = str(data.name).partition(":")[0] in UNLABELED_TESTS
    ids = _category_ids(data.name, classes)
    truth = {"categories": [{"id": number, "name": name} for number, name in zip(ids, classes, strict=True)]}
    return tfds.read_split(builder, data, split, item, classes, test_is_validation=unlabeled, ground_truth=truth)


def _objects(features) -> dict:
    objects = features["objects"] if "objects" in features else {}  # noqa: SIM401 - features have no get
    objects = getattr(objects, "feature", objects)  # of a sequence
    return objects if hasattr(objects, "keys") else {}


def _image_id(record: Sample) -> tf.Tensor:
    """The data set's own image id, else the file name without its suffix, else TFDS's."""
    if "image/id" in record:
        return tf.strings.as_string(record["image/id"])
    if "image/filename" in record:
        return tf.strings.regex_replace(record["image/filename"], r"\.[^.]*$", "")
    return record["tfds_id"]


def _category_ids(name: str | None, classes: list[str]) -> list[int]:
    if str(name).partition("/")[0] == "coco" and len(classes) == 80:
        return [number for number in range(1, 91) if number not in COCO_GAPS]
    return list(range(1, len(classes) + 1))
