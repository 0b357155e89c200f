"""The built-in scenes of one animal each; the identities are the breeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_tf.config import Split
from mobilenet_tf.data import scenes
from mobilenet_tf.data.image_lists import LabeledFile
from mobilenet_tf.data.source import Sample, Source
from mobilenet_tf.tasks.embedding.config import Data
from mobilenet_tf.tasks.embedding.data.identities import number_identities, rows_of


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split: of its scenes in `data.counts` those of its identities, numbered anew."""
    rows = rows_of(_rows(data, seed), data, data.held_out.model_dump(), split, seed)
    identities, labels = number_identities(rows, split)
    numbers = np.array([int(row.path.name) for row in rows], np.int64)
    drawn = scenes.source(split, int(numbers.max()) + 1, size, seed)
    names = [f"{split}-{seed}-{number:05d}" for number in numbers]
    columns: Any = {"id": names, "scene": numbers, "label": labels}
    items = tf.data.Dataset.from_tensor_slices(columns)

    def load(record: Sample) -> Sample:
        return {**record, "image": drawn.load(record)["image"]}

    return replace(drawn, items=items, load=load, count=len(rows), classes=identities)


def _rows(data: Data, seed: int) -> list[LabeledFile]:
    """All scenes as a list of files, whose names are the numbers of the scenes."""
    return [
        LabeledFile(Path(str(index)), scenes.CLASSES[scenes.label_of(scenes.split_seed(seed, split), index)], split)
        for split, count in data.counts.items()
        for index in range(count)
    ]
