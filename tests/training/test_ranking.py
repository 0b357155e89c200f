"""What the metrics of several tasks share: ROC AUC and the items with the largest keys."""

from __future__ import annotations

import numpy as np
import pytest

from mobilenet_tf.training.ranking import TopK, roc_auc


def test_roc_auc_counts_pairs_and_equal_scores_as_one_half():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(2, size=60), rng.integers(8, size=60) / 8
    positive, negative = scores[labels == 1][:, None], scores[labels == 0][None]
    expected = ((positive > negative) + 0.5 * (positive == negative)).mean()
    assert roc_auc(labels, scores) == pytest.approx(expected)
    assert roc_auc(np.ones(3, int), scores[:3]) == 0


def test_top_k_has_the_largest_keys_first():
    keys = [(float(value), -i) for i, value in enumerate(np.random.default_rng(1).integers(5, size=40))]
    top = TopK(7)
    for key in keys:
        top.add(key, f"item {key}")
    assert top.items() == [f"item {key}" for key in sorted(keys, reverse=True)[:7]]
    assert not top.accepts(min(keys)) and top.accepts((9.0, 0))
