"""CSV files with the columns path, identity and, if you like, split; paths are relative to the file."""

from __future__ import annotations

from mobilenet_tf.config import Split
from mobilenet_tf.data.image_lists import read_csv
from mobilenet_tf.data.source import Source
from mobilenet_tf.tasks.embedding.config import Data
from mobilenet_tf.tasks.embedding.data.identities import identity_source


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split."""
    return identity_source(read_csv(data.path, "identity", data.encoding), data, split, seed)
