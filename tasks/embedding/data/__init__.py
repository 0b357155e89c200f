"""Images of identities from folders (LFW's too), CSV files or the built-in scenes: one module a reader."""

from __future__ import annotations

from mobilenet_tf.data.readers import reader_table
from mobilenet_tf.data.source import Source
from mobilenet_tf.data.splits import check_split
from mobilenet_tf.tasks.embedding.config import Data

READERS = reader_table(__name__, Data)


def read(data: Data, split: str, *, seed: int = 0, size: int = 96) -> Source:
    """The Source of a split: Samples with "id", "image" uint8 [H, W, 3] and "label" int32, an index into its classes.

    The classes are the identities of that split alone. With `data.pairs`, a `pairs.Pairs` of paths is the ground truth
    of the test split, which then has the images in them and whose identities training never sees.

    seed: of the identities that are held out and the splits that are drawn, and of the scenes. size: the side of the
    scenes in pixels.
    Raises UserError: no such split, nothing found, unknown identities, fewer than two of them in a split.
    """
    return READERS[data.reader](data, check_split(split), seed, size)
