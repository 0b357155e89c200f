"""The built-in scenes with the mask of their animal."""

from __future__ import annotations

from dataclasses import replace

import tensorflow as tf

from mobilenet_tf.config import Split
from mobilenet_tf.data import scenes
from mobilenet_tf.data.scenes.reader import read_scenes
from mobilenet_tf.data.source import Sample, Source, map_samples
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.utils.errors import UserError


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split: `data.counts` scenes of `size` pixels a side.

    The classes are background and the breeds; with two names in `data.classes`, background and animals of any breed.
    """
    source = read_scenes(data, split, seed, size, ["mask"])
    names = list(data.classes) if isinstance(data.classes, list) else ["background", *scenes.CLASSES]
    most = 1 + len(scenes.CLASSES)
    if len(names) not in (2, most):
        raise UserError(f"data.classes of scenes must be 2 names or {most}. Received: {len(names)}")

    def merge(sample: Sample) -> Sample:
        return {**sample, "mask": tf.minimum(sample["mask"], len(names) - 1)}

    return replace(map_samples(source, merge), classes=names)
