"""The inputs, the embeddings and their comparison. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mobilenet_tf import task as base
from mobilenet_tf.data import preprocess
from mobilenet_tf.task import AS_USUAL, Prediction, Selection, as_number
from mobilenet_tf.tasks.embedding.config import Config
from mobilenet_tf.tasks.embedding.drawing import draw

EMBEDDING = "embedding"  # the raw output's name, where it has one


def decode(raw) -> list[Prediction]:
    """Raw outputs -> one {"embedding": float32 [D]} an image, scaled to unit length.

    The outputs of a quantized file do not have unit length exactly.
    """
    embeddings = np.asarray(vectors(raw), np.float32)
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return [{EMBEDDING: row} for row in embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)]


def similarity(first: Prediction, second: Prediction) -> float:
    """The cosine of two embeddings."""
    return float(first[EMBEDDING] @ second[EMBEDDING])


def compare(threshold: float | None, first: Prediction, prediction: Prediction) -> Prediction:
    """The prediction with its `similarity` to the first image's and, given a threshold, whether they are the `same`."""
    cosine = similarity(first, prediction)
    verdict = {} if threshold is None else {"threshold": threshold, "same": cosine >= threshold}
    return prediction | {"similarity": cosine} | verdict


def to_row(prediction: Prediction) -> dict:
    """The result of `compare` as one row."""
    columns = {key: prediction[key] for key in ("similarity", "same", "threshold") if key in prediction}
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in columns.items()}


def to_dict(prediction: Prediction, selection: Selection = AS_USUAL) -> dict:
    """The result of `compare`, and the vector where it is asked for."""
    values: dict = {"similarity": as_number(prediction["similarity"])}
    if "same" in prediction:
        values |= {"same": bool(prediction["same"]), "threshold": as_number(prediction["threshold"])}
    if selection.vectors:
        values["vector"] = [as_number(value) for value in prediction[EMBEDDING]]
    return values


def vectors(raw):
    """The embeddings [N, D] among raw outputs."""
    return raw[EMBEDDING] if isinstance(raw, dict) else raw


@dataclass(frozen=True)
class Embedding:
    """A vector that is near to those of other images of the same identity."""

    vector: np.ndarray  # float32 [D], of length 1

    def similarity(self, other: Embedding) -> float:
        """The cosine of the angle between the two vectors, -1 to 1."""
        return float(self.vector @ other.vector)


class Inference(base.Inference[Config]):
    """Images in, embeddings and their comparison with the first one out."""

    options = ("vectors",)
    compares = True
    sort_by = "similarity"

    def preprocess(self, image):
        return preprocess.resize(image, self.cfg.model.input_size, self.cfg.data.crop_fraction)

    def decode(self, raw, sizes):
        return decode(raw)

    def to_row(self, prediction, classes):
        return to_row(prediction)

    def to_dict(self, prediction, classes):
        return to_dict(prediction, self.selection)

    def to_result(self, prediction, classes):
        return Embedding(prediction[EMBEDDING])

    def draw(self, image, prediction, classes):
        return draw(image, prediction, classes)

    def compare(self, first, prediction):
        return compare(self.cfg.verification.threshold, first, prediction)
