"""The loss of a classifier."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from mobilenet_tf.utils.errors import UserError


def loss(label_smoothing: float = 0.0) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Categorical cross entropy: fn(targets [N, C] one-hot or soft, logits [N, C]) -> float32 [N].

    The sum of a sample's targets is its weight, 1 unless classes are weighted.
    Computed in float32 under mixed precision too. Smoothing as in Szegedy et al. 2016, section 7.
    Raises UserError unless 0 <= label_smoothing < 1.
    """
    if not 0 <= label_smoothing < 1:
        raise UserError(f"label_smoothing must be at least 0 and below 1. Received: label_smoothing={label_smoothing}")

    def cross_entropy(targets, logits):
        targets, logits = tf.cast(targets, tf.float32), tf.cast(logits, tf.float32)
        classes = tf.cast(tf.shape(logits)[-1], tf.float32)
        weights = tf.reduce_sum(targets, -1)
        smoothed = targets / weights[:, None] * (1 - label_smoothing) + label_smoothing / classes
        return weights * tf.nn.softmax_cross_entropy_with_logits(smoothed, logits)

    return cross_entropy
