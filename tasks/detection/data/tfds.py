"""Detection sets of TensorFlow Datasets, such as coco/2017 and voc/2007: features "image" and "objects"."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from mobilenet_tf.data import tfds
from mobilenet_tf.data.source import Sample, Source, image_loader
from mobilenet_tf.utils.errors import UserError

COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # category ids that COCO left out of 1..90; TFDS keeps names only
CROWDS = ("is_crowd", "is_difficult")


def source(root: Path | None, split: str, *, name, splits, validation_fraction, on_corrupt, **_) -> Source:
    """The Source of a split. Where there is no validation split, it is the last part of train; where no test, it.

    `ground_truth` has the categories alone, with COCO's own ids for its sets.
    Raises UserError: not a data set of boxes, or no such split.
    """
    builder = tfds.builder(name, root)
    features = builder.info.features
    if features is None or "image" not in features or not {"bbox", "label"} <= set(_objects(features)):
        received = ", ".join(features or ["no features"])
        raise UserError(f"data.name must be a data set with image and objects. Received: {name}, with {received}")
    objects = _objects(features)
    classes = list(objects["label"].names)
    expression = splits.get(split) or _expression(builder.info.splits, split, splits, validation_fraction)
    records, count = tfds.records(builder, split, expression)
    crowd = next((key for key in CROWDS if key in objects), None)

    def item(record: Sample) -> Sample:
        found = record["objects"]
        boxes = tf.reshape(tf.cast(found["bbox"], tf.float32), [-1, 4])
        ignored = found[crowd] if crowd else tf.zeros_like(found["label"], tf.bool)
        columns = {"boxes": boxes, "labels": tf.cast(found["label"], tf.int32), "crowd": ignored}
        usable = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        kept = {key: tf.boolean_mask(value, usable) for key, value in columns.items()}
        return {"id": _id(record), "encoded": record["image"], **kept}

    corrupt: dict[str, str] = {}
    load = image_loader(count, corrupt, on_corrupt=on_corrupt)
    truth = {"categories": [{"id": own, "name": text} for own, text in zip(_ids(name, classes), classes, strict=True)]}
    return Source(records.map(item), load, count, classes, corrupt, tfds.SHUFFLE, ground_truth=truth)


def _objects(features) -> dict:
    objects = features["objects"] if "objects" in features else {}  # noqa: SIM401 - features have no get
    return getattr(objects, "feature", objects)  # of a sequence


def _id(record: Sample) -> tf.Tensor:
    """The data set's own image id, else the file name without its suffix, else TFDS's."""
    if "image/id" in record:
        return tf.strings.as_string(record["image/id"])
    if "image/filename" in record:
        return tf.strings.regex_replace(record["image/filename"], r"\.[^.]*$", "")
    return record["tfds_id"]


def _ids(name: str, classes: list[str]) -> list[int]:
    if name.partition("/")[0] == "coco" and len(classes) == 80:
        return [number for number in range(1, 91) if number not in COCO_GAPS]
    return list(range(1, len(classes) + 1))


def _expression(own, split: str, splits, fraction: float) -> str:
    """TFDS's expression of a split that the config does not give."""
    if split in own:
        return split if split != "train" or "validation" in own or "validation" in splits else _part(split, fraction)
    if split == "test":
        return splits.get("validation") or _expression(own, "validation", splits, fraction)
    return _part(split, fraction)


def _part(split: str, fraction: float) -> str:
    kept = round(100 * (1 - fraction))
    return {"train": f"train[:{kept}%]", "validation": f"train[{kept}%:]"}[split]
