"""Scores of verification (do two images show one identity?) and of retrieval by embeddings. Plain NumPy.

A pair is accepted where its similarity is at least the threshold. FAR: the share of different pairs accepted;
TAR: that of same pairs.
"""

from __future__ import annotations

import numpy as np

from mobilenet_tf.training import ranking

FOLDS = 10
QUERIES_PER_CHUNK = 512  # ranked at a time


def rates(similarity: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(thresholds, FAR, TAR), float64 [T], at every distinct similarity, the highest first."""
    true, false, values = ranking.steps(np.asarray(same, bool), np.asarray(similarity, np.float64))
    return values, false / max(1, false[-1]), true / max(1, true[-1])


def roc_auc(similarity: np.ndarray, same: np.ndarray) -> float:
    """The probability that a same pair is more similar than a different one; equal ones count a half."""
    return ranking.roc_auc(np.asarray(same, bool), np.asarray(similarity, np.float64))


def tar_at_far(similarity: np.ndarray, same: np.ndarray, far: float) -> float | None:
    """The largest TAR whose FAR is at most `far`; None where the different pairs are too few to measure it."""
    different = np.sort(np.asarray(similarity)[~same])[::-1]
    accepted = int(far * len(different) + 1e-9)
    if not accepted:
        return None
    return float((similarity[same] > different[accepted]).mean()) if accepted < len(different) else 1.0


def equal_error_rate(similarity: np.ndarray, same: np.ndarray) -> float:
    """The error where FAR = 1 - TAR, on straight lines between the thresholds."""
    _, far, tar = rates(similarity, same)
    far, frr = np.append(0, far), 1 - np.append(0, tar)
    right = int(np.argmax(far >= frr))
    gap = (frr - far)[[right - 1, right]]
    share = gap[0] / (gap[0] - gap[1])
    return float(far[right - 1] + share * (far[right] - far[right - 1]))


def best_threshold(similarity: np.ndarray, same: np.ndarray) -> float:
    """The threshold of the best `accuracy`, half way to the next similarity below it."""
    values, far, tar = rates(similarity, same)
    best = int(np.argmax(tar - far))
    return float((values[best] + values[min(best + 1, len(values) - 1)]) / 2)


def accuracy(similarity: np.ndarray, same: np.ndarray, threshold: float) -> float:
    """The mean of the accuracies on same and on different pairs: LFW's, whose lists have as many of both."""
    right = (similarity >= threshold) == same
    return float(np.mean([right[part].mean() for part in (same, ~same) if part.any()]))


def k_fold(similarity: np.ndarray, same: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The accuracy on each fold at the threshold that is best on the others: LFW's protocol (Huang et al. 2007, IV)."""
    accuracies = []
    for number in np.unique(fold):
        held_out = fold == number
        threshold = best_threshold(similarity[~held_out], same[~held_out])
        accuracies.append(accuracy(similarity[held_out], same[held_out], threshold))
    return np.array(accuracies)


def draw_folds(same: np.ndarray, seed: int = 0) -> np.ndarray:
    """A fold int [P] for each pair: ten (fewer where pairs are few), with equal shares of same and different pairs."""
    same, rng = np.asarray(same, bool), np.random.default_rng(seed)
    fold = np.empty(len(same), np.int64)
    folds = max(2, min(FOLDS, same.sum(), (~same).sum()))
    for part in (same, ~same):
        fold[part] = rng.permutation(part.sum()) % folds
    return fold


def recall_at(embeddings: np.ndarray, labels: np.ndarray, ranks: tuple[int, ...], queries: np.ndarray) -> list[float]:
    """The share of queries (indices) with an image of their identity among the nearest k others, for each k of `ranks`.

    Among equally near ones the wrong come first. Queries whose identity has no other image do not count; with none
    left the recall is 0. Embeddings have unit length.
    """
    ranks_of_first = []  # of the nearest image of the same identity, from 0
    for start in range(0, len(queries), QUERIES_PER_CHUNK):
        chunk = queries[start : start + QUERIES_PER_CHUNK]
        nearness = embeddings[chunk] @ embeddings.T
        alike = labels[chunk, None] == labels
        alike[np.arange(len(chunk)), chunk] = False
        has_match = alike.any(1)
        nearest = np.where(alike, nearness, -np.inf).max(1, keepdims=True)
        before = (nearness >= nearest) & (labels[chunk, None] != labels)
        ranks_of_first.append(before.sum(1)[has_match])
    first = np.concatenate(ranks_of_first)
    return [float((first < k).mean()) if len(first) else 0.0 for k in ranks]
