"""What an attribute model is trained on."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

TINY = 1e-8  # the least base of a power: its gradient stays finite

Elements = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (labels 0 or 1 [N, A], logits [N, A]) -> losses [N, A]


def loss(name: str, **options) -> Callable[[dict[str, tf.Tensor], tf.Tensor], tf.Tensor]:
    """The mean loss of the known labels: fn(targets, logits [N, A]) -> float32 scalar, 0 where none is known.

    targets: "labels" [N, A], below 0 where not known, and "weights" [N, A] of the labels. `name` and options are those
    of LOSSES. Computed in float32 under mixed precision too.
    """
    elements = LOSSES[name](**options)

    def mean(targets, logits):
        labels, logits = targets["labels"], tf.cast(logits, tf.float32)
        known = tf.cast(labels >= 0, tf.float32)
        losses = known * targets["weights"] * elements(tf.maximum(labels, 0.0), logits)
        return tf.math.divide_no_nan(tf.reduce_sum(losses), tf.reduce_sum(known))

    return mean


def focal(gamma: float, alpha: float | None) -> Elements:
    """Cross entropy times (1 - p)^gamma, p the probability of the label. Source: Lin et al. 2017, equations 4 and 5."""

    def elements(labels, logits):
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
        factor = tf.maximum(1 - tf.exp(-entropy), TINY) ** gamma
        share = 1.0 if alpha is None else labels * alpha + (1 - labels) * (1 - alpha)
        return share * factor * entropy

    return elements


def asymmetric(gamma_positive: float, gamma_negative: float, margin: float) -> Elements:
    """A focal loss of its own for the negatives, whose probabilities count from `margin` on.

    Source: Ben-Baruch et al. 2020 (arXiv:2009.14119), equations 4 to 6.
    """

    def elements(labels, logits):
        chance, rest = tf.sigmoid(logits), tf.sigmoid(-logits)
        positive = tf.maximum(rest, TINY) ** gamma_positive * tf.math.softplus(-logits)
        negative = -tf.math.log(tf.minimum(rest + margin, 1.0)) if margin else tf.math.softplus(logits)
        negative *= tf.maximum(chance - margin, TINY) ** gamma_negative
        return labels * positive + (1 - labels) * negative

    return elements


LOSSES = {
    "cross_entropy": lambda: tf.nn.sigmoid_cross_entropy_with_logits,
    "focal": focal,
    "asymmetric": asymmetric,
}
