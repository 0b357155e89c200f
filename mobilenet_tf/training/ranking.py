"""What every threshold on a score accepts: the steps under average precision, ROC curves and the best threshold."""

from __future__ import annotations

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
