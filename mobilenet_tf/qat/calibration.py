"""Activation ranges from calibration images, without training."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf.models.graph import leaves
from mobilenet_tf.qat.graph import prepare
from mobilenet_tf.qat.layers import FakeQuant
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track

MAX_SAMPLED_VALUES = 20_000  # of each tensor in each batch; percentiles are computed from these


def calibrated(model: keras.Model, batches: Iterable[np.ndarray], percentile: float) -> keras.Model:
    """Prepares a float network for int8, with activation ranges that are clipped to percentiles of the values.

    With min and max, extreme values in a few images stretch a range and so make its LSB (the step between two int8
    values) larger for all images. A percentile of 99.99 clips one value in ten thousand at either end.

    Args:
        model: a float network; it stays as it is.
        batches: float32 images [N, H, W, 3] in 0..255.
        percentile: the upper end of the ranges, above 50 and below 100; the lower end is 100 - percentile.

    Returns:
        The network as `qat.prepare` returns it, with its ranges set.

    Raises:
        UserError: there are no images, or `qat.prepare` does not support a layer of the model.
    """
    network = prepare(model)
    fake_quants = [layer for layer in leaves(network) if isinstance(layer, FakeQuant) and not layer.fixed]
    samples: list[list[np.ndarray]] = [[] for _ in fake_quants]
    for layer, values in zip(fake_quants, samples, strict=True):
        layer.observer = lambda inputs, values=values: values.append(_sample(inputs.numpy().ravel()))
    for batch in track(list(batches), "percentiles"):
        network(tf.constant(batch, tf.float32), training=False)
    if not any(samples):
        raise UserError("calibration must hold images. Received: none")
    for layer, values in zip(fake_quants, samples, strict=True):
        layer.observer = None
        low, high = np.percentile(np.concatenate(values), [100 - percentile, percentile])
        layer.low.assign(min(low, 0.0))
        layer.high.assign(max(high, 0.0))
    return network


def _sample(values: np.ndarray) -> np.ndarray:
    return values[:: len(values) // MAX_SAMPLED_VALUES + 1].copy()  # a view would keep the whole tensor in memory
