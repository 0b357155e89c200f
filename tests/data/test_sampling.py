"""Epochs in which some samples come more often than others, and the weights that make up for rare classes."""

import numpy as np
import pytest

from mobilenet_tf.data.sampling import attribute_weights, class_weights, weighted_order


def test_an_epoch_has_every_class_equally_often():
    labels = np.array([0] * 200 + [1] * 10)  # 20 to 1
    weights = class_weights(labels, 2)[labels]
    epochs = [weighted_order(weights, np.array([epoch, 7])) for epoch in range(40)]
    assert all(len(order) == 210 for order in epochs)
    assert all(abs(int((labels[order] == 1).sum()) - 105) <= 1 for order in epochs)
    rare = np.bincount(epochs[0], minlength=210)[200:]
    assert set(rare) <= {10, 11}, "each as often as the others of its class, rounded"
    seen = np.bincount(np.concatenate(epochs), minlength=210)[:200]
    assert seen.min() > 8 and seen.max() < 34, "of 21 times on average: no image of a common class is left out for good"


def test_the_order_comes_from_the_seed_alone():
    weights = np.arange(1, 30)
    first, again, other = (weighted_order(weights, np.array(seed)) for seed in ([1, 2], [1, 2], [1, 3]))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(np.sort(weighted_order(np.ones(50), np.array([0, 0]))), np.arange(50))


def test_class_weights_are_one_on_average():
    labels = np.array([0] * 30 + [1] * 10 + [3] * 20)
    weights = class_weights(labels, 4)
    np.testing.assert_allclose(weights, [60 / 90, 2.0, 1.0, 1.0])
    assert weights[labels].mean() == pytest.approx(1)


def test_an_attribute_weighs_by_its_rarer_label():
    labels = np.array([[1, 0]] + [[0, 0]] * 7 + [[0, -1]] * 8)
    np.testing.assert_allclose(attribute_weights(labels), [np.sqrt(8)] + [1] * 15)
