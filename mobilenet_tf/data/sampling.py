"""Epochs in which some samples come more often than others."""

from __future__ import annotations

from typing import Any

import numpy as np

from mobilenet_tf.data.source import AUTOTUNE, Source


def column(source: Source, name: str) -> np.ndarray:
    """One field of all samples of a source as an array [count, ...]; no image is decoded, but scenes are drawn."""
    records: Any = source.items
    if name not in records.element_spec:
        records = records.map(source.load, num_parallel_calls=AUTOTUNE)
    batches = records.map(lambda record: record[name]).batch(1024)
    return np.concatenate(list(batches.as_numpy_iterator()))


def weighted_order(weights: np.ndarray, seed: np.ndarray) -> np.ndarray:
    """The indices int64 [N] of an epoch of N samples, each as often as its weight [N] says; from the seed alone.

    A sample whose share of the weights is worth k samples comes k times, rounded up or down, which evens out over the
    epochs; so do all samples of one weight together. Method: systematic resampling of a shuffled list.
    """
    weights = np.asarray(weights, np.float64)
    count = len(weights)
    rng = np.random.default_rng(np.asarray(seed).astype(np.uint32))
    order = rng.permutation(count)
    order = order[np.argsort(weights[order], kind="stable")]  # samples of one weight side by side
    ends = np.cumsum(weights[order])
    points = (rng.random() + np.arange(count)) / count * ends[-1]
    return rng.permutation(order[np.minimum(np.searchsorted(ends, points, side="right"), count - 1)])


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """The weight of each class [C] that makes up for its frequency in labels int [N]; 1 on average over the samples.

    A class without samples has weight 1.
    """
    counts = np.bincount(labels, minlength=classes)
    return np.where(counts, len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1)), 1.0)


def attribute_weights(labels: np.ndarray) -> np.ndarray:
    """The weight of each sample [N] by the rarest of its labels [N, A], 0 or 1, below 0 where not known.

    A label with a share under a half counts sqrt(0.5 / share). Source: the repeat factors of Gupta et al. 2019 (LVIS),
    section 5.4, with a threshold of one half and of both values of an attribute.
    """
    known = labels >= 0
    factors = np.ones(labels.shape)
    for value in (0, 1):
        chosen = labels == value
        share = chosen.sum(0) / np.maximum(1, known.sum(0))
        factors = np.where(chosen, np.sqrt(np.maximum(1, 0.5 / np.maximum(share, 1e-9))), factors)
    return factors.max(1)
