"""What an embedding is made of, and what comparing two of them tells. No TensorFlow here."""

from __future__ import annotations

import numpy as np

from mobilenet_tf.data import preprocess
from mobilenet_tf.task import Answers, Prediction
from mobilenet_tf.tasks.embedding.drawing import draw

EMBEDDING = "embedding"  # the raw output's name, where it has one


def decode(raw) -> list[Prediction]:
    """Raw outputs -> one {"embedding": float32 [D]} an image, of unit length whatever a quantised file made of it."""
    embeddings = np.asarray(vectors(raw), np.float32)
    lengths = np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return [{EMBEDDING: row} for row in embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)]


def similarity(first: Prediction, second: Prediction) -> float:
    """The cosine of two embeddings."""
    return float(first[EMBEDDING] @ second[EMBEDDING])


def relate(threshold: float | None, first: Prediction, prediction: Prediction) -> Prediction:
    """The prediction with its `similarity` to the first picture's and, given a threshold, the verdict `same`."""
    found = similarity(first, prediction)
    verdict = {} if threshold is None else {"threshold": threshold, "same": found >= threshold}
    return prediction | {"similarity": found} | verdict


def summary(prediction: Prediction) -> dict:
    """What `relate` found, as one row."""
    shown = {key: prediction[key] for key in ("similarity", "same", "threshold") if key in prediction}
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in shown.items()}


def vectors(raw):
    """The embeddings [N, D] among raw outputs."""
    return raw[EMBEDDING] if isinstance(raw, dict) else raw


answers = Answers(
    prepare=lambda cfg, image: preprocess.resize(image, cfg.model.input_size, cfg.data.crop_fraction),
    decode=lambda cfg, raw, sizes: decode(raw),
    relate=lambda cfg, *pair: relate(cfg.verification.threshold, *pair),
    rank="similarity",
    summary=lambda prediction, classes: summary(prediction),
    draw=draw,
)
