"""Images with attributes from CelebA's files, CSV files, TensorFlow Datasets or the built-in scenes: a module a reader.

A label is 1, 0 or UNKNOWN; an image may have no known label at all.
"""

from __future__ import annotations

import numpy as np

from mobilenet_tf.data.readers import reader_table
from mobilenet_tf.data.sampling import column
from mobilenet_tf.data.source import Source
from mobilenet_tf.data.splits import check_split
from mobilenet_tf.tasks.attributes.config import Data

READERS = reader_table(__name__, Data)


def read(data: Data, split: str, *, seed: int = 0, size: int = 96) -> Source:
    """The Source of a split: Samples with "id", "image" uint8 [H, W, 3] and "attributes" float32 [A].

    The names of the attributes are the Source's classes.
    seed: of the splits that are drawn, and of the scenes. size: the side of the scenes in pixels.
    Raises UserError: no such split or attribute, nothing found, files that do not fit together, bad values.
    """
    return READERS[data.reader](data, check_split(split), seed, size)


def labels(source: Source) -> np.ndarray:
    """All labels of a Source, float32 [count, A]; no image is decoded for them, but scenes are drawn."""
    return column(source, "attributes")
