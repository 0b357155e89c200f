"""Sets of TensorFlow Datasets with features "image" and "attributes", such as celeb_a."""

from __future__ import annotations

import tensorflow as tf

from mobilenet_tf.config import Split
from mobilenet_tf.data import tfds
from mobilenet_tf.data.source import Source
from mobilenet_tf.tasks.attributes.config import Data
from mobilenet_tf.tasks.attributes.data.values import choose
from mobilenet_tf.utils.errors import UserError


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split; `data.root` is TFDS's data_dir."""
    builder = tfds.builder(data.name, data.root)
    features = builder.info.features
    if features is None or not {"image", "attributes"} <= set(features):
        wanted = "a data set with image and attributes, such as celeb_a"
        raise UserError(f"data.name must be {wanted}. Received: {data.name}")
    known = list(features["attributes"])
    names = [known[index] for index in choose(known, data.attributes, data.name)]

    def item(record):
        values = tf.stack([tf.cast(record["attributes"][name], tf.float32) for name in names])
        return {"id": record["tfds_id"], "encoded": record["image"], "attributes": values}

    return tfds.read_split(builder, data, split, item, names)
