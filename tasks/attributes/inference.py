"""The inputs and the predictions of an attribute model. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobilenet_tf import task as base
from mobilenet_tf import viz
from mobilenet_tf.data import preprocess
from mobilenet_tf.inference.endings import sigmoid
from mobilenet_tf.task import AS_USUAL, Prediction, Selection, as_number
from mobilenet_tf.tasks.attributes.config import Config
from mobilenet_tf.utils.errors import UserError

MAX_DRAWN_ATTRIBUTES = 10


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
        probabilities = sigmoid(logits).astype(np.float32)
    present = probabilities >= np.asarray(0.5 if thresholds is None else thresholds, np.float32)
    return [{"probabilities": p, "present": is_present} for p, is_present in zip(probabilities, present, strict=True)]


def present_attributes(
    prediction: Prediction,
    classes: Sequence[str],
    selection: Selection = AS_USUAL,
) -> list[tuple[str, float]]:
    """The (name, probability) of every attribute that is present, or as probable as asked; the most probable first."""
    probabilities, score = prediction["probabilities"], selection.min_score
    shown = prediction["present"] if score is None else probabilities >= np.float32(score)
    order = map(int, np.argsort(-probabilities, kind="stable"))
    return [(classes[i], float(probabilities[i])) for i in order if shown[i]][: selection.top]


def agreement(reference: Prediction, candidate: Prediction) -> float:
    """The share of attributes that are present in both predictions or in neither."""
    return float(np.mean(reference["present"] == candidate["present"]))


def to_row(prediction: Prediction, classes: Sequence[str], selection: Selection = AS_USUAL) -> dict:
    """How many attributes are present, and as text which ones, with their probabilities."""
    present = present_attributes(prediction, classes, selection)
    return {"count": len(present), "attributes": ", ".join(f"{name} {chance:.3f}" for name, chance in present)}


def to_dict(prediction: Prediction, classes: Sequence[str], selection: Selection = AS_USUAL) -> dict:
    """Every attribute by its name, in their order; of a selection, the most probable first."""
    probabilities, score, order = prediction["probabilities"], selection.min_score, range(len(classes))
    if score is not None or selection.top:
        order = map(int, np.argsort(-probabilities, kind="stable"))
    shown = [i for i in order if score is None or probabilities[i] >= np.float32(score)][: selection.top]
    return {
        "attributes": {
            classes[i]: {"probability": as_number(probabilities[i]), "present": bool(prediction["present"][i])}
            for i in shown
        }
    }


def draw(
    image: np.ndarray,
    prediction: Prediction,
    classes: Sequence[str],
    selection: Selection = AS_USUAL,
) -> np.ndarray:
    """The image (uint8 [H, W, 3]) over a band with the ten most probable attributes of those present."""
    present = present_attributes(prediction, classes, selection)[: selection.top or MAX_DRAWN_ATTRIBUTES]
    return viz.annotate(image, present or [f"none of {len(classes)} attributes"])


@dataclass(frozen=True)
class Attributes:
    """What is true of an image."""

    probabilities: np.ndarray  # float32 [A]
    present: np.ndarray  # bool [A]: whether each probability reaches its threshold
    names: list[str]  # of the attributes, [A]

    @property
    def present_names(self) -> list[str]:
        """The attributes that are present, in their order."""
        return [name for name, present in zip(self.names, self.present, strict=True) if present]


class Inference(base.Inference[Config]):
    """Images in, the probabilities of attributes out."""

    options = ("min_score", "top")

    def preprocess(self, image):
        return preprocess.resize(image, self.cfg.model.input_size, self.cfg.data.crop_fraction)

    def decode(self, raw, sizes):
        return decode(raw, self.cfg.thresholds)

    def to_row(self, prediction, classes):
        return to_row(prediction, classes, self.selection)

    def to_dict(self, prediction, classes):
        return to_dict(prediction, classes, self.selection)

    def to_result(self, prediction, classes):
        return Attributes(prediction["probabilities"], prediction["present"], list(classes))

    def draw(self, image, prediction, classes):
        return draw(image, prediction, classes, self.selection)
