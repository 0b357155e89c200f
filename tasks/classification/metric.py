"""The metrics of a classifier, counted over samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from warnings import warn

import numpy as np

from mobilenet_tf import viz
from mobilenet_tf.task import Prediction, as_text
from mobilenet_tf.training.ranking import TopK
from mobilenet_tf.utils.errors import UserError

EPSILON = 1e-7  # the smallest probability in the log loss, as in Keras
ECE_BINS = 15  # Guo et al. 2017
WORST_MISTAKES = 40  # on the sheet of the worst mistakes
THUMBNAIL_PIXELS = 208  # the longer side


@dataclass(frozen=True)
class Mistake:
    """A wrongly classified sample; `confidence` is the probability of the predicted class."""

    id: str
    truth: int
    predicted: int
    confidence: float
    thumbnail: np.ndarray | None  # uint8 [h, w, 3]


class ClassificationMetric:
    """Scores of a classifier, averaged over samples.

    Equal probabilities rank in the order of the classes, as argmax does, so a constant output gains nothing from ties,
    of which int8 models have many. A sample with a NaN or infinite probability counts as wrong, with probability 0 for
    its truth, and appears in no column of the confusion matrix. `macro_f1` and `balanced_accuracy` average over the
    classes that occur in the split.

    confusion: int64 [C, C], rows = truth. support: int64 [C], samples of each class.
    """

    shares = ("top1", "top5")  # of the samples

    def __init__(self, classes: Sequence[str]):
        self.classes = list(classes)
        size = len(self.classes)
        self.confusion = np.zeros((size, size), np.int64)
        self.support = np.zeros(size, np.int64)
        self._top5 = 0
        self._log_loss = 0.0
        self._bins = np.zeros((ECE_BINS, 3))  # count, sum of confidences, number right
        self._mistakes = TopK(WORST_MISTAKES)  # by confidence
        self._not_finite = 0

    def update(self, sample: dict, prediction: Prediction) -> None:
        """Adds one sample: `label` int (and `id`, `image` for the sheet); `probabilities` float32 [C].

        Raises ValueError for a label or probabilities that do not fit the classes.
        """
        truth, probabilities = self._checked(sample, prediction)
        self.support[truth] += 1
        if not np.isfinite(probabilities).all():
            self._not_finite += 1
            self._log_loss -= np.log(EPSILON)
            return
        predicted = int(probabilities.argmax())
        confidence = float(probabilities[predicted])
        of_truth = probabilities[truth]
        rank = np.count_nonzero(probabilities > of_truth) + np.count_nonzero(probabilities[:truth] == of_truth)
        self.confusion[truth, predicted] += 1
        self._top5 += int(rank < 5)
        self._log_loss -= np.log(np.clip(of_truth, EPSILON, 1.0))
        bin_index = int(np.clip(np.ceil(confidence * ECE_BINS) - 1, 0, ECE_BINS - 1))  # (lower, upper]
        self._bins[bin_index] += (1, confidence, predicted == truth)
        if predicted != truth:
            self._keep_mistake(sample, truth, predicted, confidence)

    def merge(self, other: ClassificationMetric) -> None:
        """Adds the samples of another metric, without its mistakes."""
        self.confusion += other.confusion
        self.support += other.support
        self._top5 += other._top5
        self._log_loss += other._log_loss
        self._bins += other._bins
        self._not_finite += other._not_finite

    def _checked(self, sample: dict, prediction: Prediction) -> tuple[int, np.ndarray]:
        size = len(self.classes)
        truth = int(sample["label"])
        probabilities = np.asarray(prediction["probabilities"], np.float64)
        if not 0 <= truth < size:
            raise ValueError(f"label must be between 0 and {size - 1} for {size} classes. Received: {truth}")
        if probabilities.shape != (size,):
            raise ValueError(f"probabilities must be [{size}]. Received: {list(probabilities.shape)}")
        finite = probabilities[np.isfinite(probabilities)]
        if finite.size and (finite.min() < -1e-3 or finite.max() > 1 + 1e-3):
            low, high = finite.min(), finite.max()
            raise ValueError(f"probabilities must lie in 0..1; logits need decode. Received: {low:.4g} to {high:.4g}")
        return truth, probabilities

    def _keep_mistake(self, sample: dict, truth: int, predicted: int, confidence: float) -> None:
        key = (confidence, -int(self.support.sum()))  # among equals the earlier sample stays
        if not self._mistakes.accepts(key):
            return
        image = np.asarray(sample.get("image", 0))
        is_image = image.ndim == 3 and image.shape[-1] == 3  # rather than cached features
        small = viz.thumbnail(image, THUMBNAIL_PIXELS) if is_image else None
        self._mistakes.add(key, Mistake(as_text(sample.get("id", "")), truth, predicted, confidence, small))

    @property
    def worst(self) -> list[Mistake]:
        """The most confident mistakes, the worst first; at most 40."""
        return self._mistakes.items()

    def per_class(self) -> list[dict]:
        """One {name, precision, recall, f1, support} a class.

        None where a score is undefined: precision of a class never predicted, recall of a class without samples, F1 of
        a class with neither.
        """
        right = self.confusion.diagonal()
        predicted = self.confusion.sum(axis=0)
        return [
            {
                "name": name,
                "precision": _ratio(right[i], predicted[i]),
                "recall": _ratio(right[i], self.support[i]),
                "f1": _ratio(2 * right[i], predicted[i] + self.support[i]),
                "support": int(self.support[i]),
            }
            for i, name in enumerate(self.classes)
        ]

    def result(self) -> dict[str, float]:
        """top1, top5 (more than 5 classes only), log_loss, macro_f1, balanced_accuracy, ece and count.

        ece: expected calibration error over 15 equal-width bins of the top probability (Guo et al. 2017, eq. 3).
        Warns as `warnings` says. Raises UserError where no sample was counted.
        """
        count = int(self.support.sum())
        if not count:
            raise UserError("an evaluation must have at least one sample. Received: 0 samples")
        for line in self.warnings:
            warn(line, stacklevel=2)
        present = [row for row in self.per_class() if row["support"]]
        gaps = np.abs(self._bins[:, 1] - self._bins[:, 2])  # count x |confidence - accuracy|
        scores = {
            "top1": int(self.confusion.trace()) / count,
            "top5": self._top5 / count,
            "log_loss": float(self._log_loss) / count,
            "macro_f1": float(np.mean([row["f1"] for row in present])),
            "balanced_accuracy": float(np.mean([row["recall"] for row in present])),
            "ece": float(gaps.sum()) / max(1, count - self._not_finite),
            "count": count,
        }
        return {name: value for name, value in scores.items() if name != "top5" or len(self.classes) > 5}

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the scores, one line each."""
        lines = []
        count = int(self.support.sum())
        if self._not_finite:
            lines.append(
                f"{self._not_finite} of {count} predictions hold NaN or infinite probabilities: counted as wrong"
            )
        predicted = np.flatnonzero(self.confusion.sum(axis=0))
        if len(predicted) == 1 and np.count_nonzero(self.support) > 1:
            name = self.classes[predicted[0]]
            lines.append(f"all predictions are {name!r}: the model is untrained, or its input is scaled wrongly")
        return lines


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
