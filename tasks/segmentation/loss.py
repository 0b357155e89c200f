"""The loss of a segmentation model."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from mobilenet_tf.tasks.segmentation.inference import LOGITS
from mobilenet_tf.tasks.segmentation.model import AUXILIARY


def loss(*, ohem_fraction: float | None = None, dice: float = 0.0, auxiliary: float = 0.4) -> Callable:
    """fn(targets, raw) -> scalar: cross entropy over the pixels that are not ignored, plus `dice` times the Dice loss.

    targets: {"mask": uint8 [N, H, W], "weights": float32 [N, H, W], 0 where a pixel is ignored}.
    raw: logits [N, H, W, C], or a dict with "logits" and "auxiliary", whose loss counts `auxiliary` times.
    ohem_fraction: online hard example mining, the mean over this share of the pixels, those of the largest loss
        (Shrivastava et al. 2016).
    """

    def one(targets, logits):
        logits, weights = tf.cast(logits, tf.float32), targets["weights"]
        counted = weights > 0
        labels = tf.where(counted, tf.cast(targets["mask"], tf.int32), 0)
        losses = weights * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        if ohem_fraction:
            losses, weights = _hardest(losses, weights, ohem_fraction)
        total = tf.math.divide_no_nan(tf.reduce_sum(losses), tf.reduce_sum(weights))
        return total + dice * _dice(labels, logits, counted) if dice else total

    def compute(targets, raw):
        if not isinstance(raw, dict):
            return one(targets, raw)
        return one(targets, raw[LOGITS]) + auxiliary * one(targets, raw[AUXILIARY])

    return compute


def _hardest(losses, weights, share):
    losses, weights = tf.reshape(losses, [-1]), tf.reshape(weights, [-1])
    counted = tf.math.count_nonzero(weights, dtype=tf.float32)
    hardest, indices = tf.math.top_k(losses, tf.cast(tf.math.ceil(share * counted), tf.int32), sorted=False)
    return hardest, tf.gather(weights, indices)


def _dice(labels, logits, counted):
    """1 - the mean Dice coefficient of the classes in the batch; Milletari et al. 2016."""
    classes = logits.shape[-1]
    counted = tf.cast(counted, tf.float32)[..., None]
    probabilities = tf.nn.softmax(logits) * counted
    truth = tf.one_hot(labels, classes) * counted
    overlap, truth, predicted = (
        tf.reduce_sum(tf.reshape(x, [-1, classes]), 0) for x in (probabilities * truth, truth, probabilities)
    )
    present = tf.cast(truth > 0, tf.float32)
    return 1 - tf.math.divide_no_nan(
        tf.reduce_sum(present * 2 * overlap / (truth + predicted + 1)), tf.reduce_sum(present)
    )
