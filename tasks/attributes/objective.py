"""What an attribute model is trained on, and what it says of a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from mobilenet_tf import viz
from mobilenet_tf.errors import UserError
from mobilenet_tf.task import Prediction

TINY = 1e-8  # the least base of a power: its gradient stays finite
SHOWN = 10  # attributes under a drawn picture

Elements = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # (labels 0 or 1 [N, A], logits [N, A]) -> losses [N, A]


def loss(name: str, **keys) -> Callable[[dict[str, tf.Tensor], tf.Tensor], tf.Tensor]:
    """The mean loss of the known labels: fn(targets, logits [N, A]) -> float32 scalar, 0 where none is known.

    targets: "labels" [N, A], below 0 where not known, and "weights" [N, A] of the labels. `name` and keys are those of
    LOSSES. Computed in float32 under mixed precision too.
    """
    elements = LOSSES[name](**keys)

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


def decode(raw: np.ndarray, thresholds: Sequence[float] | None) -> list[Prediction]:
    """Logits [N, A] -> one {"probabilities" float32 [A], "present" bool [A]} an image.

    thresholds: from which probability on an attribute is present, 0.5 for None. Raises UserError for another number.
    """
    logits = np.asarray(raw, np.float64)
    if thresholds is not None and len(thresholds) != logits.shape[-1]:
        raise UserError(
            f"thresholds must have a number for each of the {logits.shape[-1]} attributes. Received: {len(thresholds)}"
        )
    with np.errstate(invalid="ignore"):  # NaN stays NaN, for the metric to count
        probabilities = np.exp(-np.logaddexp(0, -logits)).astype(np.float32)
    present = probabilities >= np.float32(0.5 if thresholds is None else thresholds)
    return [{"probabilities": row, "present": own} for row, own in zip(probabilities, present, strict=True)]


def found(prediction: Prediction, classes: Sequence[str]) -> list[tuple[str, float]]:
    """The (name, probability) of every attribute that is present, the most probable first."""
    order = np.argsort(-prediction["probabilities"], kind="stable")
    return [(classes[i], float(prediction["probabilities"][i])) for i in order if prediction["present"][i]]


def agree(reference: Prediction, candidate: Prediction) -> float:
    """The share of attributes that both find present or both absent."""
    return float(np.mean(reference["present"] == candidate["present"]))


def summary(prediction: Prediction, classes: Sequence[str]) -> dict:
    """How many attributes are present, and as text which ones, with their probabilities."""
    present = found(prediction, classes)
    return {"count": len(present), "attributes": ", ".join(f"{name} {chance:.3f}" for name, chance in present)}


def draw(image: np.ndarray, prediction: Prediction, classes: Sequence[str]) -> np.ndarray:
    """The image (uint8 [H, W, 3]) over a band with the ten most probable attributes of those present."""
    return viz.annotate(image, found(prediction, classes)[:SHOWN] or [f"none of {len(classes)} attributes"])
