"""Scores of attributes, each beside the score of a trivial baseline."""

from __future__ import annotations

from collections.abc import Sequence
from warnings import warn

import numpy as np

from mobilenet_tf.task import Prediction
from mobilenet_tf.training.ranking import roc_auc, steps
from mobilenet_tf.utils.errors import UserError

MAX_NAMES = 5  # of attributes in a warning
SCORES = {"mean_ap": "ap", "prior": "prior", "mean_auc": "auc", "accuracy": "accuracy", "majority": "majority",
          "balanced_accuracy": "balanced_accuracy", "f1": "f1"}  # name of the mean: column of the table  # fmt: skip


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """The mean of the precision over recall, a step at each distinct score, not interpolated.

    labels: 0 or 1 [N] with at least one 1. A constant score has the share of positives.
    """
    true, false, _ = steps(labels, scores)
    return float(np.sum(np.diff(true, prepend=0) * true / (true + false)) / true[-1])


def best_threshold(labels: np.ndarray, scores: np.ndarray, aim: str) -> float:
    """The threshold with the best "f1" or "balanced_accuracy", halfway to the next lower score (the last: to 0).

    Of the thresholds for F1 those count whose accuracy is at least that of always giving the more frequent value: a
    weak model has its best F1 where it finds the attribute nearly everywhere. A threshold above all scores is one.
    labels: 0 or 1 [N] with at least one of both; scores: [N] in 0..1.
    """
    true, false, values = steps(labels, scores.astype(np.float64))
    true, false, values = np.append(0, true), np.append(0, false), np.append(1.0, values)  # nothing found comes first
    positives, negatives = true[-1], false[-1]
    if aim == "f1":
        accurate = true + negatives - false >= max(positives, negatives)
        quality = np.where(accurate, 2 * true / (true + false + positives), -1.0)
    else:
        quality = true / positives - false / negatives
        quality[0] = -1.0  # finding nothing is no better than finding all
    best = int(np.argmax(quality))
    return float(f"{(values[best] + np.append(values, 0)[best + 1]) / 2:.6g}")


class AttributeMetric:
    """Scores of every attribute over the samples whose label is known, and their means.

    The means leave out attributes with no positive or no negative sample, for which ranking means nothing. A
    probability that is not finite counts as the worst possible one.
    """

    no_scores = ("prior", "majority")  # of a model: they are those of the data

    def __init__(self, classes: Sequence[str], thresholds: Sequence[float] | None = None):
        self.classes = list(classes)
        self.thresholds = [0.5] * len(self.classes) if thresholds is None else list(thresholds)
        self._labels: list[np.ndarray] = []
        self._probabilities: list[np.ndarray] = []
        self._present: list[np.ndarray] = []

    def update(self, sample: dict, prediction: Prediction) -> None:
        """Adds one sample: `attributes` [A], 1, 0 or below 0 (not known); `probabilities` and `present` [A]."""
        self._labels.append(np.asarray(sample["attributes"]))
        self._probabilities.append(prediction["probabilities"])
        self._present.append(prediction["present"])

    def merge(self, other: AttributeMetric) -> None:
        """Adds the samples of another metric."""
        self._labels += other._labels
        self._probabilities += other._probabilities
        self._present += other._present

    def columns(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """(labels bool, probabilities float64, present bool) of the samples with a known label, for each attribute."""
        if not self._labels:
            raise UserError("an evaluation must have at least one sample. Received: 0 samples")
        labels, chances, present = (np.stack(rows) for rows in (self._labels, self._probabilities, self._present))
        broken = ~np.isfinite(chances)
        chances = np.where(broken, labels <= 0, chances.astype(np.float64))
        present = np.where(broken, labels <= 0, present)
        known = labels >= 0
        return [(labels[rows, i] > 0, chances[rows, i], present[rows, i]) for i, rows in enumerate(known.T)]

    def per_attribute(self) -> list[dict]:
        """One row an attribute; None where a score is undefined.

        prior: the share of positives, which is the AP of random scores. majority: the accuracy of always
        giving the more frequent value.
        """
        rows = []
        for name, threshold, (labels, chances, present) in zip(
            self.classes, self.thresholds, self.columns(), strict=True
        ):
            positives, negatives = int(labels.sum()), int((~labels).sum())
            known, true, false = positives + negatives, int((present & labels).sum()), int((present & ~labels).sum())
            both, right = positives and negatives, true + negatives - false
            rows.append(
                {
                    "name": name,
                    "positives": positives,
                    "negatives": negatives,
                    "unknown": len(self._labels) - known,
                    "ap": average_precision(labels, chances) if both else None,
                    "prior": positives / known if known else None,
                    "auc": roc_auc(labels, chances) if both else None,
                    "accuracy": right / known if known else None,
                    "majority": max(positives, negatives) / known if known else None,
                    "balanced_accuracy": (true / positives + 1 - false / negatives) / 2 if both else None,
                    "f1": 2 * true / (true + false + positives) if both else None,
                    "threshold": threshold,
                }
            )
        return rows

    def result(self) -> dict[str, float]:
        """Means over the attributes with positive and negative samples, their number and that of the samples.

        Warns of attributes left out. Raises UserError where none is left or no sample was counted.
        """
        rows = self.per_attribute()
        scored = [row for row in rows if row["ap"] is not None]
        if not scored:
            raise UserError("an evaluation must have an attribute with positive and negative samples. Received: none")
        if left := [row["name"] for row in rows if row["ap"] is None]:
            names = ", ".join(left[:MAX_NAMES]) + (", ..." if len(left) > MAX_NAMES else "")
            warn(
                f"{len(left)} of {len(rows)} attributes have no positive or no negative sample here and are left out "
                f"of the means: {names}",
                stacklevel=2,
            )
        means = {name: float(np.mean([row[column] for row in scored])) for name, column in SCORES.items()}
        return means | {"attributes": len(scored), "count": len(self._labels)}

    def tuned(self, aim: str) -> list[float]:
        """The best threshold of each attribute for `aim`; 0.5 where there is no positive or no negative sample."""
        return [
            best_threshold(labels, chances, aim) if 0 < labels.sum() < len(labels) else 0.5
            for labels, chances, _ in self.columns()
        ]
