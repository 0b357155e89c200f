"""Labeled images from folders, CSV files, TensorFlow Datasets or the built-in scenes: one module a reader."""

from __future__ import annotations

from mobilenet_tf.data.readers import reader_table
from mobilenet_tf.data.source import Source
from mobilenet_tf.data.splits import check_split
from mobilenet_tf.tasks.classification.config import Data

READERS = reader_table(__name__, Data)


def read(data: Data, split: str, *, seed: int = 0, size: int = 96) -> Source:
    """The Source of a split: Samples with "id", "image" uint8 [H, W, 3] and "label" int32.

    seed: of the splits that are drawn, and of the scenes. size: the side of the scenes in pixels.
    Raises UserError: no such split, nothing found, labels and class names that do not fit, one class only.
    """
    return READERS[data.reader](data, check_split(split), seed, size)
