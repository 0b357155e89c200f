"""The built-in scenes with their attributes: see `scenes.ATTRIBUTES`."""

from __future__ import annotations

from dataclasses import replace

import tensorflow as tf

from mobilenet_tf.config import Split
from mobilenet_tf.data import scenes
from mobilenet_tf.data.scenes.reader import read_scenes
from mobilenet_tf.data.source import Sample, Source, map_samples
from mobilenet_tf.tasks.attributes.config import Data
from mobilenet_tf.tasks.attributes.data.values import choose


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split: `data.counts` scenes of `size` pixels a side."""
    source = read_scenes(data, split, seed, size, ["attributes"])
    indices = choose(scenes.ATTRIBUTES, data.attributes, "the scenes")

    def chosen(sample: Sample) -> Sample:
        return {**sample, "attributes": tf.gather(sample["attributes"], indices)}

    return replace(map_samples(source, chosen), classes=[scenes.ATTRIBUTES[index] for index in indices])
