"""Classification sets of TensorFlow Datasets: features "image" and "label", and perhaps boxes to crop to."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from mobilenet_tf.config import Split
from mobilenet_tf.data import image_decoding, images, tfds
from mobilenet_tf.data.label_files import check_class_count, read_class_names
from mobilenet_tf.data.source import Sample, Source, map_samples
from mobilenet_tf.tasks.classification.config import Data
from mobilenet_tf.utils.errors import UserError


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split; `data.root` is TFDS's data_dir.

    Raises UserError: not a set with labels, other names in the label file, no boxes to crop to, or no such split.
    """
    builder = tfds.builder(data.name, data.root)
    features = builder.info.features
    if features is None or not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
        raise UserError(f"data.name must be a classification set with image and label. Received: {data.name}")
    classes = check_class_count(features["label"].names, str(data.name))
    if data.classes and read_class_names(data.classes, data.encoding) != classes:
        raise UserError(f"{data.classes} must name the classes of {data.name} in its order. Received: other names")
    if data.box_crop and _boxes_of(features) is None:
        received = f"{data.name} has {', '.join(features)}"
        raise UserError(f"data.box_crop needs boxes (bbox or objects/bbox). Received: {received}")

    def item(record):
        fields = {"id": record["tfds_id"], "encoded": record["image"], "label": tf.cast(record["label"], tf.int32)}
        return {**fields, "box": _largest(_boxes_of(record))} if data.box_crop else fields

    source = tfds.read_split(builder, data, split, item, classes)
    return map_samples(source, _crop_to_box(data.box_margin)) if data.box_crop else source


def _boxes_of(record) -> Any:
    if "objects" in record and "bbox" in record["objects"]:
        return record["objects"]["bbox"]
    return record["bbox"] if "bbox" in record else None  # noqa: SIM401 - features have no get


def _largest(boxes: tf.Tensor) -> tf.Tensor:
    """The box of the largest area, yxyx [4]; an empty one where there is none."""
    boxes = tf.concat([tf.reshape(boxes, [-1, 4]), [[0.0, 0.0, 0.0, 0.0]]], 0)
    return boxes[tf.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))]


def _crop_to_box(margin: float):
    """Sample -> Sample: the image inside "box" and a margin; all of it where that is under 4 px a side."""

    def crop(sample: Sample) -> Sample:
        sample = dict(sample)
        box = sample.pop("box")
        del sample["encoded"]  # of the whole image
        size = tf.cast(tf.tile(tf.shape(sample["image"])[:2], [2]), tf.float32)
        low, high = box[:2], box[2:]
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

    return crop
