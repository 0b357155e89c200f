"""The inputs and the predictions of a classifier. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobilenet_tf import task as base
from mobilenet_tf import viz
from mobilenet_tf.data import preprocess
from mobilenet_tf.inference.endings import softmax
from mobilenet_tf.task import AS_USUAL, Prediction, Selection, as_number
from mobilenet_tf.tasks.classification.config import Config

LISTED, DRAWN = 5, 3  # classes


def decode(raw: np.ndarray, from_logits: bool = True) -> list[Prediction]:
    """Model outputs [N, C] -> one {"probabilities": float32 [C]} an image.

    from_logits: apply the softmax; False where the model already ends in one.
    """
    probabilities = np.asarray(raw, dtype=np.float32)
    if from_logits:
        probabilities = softmax(probabilities)
    return [{"probabilities": row} for row in probabilities]


def top_k(prediction: Prediction, classes: Sequence[str], k: int = 3) -> list[tuple[str, float]]:
    """The k most probable (class name, probability), best first; ties in the order of the classes."""
    probabilities = np.asarray(prediction["probabilities"])
    best = np.argsort(-probabilities, kind="stable")[:k]
    return [(classes[i], float(probabilities[i])) for i in map(int, best)]


def selected(
    prediction: Prediction, classes: Sequence[str], selection: Selection, count: int
) -> list[tuple[str, float]]:
    """The (class name, probability) that are asked for, best first; where no number is, `count`."""
    best = top_k(prediction, classes, selection.top or count)
    return [one for one in best if selection.min_score is None or one[1] >= np.float32(selection.min_score)]


def to_row(prediction: Prediction, classes: Sequence[str], selection: Selection = AS_USUAL) -> dict:
    """The best class and, as text, the five best with their probabilities."""
    best = selected(prediction, classes, selection, LISTED)
    return {
        "label": best[0][0] if best else "",
        "probability": round(best[0][1], 4) if best else "",
        f"top{selection.top or LISTED}": ", ".join(f"{name} {probability:.3f}" for name, probability in best),
    }


def to_dict(prediction: Prediction, classes: Sequence[str], selection: Selection = AS_USUAL) -> dict:
    """The best class, and the five best with their probabilities."""
    best = selected(prediction, classes, selection, LISTED)
    listed = [{"label": name, "probability": as_number(probability)} for name, probability in best]
    return {**(listed[0] if listed else {"label": None, "probability": None}), "classes": listed}


def draw(
    image: np.ndarray,
    prediction: Prediction,
    classes: Sequence[str],
    selection: Selection = AS_USUAL,
) -> np.ndarray:
    """The image (uint8 [H, W, 3]) over a band with the three most probable classes; uint8 [H', W', 3]."""
    return viz.annotate(image, selected(prediction, classes, selection, DRAWN) or ["no class is probable enough"])


@dataclass(frozen=True)
class Classification:
    """The class of an image."""

    probabilities: np.ndarray  # float32 [C]
    names: list[str]  # of the classes, [C]

    @property
    def name(self) -> str:
        """The most probable class."""
        return self.names[int(self.probabilities.argmax())]

    @property
    def probability(self) -> float:
        """Of the most probable class."""
        return float(self.probabilities.max())


class Inference(base.Inference[Config]):
    """Images in, class probabilities out."""

    options = ("min_score", "top")

    def preprocess(self, image):
        return preprocess.resize(image, self.cfg.model.input_size, self.cfg.data.crop_fraction)

    def decode(self, raw, sizes):
        return decode(raw)

    def to_row(self, prediction, classes):
        return to_row(prediction, classes, self.selection)

    def to_dict(self, prediction, classes):
        return to_dict(prediction, classes, self.selection)

    def to_result(self, prediction, classes):
        return Classification(prediction["probabilities"], list(classes))

    def draw(self, image, prediction, classes):
        return draw(image, prediction, classes, self.selection)
