"""Images with a class for every pixel, in any of the layouts on disk, TensorFlow Datasets or the built-in scenes.

One module a reader. A reader of files gives the `MaskedImages` of a split; the others give a Source.
"""

from __future__ import annotations

import warnings

from mobilenet_tf.data.readers import reader_table
from mobilenet_tf.data.source import Source
from mobilenet_tf.data.splits import check_split
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data.class_frequencies import median_weights, pixel_counts
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages, oriented, source
from mobilenet_tf.tasks.segmentation.data.survey import survey

__all__ = ["READERS", "MaskedImages", "examine", "median_weights", "pixel_counts", "read", "source", "survey"]

MAX_WARNINGS = 8  # check-data lists all findings

READERS = reader_table(__name__, Data)


def read(data: Data, split: str, *, seed: int = 0, size: int = 96) -> Source:
    """The Source of a split: Samples with "id", "image" uint8 [H, W, 3] and "mask" uint8 [H, W], 255 = ignore.

    seed: of the splits that are drawn, and of the scenes. size: the side of the scenes in pixels.
    Faults of the files become warnings.
    Raises UserError: no such split, nothing found, masks of train with nothing to learn (see `survey`); and, when a
    sample is read, a mask that is not of its image's size or holds values that stand for no class.
    """
    images = examine(data, split, seed=seed, size=size)
    if isinstance(images, MaskedImages):
        for finding in [*images.findings, *survey(images, split)][:MAX_WARNINGS]:
            warnings.warn(finding, stacklevel=2)
        return source(images, on_corrupt=data.on_corrupt, rendering=data.rendering)
    return images


def examine(data: Data, split: str, *, seed: int = 0, size: int = 96) -> MaskedImages | Source:
    """The images and masks of a split as files; where they are no files, the Source. Raises UserError as `read`."""
    found = READERS[data.reader](data, check_split(split), seed, size)
    return oriented(found) if isinstance(found, MaskedImages) else found
