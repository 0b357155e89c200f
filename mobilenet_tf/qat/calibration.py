"""Ranges of activations from calibration images, without training."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf.models.graph import leaves
from mobilenet_tf.qat.graph import aware
from mobilenet_tf.qat.layers import Range
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track

LOOKED_AT = 20_000  # values of a tensor in one batch


def calibrated(model: keras.Model, batches: Iterable[np.ndarray], percentile: float) -> keras.Model:
    """The aware network of a float one, the ranges of its activations bounded by percentiles of their values.

    The extremes of a few pictures may stretch a range, and its steps, for all others; 99.99 leaves one value in ten
    thousand out at either end.

    Args:
        batches: float32 images [N, H, W, 3] in 0..255.
        percentile: above 50 and below 100; 100 less it bounds the range from below.
    """
    network = aware(model)
    ranges = [layer for layer in leaves(network) if isinstance(layer, Range) and not layer.fixed]
    seen = [[] for _ in ranges]
    for layer, values in zip(ranges, seen, strict=True):
        layer.watcher = lambda inputs, values=values: values.append(_some(inputs.numpy().ravel()))
    for batch in track(list(batches), "percentiles"):
        network(tf.constant(batch, tf.float32), training=False)
    if not any(seen):
        raise UserError("calibration must hold images. Received: none")
    for layer, values in zip(ranges, seen, strict=True):
        layer.watcher = None
        low, high = np.percentile(np.concatenate(values), [100 - percentile, percentile])
        layer.low.assign(min(low, 0.0))
        layer.high.assign(max(high, 0.0))
    return network


def _some(values: np.ndarray) -> np.ndarray:
    return values[:: len(values) // LOOKED_AT + 1].copy()  # a view would keep the whole tensor
