"""How often each class is in the masks, and the weights that make up for it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mobilenet_tf.data.source import Source, user_errors
from mobilenet_tf.utils.errors import UserError


def pixel_counts(source: Source) -> np.ndarray:
    """Pixels of each value in all masks of a source, int64 [256]."""
    counts = np.zeros(256, np.int64)
    with user_errors():
        for sample in source.items.map(source.load, num_parallel_calls=tf.data.AUTOTUNE):
            if sample.get("original_size", [1])[0]:
                counts += np.bincount(sample["mask"].numpy().ravel(), minlength=256)
    return counts


def median_weights(source: Source) -> np.ndarray:
    """Median frequency balancing, float32 [C]: the median of the classes' shares over the class's own; 0 without any.

    Source: Eigen and Fergus 2015, section 6.3.2, with shares of all pixels rather than of the images with the class.
    """
    counts = pixel_counts(source)[: len(source.classes)]
    if not counts.any():
        raise UserError("loss.class_weights: median needs masks with classes. Received: masks of 255 alone")
    return np.where(counts, np.median(counts[counts > 0]) / np.maximum(counts, 1), 0).astype(np.float32)
