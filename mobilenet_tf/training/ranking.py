"""Rankings by score: the steps of ROC and precision-recall curves, ROC AUC, and the samples with the largest scores."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np


def steps(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(true positives, false positives, score): those at or above each distinct score, from the highest down.

    labels: 0 or 1 [N]. Equal scores make one step, so their order earns nothing.
    """
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    ends = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    true = np.cumsum(labels[order])[ends]
    return true, ends + 1 - true, scores[ends]


def roc_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """The probability that a positive has a higher score than a negative; an equal score counts as one half.

    labels: 0 or 1 [N]; 0.0 is returned where one of both does not occur.
    """
    true, false, _ = steps(labels, scores)
    return float(np.trapezoid(np.append(0, true), np.append(0, false)) / max(1, true[-1] * false[-1]))


class TopK:
    """The items with the largest keys among all that were added. The keys are tuples, each of them given once."""

    def __init__(self, size: int):
        self.size = size
        self._heap: list[tuple[tuple, Any]] = []  # the smallest key first

    def accepts(self, key: tuple) -> bool:
        """Whether an item with this key would be among the `size` largest."""
        return len(self._heap) < self.size or key > self._heap[0][0]

    def add(self, key: tuple, item: Any) -> None:
        """Adds an item, in place of the one with the smallest key where there are more than `size`."""
        if self.accepts(key):
            (heapq.heappush if len(self._heap) < self.size else heapq.heapreplace)(self._heap, (key, item))

    def items(self) -> list[Any]:
        """The items, the largest key first."""
        return [item for _, item in sorted(self._heap, key=lambda entry: entry[0], reverse=True)]
