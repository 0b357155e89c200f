"""CSV files with the columns path, label and, if you like, split; paths are relative to the file."""

from __future__ import annotations

from mobilenet_tf.config import Split
from mobilenet_tf.data.image_lists import read_csv
from mobilenet_tf.data.source import Source
from mobilenet_tf.tasks.classification.config import Data
from mobilenet_tf.tasks.classification.data.labeled_files import labeled_source


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split."""
    return labeled_source(read_csv(data.path, encoding=data.encoding), data, split, seed)
