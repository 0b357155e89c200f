"""The Sample convention, the readers every task can share, and batching."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import tensorflow as tf

Sample = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Source:
    """Where samples come from.

    items:   one cheap record a sample in a fixed order; has at least "id" (string scalar). Shuffled before `load`.
    load:    record -> Sample: adds "image" uint8 [H, W, 3] RGB, EXIF applied. Runs in tf.data.
    count:   the number of items.
    classes: the class names; labels are indices into them.
    corrupt: {id: reason} of the items that could not be read so far (filled while reading; such items are skipped).
    """

    items: tf.data.Dataset
    load: Callable[[Sample], Sample]
    count: int
    classes: list[str]
    corrupt: dict[str, str] = field(default_factory=dict)
