"""Segmentation sets of TensorFlow Datasets, such as oxford_iiit_pet."""

from __future__ import annotations

import numpy as np

from mobilenet_tf.config import Split
from mobilenet_tf.data import tfds
from mobilenet_tf.data.source import Sample, Source, map_samples
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data.layout import read_classes
from mobilenet_tf.tasks.segmentation.data.masks import checked_mask, empty_table, through
from mobilenet_tf.utils.errors import UserError

CLASSES = {"oxford_iiit_pet": (1, ("pet", "background", "border"))}  # (first value, names); others count from 0
MASKS = ("segmentation_mask", "segmentation_label")  # features that hold a mask


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split; `data.root` is TFDS's data_dir.

    Raises UserError: not a data set of masks, no class names, or no such split.
    """
    builder = tfds.builder(data.name, data.root)
    feature = next((name for name in MASKS if name in builder.info.features), None)
    if feature is None:
        raise UserError(f"data.name must be a set with image and {' or '.join(MASKS)}. Received: {data.name}")
    first, names = CLASSES.get(builder.name, (0, ()))
    names = read_classes(data.classes, data.encoding) if data.classes else list(names)
    if len(names) < 2:
        raise UserError(f"data.classes must name the classes of {data.name}, one a line. Received: {data.classes}")
    table = empty_table()
    table[first : first + len(names)] = np.arange(len(names))

    def item(record: Sample) -> Sample:
        return {"id": record["tfds_id"], "encoded": record["image"], "mask": record[feature]}

    def read_mask(stored):
        values = stored[..., 0] if stored.ndim == 3 else stored
        return through(table, values, f"the mask of an image of {data.name}")

    def check(sample: Sample) -> Sample:
        mask = checked_mask(read_mask, sample["id"], sample["mask"], sample["original_size"])
        return {**sample, "mask": mask}

    return map_samples(tfds.read_split(builder, data, split, item, names), check)
