"""The built-in scenes as a reader of a task: as many as `data.counts` says, with the fields that the task needs."""

from __future__ import annotations

from collections.abc import Sequence

from mobilenet_tf.config import Data, Split
from mobilenet_tf.data import scenes
from mobilenet_tf.data.source import Sample, Source, map_samples
from mobilenet_tf.utils.errors import UserError

ALWAYS = ("id", "image", "index", "seed")  # the batchers add the last two


def read_scenes(
    data: Data, split: Split, seed: int, size: int, fields: Sequence[str], animals: tuple[int, int] = (1, 1)
) -> Source:
    """The Source of a split, with images uint8 [size, size, 3] and, of what `scenes.render` gives, these `fields`.

    Raises UserError where `data.counts` does not have the split.
    """
    if split not in data.counts:
        raise UserError(f"data.counts must have {split}. Received: {', '.join(data.counts) or 'none'}")

    def choose(sample: Sample) -> Sample:
        return {key: sample[key] for key in (*ALWAYS, *fields) if key in sample}

    return map_samples(scenes.source(split, data.counts[split], size, seed, animals), choose)
