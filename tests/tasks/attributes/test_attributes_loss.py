"""Losses, scores and thresholds of attributes against hand-computed numbers, plain loops and Keras."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.tasks.attributes.inference import decode, draw, present_attributes, to_row
from mobilenet_tf.tasks.attributes.loss import LOSSES, loss
from mobilenet_tf.tasks.attributes.metric import AttributeMetric, average_precision, best_threshold, roc_auc
from mobilenet_tf.tasks.attributes.report import report
from mobilenet_tf.utils.errors import UserError

rng = np.random.default_rng(0)
NAMES = ["bald", "smiling", "young"]
FOCAL = {"name": "focal", "gamma": 2.0, "alpha": 0.25}
ASYMMETRIC = {"name": "asymmetric", "gamma_positive": 1.0, "gamma_negative": 4.0, "margin": 0.05}
CROSS_ENTROPY = {"name": "cross_entropy"}


def targets(labels, weights=1.0):
    labels = tf.constant(labels, tf.float32)
    return {"labels": labels, "weights": tf.zeros_like(labels) + weights}


# --- loss ---


def by_hand(name, y, p, gamma=0.0, alpha=None, gamma_positive=0.0, gamma_negative=0.0, margin=0.0):
    """The loss of one label y whose probability is p, as the papers write it."""
    if name == "cross_entropy":
        return -np.log(p if y else 1 - p)
    if name == "focal":
        own = p if y else 1 - p
        return -(1 if alpha is None else alpha if y else 1 - alpha) * (1 - own) ** gamma * np.log(own)
    shifted = max(p - margin, 0)
    return -((1 - p) ** gamma_positive) * np.log(p) if y else -(shifted**gamma_negative) * np.log(1 - shifted)


@pytest.mark.parametrize("keys", [CROSS_ENTROPY, FOCAL, FOCAL | {"alpha": None, "gamma": 1.0}, ASYMMETRIC])
def test_losses_are_those_of_the_papers_over_known_labels(keys):
    labels = rng.choice([-1.0, 0.0, 1.0], (6, 3))
    logits = rng.normal(0, 3, (6, 3))
    p = 1 / (1 + np.exp(-logits))
    each = [by_hand(y=y > 0, p=q, **keys) for y, q in zip(labels.ravel(), p.ravel(), strict=True) if y >= 0]
    assert float(loss(**keys)(targets(labels), tf.constant(logits))) == pytest.approx(np.mean(each), rel=1e-5)


def test_losses_without_their_extras_are_cross_entropy():
    labels, logits = rng.choice([0.0, 1.0], (8, 3)), tf.constant(rng.normal(0, 5, (8, 3)))
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(labels, logits)
    flat = {"gamma_positive": 0.0, "gamma_negative": 0.0, "margin": 0.0}
    for keys in (CROSS_ENTROPY, {"name": "focal", "gamma": 0.0, "alpha": None}, {"name": "asymmetric", **flat}):
        assert float(loss(**keys)(targets(labels), logits)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    "keys", [CROSS_ENTROPY, FOCAL, ASYMMETRIC, ASYMMETRIC | {"margin": 0.0, "gamma_negative": 0.5}]
)
def test_gradients_are_finite_everywhere_and_nought_for_unknown_labels(keys):
    logits = tf.Variable([[-200.0, -20, 0, 20, 200, 3]] * 2)
    labels = [[1.0, 1, 1, 1, 1, -1], [0.0, 0, 0, 0, 0, -1]]
    with tf.GradientTape() as tape:
        value = loss(**keys)(targets(labels), logits)
    gradient = tape.gradient(value, logits).numpy()
    assert np.isfinite(value) and np.isfinite(gradient).all() and not gradient[:, -1].any()
    assert (gradient[0, 1:3] < 0).all() and (gradient[1, 2:4] > 0).all()


def test_a_batch_of_unknown_labels_costs_nothing():
    logits = tf.Variable(rng.normal(size=(4, 3)).astype(np.float32))
    for name, keys in {"cross_entropy": {}, "focal": FOCAL, "asymmetric": ASYMMETRIC}.items():
        with tf.GradientTape() as tape:
            value = loss(**({"name": name} | keys))(targets(-np.ones((4, 3))), logits)
        assert float(value) == 0 and not tape.gradient(value, logits).numpy().any()
    assert set(LOSSES) == {"cross_entropy", "focal", "asymmetric"}


def test_weights_multiply_and_mixed_precision_is_computed_in_float32():
    labels, logits = [[1.0, 0.0, -1.0]], tf.constant([[0.0, 0.0, 7.0]])
    fn = loss(**CROSS_ENTROPY)
    assert float(fn(targets(labels, [[3.0, 1.0, 5.0]]), logits)) == pytest.approx(2 * np.log(2))
    assert fn(targets(labels), tf.cast(logits, tf.bfloat16)).dtype == tf.float32


# --- scores ---


def brute_ap(labels, scores):
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        recall = labels[chosen].sum() / labels.sum()
        total, before = total + (recall - before) * labels[chosen].mean(), recall
    return total


def brute_auc(labels, scores):
    wins = [(p > n) + 0.5 * (p == n) for p in scores[labels == 1] for n in scores[labels == 0]]
    return np.mean(wins)


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_ap_and_auc_are_those_of_plain_loops_ties_included(levels):
    for seed in range(8):
        own = np.random.default_rng(seed)
        labels = np.append(own.integers(0, 2, 40), [0, 1])
        scores = own.integers(0, levels, 42) / levels
        assert average_precision(labels, scores) == pytest.approx(brute_ap(labels, scores), abs=1e-12)
        assert roc_auc(labels, scores) == pytest.approx(brute_auc(labels, scores), abs=1e-12)


def test_the_area_is_that_of_keras_and_chance_is_the_prior():
    labels, scores = rng.integers(0, 2, 500), rng.uniform(size=500)
    keras_auc = keras.metrics.AUC(num_thresholds=5000)
    keras_auc.update_state(labels, scores)
    assert roc_auc(labels, scores) == pytest.approx(float(keras_auc.result()), abs=1e-3)
    constant = np.full(500, 0.3)
    assert average_precision(labels, constant) == pytest.approx(labels.mean())
    assert roc_auc(labels, constant) == 0.5 and roc_auc(labels, labels) == average_precision(labels, labels) == 1


@pytest.mark.parametrize("aim", ["f1", "balanced_accuracy"])
def test_no_threshold_beats_the_tuned_one(aim):
    def quality(labels, present):
        true, false = (present & (labels == 1)).sum(), (present & (labels == 0)).sum()
        if aim == "f1":
            return 2 * true / (present.sum() + labels.sum())
        return (true / labels.sum() + 1 - false / (labels == 0).sum()) / 2

    for seed in range(10):
        own = np.random.default_rng(seed)
        labels = np.append(own.integers(0, 2, 30), [0, 1])
        scores = (own.integers(0, 12, 32) / 12).astype(np.float32)
        threshold = best_threshold(labels, scores, aim)
        assert not np.isclose(scores, threshold).any() or threshold in (0, 1), "halfway between two scores"
        presents = [scores >= t for t in [*np.unique(scores), 2.0]]
        if aim == "f1":
            majority = max(labels.mean(), 1 - labels.mean())
            presents = [p for p in presents if (p == labels).mean() >= majority]
            assert ((scores >= threshold) == labels).mean() >= majority, "no worse than the more frequent value"
        best = max(quality(labels, present) for present in presents)
        assert quality(labels, scores >= threshold) == pytest.approx(best)


def filled(labels, probabilities, thresholds=None):
    metric = AttributeMetric(NAMES, thresholds)
    logits = np.log(probabilities) - np.log1p(-np.asarray(probabilities))
    for row, prediction in zip(labels, decode(logits, thresholds), strict=True):
        metric.update({"attributes": np.float32(row)}, prediction)
    return metric


LABELS = [[1, 1, 0], [0, 1, -1], [0, -1, 0], [1, 0, 0]]
CHANCES = [[0.9, 0.6, 0.2], [0.4, 0.3, 0.9], [0.3, 0.9, 0.1], [0.2, 0.5, 0.3]]


def test_the_table_by_hand():
    first, second, third = filled(LABELS, CHANCES).per_attribute()
    assert first == {
        "name": "bald", "positives": 2, "negatives": 2, "unknown": 0, "ap": pytest.approx((1 + 2 / 4) / 2),
        "prior": 0.5, "auc": 0.5, "accuracy": 0.75, "majority": 0.5, "balanced_accuracy": 0.75,
        "f1": pytest.approx(2 / 3), "threshold": 0.5,
    }  # fmt: skip
    assert (second["positives"], second["negatives"], second["unknown"]) == (2, 1, 1)
    assert second["ap"] == pytest.approx((1 + 2 / 3) / 2) and second["accuracy"] == pytest.approx(1 / 3)
    assert third["ap"] is None and third["f1"] is None and third["accuracy"] == 1 and third["prior"] == 0


def test_means_leave_out_what_cannot_be_ranked_and_say_so():
    metric = filled(LABELS, CHANCES)
    with pytest.warns(UserWarning, match="1 of 3 attributes have no positive or no negative sample .*: young"):
        result = metric.result()
    assert result["mean_ap"] == pytest.approx((0.75 + 5 / 6) / 2) and result["prior"] == pytest.approx(
        (1 / 2 + 2 / 3) / 2
    )
    assert result["attributes"] == 2 and result["count"] == 4
    with pytest.raises(UserError, match="must have an attribute with positive and negative samples"):
        filled([[1, 0, -1]] * 2, CHANCES[:2]).result()
    with pytest.raises(UserError, match="at least one sample"):
        AttributeMetric(NAMES).result()


def test_tuned_thresholds_reach_the_predictions():
    metric = filled(LABELS, CHANCES)
    assert metric.tuned("f1") == [0.65, 0.15, 0.5]
    assert metric.tuned("balanced_accuracy")[0] == pytest.approx(0.65)
    better = filled(LABELS, CHANCES, metric.tuned("balanced_accuracy"))
    assert better.per_attribute()[1]["threshold"] == pytest.approx(0.55)
    assert better.per_attribute()[1]["balanced_accuracy"] == pytest.approx(0.75)


@pytest.mark.filterwarnings("ignore:1 of 3 attributes")
def test_what_is_not_finite_is_wrong():
    metric, broken = filled(LABELS, CHANCES), AttributeMetric(NAMES)
    for row, prediction in zip(LABELS, decode(np.full((4, 3), np.nan), None), strict=True):
        broken.update({"attributes": np.float32(row)}, prediction)
    assert broken.result()["accuracy"] == 0 < metric.result()["accuracy"]
    assert all(row["auc"] in (0, None) for row in broken.per_attribute())


def test_decode():
    first, second = decode(np.array([[0.0, 2, -1e4], [1e4, -2, 0]]), [0.5, 0.9, 0.1])
    assert first["probabilities"].dtype == np.float32 and first["probabilities"].tolist()[::2] == [0.5, 0.0]
    assert first["present"].tolist() == [True, False, False] and second["present"].tolist() == [True, False, True]
    assert to_row(second, NAMES) == {"count": 2, "attributes": "bald 1.000, young 0.500"}
    assert present_attributes(first, NAMES) == [("bald", 0.5)]
    image = np.zeros((40, 30, 3), np.uint8)
    shapes = [draw(image, prediction, NAMES).shape for prediction in (first, second)]
    assert shapes[1][0] > shapes[0][0] > 40, "one line an attribute that is present"
    with pytest.raises(UserError, match="thresholds must have a number for each of the 3 attributes. Received: 2"):
        decode(np.zeros((1, 3)), [0.5, 0.5])


def test_report(tmp_path):
    written = report(filled(LABELS, CHANCES), NAMES, tmp_path)
    assert {path.name for path in written} == {"average_precision.png", "accuracy.png", "per_attribute.csv"}
    with open(tmp_path / "per_attribute.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == NAMES and rows[2]["ap"] == "" and float(rows[0]["prior"]) == 0.5
    assert all(path.stat().st_size > 0 for path in written)
