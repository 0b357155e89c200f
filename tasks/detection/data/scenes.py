"""The built-in scenes of up to three animals, with the boxes of what is seen of them."""

from __future__ import annotations

import tensorflow as tf

from mobilenet_tf.config import Split
from mobilenet_tf.data.scenes.reader import read_scenes
from mobilenet_tf.data.source import Sample, Source, map_samples
from mobilenet_tf.tasks.detection.config import Data

ANIMALS = (1, 3)  # least and most in a scene


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split: `data.counts` scenes of `size` pixels a side."""
    return map_samples(read_scenes(data, split, seed, size, ["boxes", "labels"], ANIMALS), _without_crowds)


def _without_crowds(sample: Sample) -> Sample:
    return {**sample, "crowd": tf.zeros_like(sample["labels"], tf.bool)}
