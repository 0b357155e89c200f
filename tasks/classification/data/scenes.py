"""The built-in scenes of one animal each, labeled with its breed."""

from __future__ import annotations

from mobilenet_tf.config import Split
from mobilenet_tf.data.scenes.reader import read_scenes
from mobilenet_tf.data.source import Source
from mobilenet_tf.tasks.classification.config import Data


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split: `data.counts` scenes of `size` pixels a side."""
    return read_scenes(data, split, seed, size, ["label"])
