"""The spread of raw outputs over images: 0 for equal outputs, for any structure of outputs and any batches."""

import numpy as np
import pytest

from mobilenet_tf.inference.spread import Spread, spread


def of(*batches):
    result = Spread()
    for batch in batches:
        result.update(batch)
    return result


def test_the_number_is_that_of_the_formula_whatever_the_batches():
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 1, (20, 7)), rng.normal(0, 2, (20, 2, 3))
    deviation = sum(np.square(x - x.mean(0)).sum() for x in (a, b))
    expected = np.sqrt(deviation / sum(np.square(x).sum() for x in (a, b)))
    assert spread({"b": b, "a": a}) == pytest.approx(expected)
    assert of([a[:3], b[:3]], [a[3:], b[3:]]).value == pytest.approx(expected)


def test_equal_outputs_are_alike_and_different_ones_are_not():
    logits = np.random.default_rng(0).normal(0, 1, (1, 10)).repeat(8, 0)
    assert of(logits).alike and of(logits[:4], logits[4:]).alike
    assert of(logits + np.random.default_rng(1).normal(0, 1e-3, logits.shape)).alike
    assert not of(np.eye(8, 10)).alike and not of(logits + np.random.default_rng(1).normal(0, 0.1, logits.shape)).alike


def test_outputs_of_a_detector_without_detections_are_alike():
    empty = {"detection_scores": np.zeros((5, 10), np.float32), "num_detections": np.zeros(5, np.float32)}
    assert of(empty).alike


def test_one_image_and_outputs_that_are_not_finite_have_no_spread():
    assert of(np.ones((1, 10))).value is None and not of(np.ones((1, 10))).alike
    assert of(np.full((4, 3), np.nan)).value is None and not of(np.full((4, 3), np.nan)).alike
    assert spread(np.arange(4)[:, None]) == 0.0, "whole numbers do not count"


def test_large_outputs_are_sampled_evenly():
    maps = np.zeros((4, 100, 100, 3), np.float32)
    maps[2, :, 50:] = 1
    assert 0.5 < spread(maps) < 1
