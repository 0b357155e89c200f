"""Loss, decoding and metrics of the classifier against hand-computed numbers, plain loops and Keras."""

import csv
import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from half import need
from PIL import Image

from mobilenet_tf.tasks.classification import report as reports
from mobilenet_tf.tasks.classification.inference import decode, draw, top_k
from mobilenet_tf.tasks.classification.loss import loss
from mobilenet_tf.tasks.classification.metric import ClassificationMetric
from mobilenet_tf.tasks.classification.report import report
from mobilenet_tf.utils.errors import UserError

SEEDS = range(6)
pytestmark = pytest.mark.filterwarnings("ignore:all predictions are")


def letters(count: int) -> list[str]:
    return [f"class {i}" for i in range(count)]


def random_case(seed: int, count: int = 200, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Labels [N] and probabilities [N, C] of a mediocre, uncalibrated classifier."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) * 1.5
    logits[np.arange(count), labels] += 1.2
    return labels, np.stack([p["probabilities"] for p in decode(logits)])


def filled(labels, probabilities, classes=None, **extra) -> ClassificationMetric:
    metric = ClassificationMetric(classes or letters(len(probabilities[0])))
    for index, (label, row) in enumerate(zip(labels, probabilities, strict=True)):
        sample = {"label": label, "id": f"{index:04d}"} | {key: value[index] for key, value in extra.items()}
        metric.update(sample, {"probabilities": row})
    return metric


# --- loss ---


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_loss_is_that_of_keras(seed, smoothing):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(16, 7)).astype(np.float32) * 5
    targets = np.eye(7, dtype=np.float32)[rng.integers(0, 7, 16)]
    mixed = 0.3 * targets + 0.7 * targets[::-1]  # as mixup makes them
    for target in (targets, mixed):
        expected = keras.losses.categorical_crossentropy(target, logits, from_logits=True, label_smoothing=smoothing)
        got = loss(smoothing)(target, logits)
        assert got.shape == (16,) and got.dtype == tf.float32
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_loss_by_hand():
    targets, logits = [[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [math.log(3), 0.0]]
    np.testing.assert_allclose(loss()(targets, logits), [math.log(2), math.log(4)], rtol=1e-6)
    # Smoothed by 0.2: 0.1 * -log(3/4) + 0.9 * -log(1/4).
    np.testing.assert_allclose(loss(0.2)(targets, logits)[1], 0.1 * math.log(4 / 3) + 0.9 * math.log(4), rtol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32])
def test_loss_is_computed_in_float32(dtype):
    logits = tf.cast([[0.0] * 2000 + [4.0]], dtype)  # a sum that float16 and bfloat16 get wrong
    targets = tf.one_hot([2000], 2001, dtype=dtype)
    got = loss()(targets, logits)
    assert got.dtype == tf.float32
    np.testing.assert_allclose(got, [math.log(2000 + math.exp(4)) - 4], rtol=1e-5)


def test_loss_and_gradient_are_finite_for_extreme_logits():
    logits = tf.Variable([[1e4, -1e4, 0.0], [6e4, 6e4, -6e4]])
    targets = tf.constant([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    with tf.GradientTape() as tape:
        value = loss(0.1)(targets, logits)
    gradient = tape.gradient(value, logits)
    assert np.isfinite(value).all() and np.isfinite(gradient).all()
    np.testing.assert_allclose(np.sum(gradient, axis=1), 0, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_loss_trains_a_model(policy):
    need(policy.removeprefix("mixed_"))  # without bfloat16 the process would end
    dense = keras.layers.Dense(3, dtype=keras.DTypePolicy(policy))
    model = keras.Sequential([keras.Input((4,)), dense])
    model.compile(keras.optimizers.SGD(0.5), loss=loss(0.05))
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 4)).astype(np.float32)
    targets = np.eye(3, dtype=np.float32)[inputs[:, :3].argmax(axis=1)]
    history = model.fit(inputs, targets, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.6 * history[0]


@pytest.mark.parametrize("value", [-0.1, 1.0, 2, float("nan")])
def test_loss_refuses_a_bad_smoothing(value):
    with pytest.raises(UserError, match=rf"label_smoothing must be .* Received: label_smoothing={value}"):
        loss(value)


# --- decode ---


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4, 1e30])
def test_decode_is_a_stable_softmax(seed, scale):
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(5, 9)) * scale).astype(np.float32)
    got = np.stack([prediction["probabilities"] for prediction in decode(logits)])
    assert got.dtype == np.float32 and got.shape == (5, 9)
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(got.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_allclose(got, tf.nn.softmax(logits.astype(np.float64)), atol=1e-6)
    if scale <= 30:  # adding a constant changes nothing
        shifted = np.stack([prediction["probabilities"] for prediction in decode(logits + 512)])
        np.testing.assert_allclose(shifted, got, atol=2e-4)


def test_decode_keeps_what_is_a_softmax_already():
    probabilities = np.array([[0.2, 0.8], [0.5, 0.5]])
    for row, prediction in zip(probabilities, decode(probabilities, from_logits=False), strict=True):
        assert prediction["probabilities"].dtype == np.float32
        np.testing.assert_array_equal(prediction["probabilities"], row.astype(np.float32))


def test_decode_of_nothing_and_of_masked_logits():
    assert decode(np.zeros((0, 4))) == []
    np.testing.assert_allclose(decode(np.array([[0.0, -np.inf, 0.0]]))[0]["probabilities"], [0.5, 0, 0.5])


def test_decode_leaves_its_input():
    logits = np.array([[1.0, 2.0]], np.float32)
    decode(logits)
    np.testing.assert_array_equal(logits, [[1, 2]])


# --- metric: numbers ---


def test_metric_by_hand():
    labels = [0, 0, 0, 1, 1, 2]
    probabilities = [
        [0.7, 0.2, 0.1],  # right
        [0.5, 0.3, 0.2],  # right
        [0.1, 0.8, 0.1],  # 0 taken for 1
        [0.2, 0.6, 0.2],  # right
        [0.9, 0.1, 0.0],  # 1 taken for 0
        [0.25, 0.35, 0.4],  # right
    ]
    metric = filled(labels, probabilities, ["a", "b", "c"])
    np.testing.assert_array_equal(metric.confusion, [[2, 1, 0], [1, 1, 0], [0, 0, 1]])
    third, half = pytest.approx(2 / 3), pytest.approx(0.5)
    assert metric.per_class() == [
        {"name": "a", "precision": third, "recall": third, "f1": third, "support": 3},
        {"name": "b", "precision": half, "recall": half, "f1": half, "support": 2},
        {"name": "c", "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1},
    ]
    # The six confidences fall into six different fifteenths, so each bin holds one |confidence - right|.
    gaps = 0.3 + 0.5 + 0.8 + 0.4 + 0.9 + 0.6
    logs = -sum(math.log(p) for p in (0.7, 0.5, 0.1, 0.6, 0.1, 0.4))
    assert metric.result() == pytest.approx(
        {
            "top1": 4 / 6,
            "log_loss": logs / 6,
            "macro_f1": (2 / 3 + 1 / 2 + 1) / 3,
            "balanced_accuracy": (2 / 3 + 1 / 2 + 1) / 3,
            "ece": gaps / 6,
            "count": 6,
        }
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("classes", [2, 6, 50])
def test_metric_agrees_with_keras(seed, classes):
    labels, probabilities = random_case(seed, classes=classes)
    result = filled(labels, probabilities).result()
    one_hot = np.eye(classes, dtype=np.float32)[labels]
    expected = {
        "top1": keras.metrics.SparseTopKCategoricalAccuracy(1),
        "top5": keras.metrics.SparseTopKCategoricalAccuracy(5),
        "log_loss": keras.metrics.SparseCategoricalCrossentropy(),
    }
    for name, metric in expected.items():
        metric.update_state(labels, probabilities)
        if name != "top5" or classes > 5:
            assert result[name] == pytest.approx(float(metric.result()), rel=1e-5)
    if set(labels) == set(range(classes)):  # Keras counts absent classes as 0
        f1 = keras.metrics.F1Score(average="macro")
        f1.update_state(one_hot, probabilities)
        assert result["macro_f1"] == pytest.approx(float(f1.result()), rel=1e-5)


@pytest.mark.parametrize(("classes", "has"), [(2, False), (5, False), (6, True)])
def test_top5_needs_more_than_five_classes(classes, has):
    labels, probabilities = random_case(0, classes=classes)
    keys = list(filled(labels, probabilities).result())
    assert keys == ["top1", *["top5"] * has, "log_loss", "macro_f1", "balanced_accuracy", "ece", "count"]


def ece_by_loop(labels, probabilities, bins=15) -> float:
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    total = 0.0
    for index in range(bins):
        inside = (confidence > index / bins) & (confidence <= (index + 1) / bins)
        if inside.any():
            total += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    return total / len(labels)


@pytest.mark.parametrize("seed", SEEDS)
def test_ece_against_a_plain_loop(seed):
    labels, probabilities = random_case(seed, count=500)
    got = filled(labels, probabilities).result()["ece"]
    assert got == pytest.approx(ece_by_loop(labels, probabilities.astype(np.float64)), abs=1e-9)
    assert got > 0.01


def test_ece_of_a_calibrated_classifier_is_zero():
    labels = [0] * 8 + [1] * 2
    assert filled(labels, [[0.8, 0.2]] * 10).result()["ece"] == pytest.approx(0)


def test_ece_bins_hold_their_upper_edge():
    """0.6 is the edge of (8/15, 9/15] and (9/15, 10/15]: it must not share a bin with 0.65."""
    assert filled([0, 1], [[0.6, 0.4], [0.65, 0.35]]).result()["ece"] == pytest.approx((0.4 + 0.65) / 2)


@pytest.mark.parametrize("confidence", [1.0, 1.0005, 0.6, 2 / 3])
def test_ece_takes_confidences_on_the_edges(confidence):
    metric = filled([0], [[confidence, 1 - confidence]])
    assert metric.result()["ece"] == pytest.approx(abs(1 - confidence), abs=1e-9)


# --- metric: properties ---


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_do_not_depend_on_the_order_of_samples(seed):
    labels, probabilities = random_case(seed)
    order = np.random.default_rng(seed + 100).permutation(len(labels))
    assert filled(labels[order], probabilities[order]).result() == pytest.approx(filled(labels, probabilities).result())


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_do_not_depend_on_the_order_of_classes(seed):
    labels, probabilities = random_case(seed)
    order = np.random.default_rng(seed).permutation(8)
    relabelled = filled(np.argsort(order)[labels], probabilities[:, order])
    assert relabelled.result() == pytest.approx(filled(labels, probabilities).result())


@pytest.mark.parametrize("seed", SEEDS)
def test_doubled_samples_leave_the_averages(seed):
    labels, probabilities = random_case(seed)
    once = filled(labels, probabilities).result()
    twice = filled(np.tile(labels, 2), np.tile(probabilities, (2, 1))).result()
    assert twice.pop("count") == 2 * once.pop("count")
    assert twice == pytest.approx(once)


@pytest.mark.parametrize("seed", SEEDS)
def test_scores_hang_together(seed):
    labels, probabilities = random_case(seed, classes=7)
    metric = filled(labels, probabilities)
    result, rows = metric.result(), metric.per_class()
    assert metric.confusion.sum() == result["count"] == len(labels)
    assert metric.confusion.dtype == np.int64
    assert result["top1"] == pytest.approx(metric.confusion.trace() / len(labels))
    assert 0 <= result["top1"] < result["top5"] <= 1
    np.testing.assert_array_equal(metric.support, np.bincount(labels, minlength=7))
    np.testing.assert_array_equal([row["support"] for row in rows], metric.support)
    for row in rows:
        assert row["f1"] == pytest.approx(2 / (1 / row["precision"] + 1 / row["recall"]))
    assert all(type(value) in (float, int) for value in result.values())  # goes into JSON as it is


def test_balanced_accuracy_does_not_see_the_class_sizes():
    metric = filled([0] * 98 + [1] * 2, [[0.9, 0.1]] * 100)  # always the large class
    result = metric.result()
    assert result["top1"] == pytest.approx(0.98) and result["balanced_accuracy"] == pytest.approx(0.5)
    assert metric.per_class()[1] == {"name": "class 1", "precision": None, "recall": 0.0, "f1": 0.0, "support": 2}


def test_a_perfect_classifier():
    metric = filled(range(9), np.eye(9))
    perfect = {"top1": 1, "top5": 1, "log_loss": 0, "macro_f1": 1, "balanced_accuracy": 1, "ece": 0, "count": 9}
    assert metric.result() == pytest.approx(perfect)
    assert metric.worst == [] and metric.warnings == []


# --- metric: odd cases ---


def test_classes_absent_from_the_split_do_not_count():
    labels, probabilities = [0, 1, 1], [[0.9, 0.1, 0, 0], [0.1, 0.9, 0, 0], [0.1, 0.2, 0.7, 0]]
    metric = filled(labels, probabilities)
    rows = metric.per_class()
    assert rows[2] == {"name": "class 2", "precision": 0.0, "recall": None, "f1": 0.0, "support": 0}
    assert rows[3] == {"name": "class 3", "precision": None, "recall": None, "f1": None, "support": 0}
    result = metric.result()
    assert result["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert result["macro_f1"] == pytest.approx((1 + 2 / 3) / 2)


def test_ties_earn_nothing():
    """A constant output is right for one class in the top 1 and for five in the top 5, as its order says."""
    result = filled(range(10), np.full((10, 10), 0.1)).result()
    assert result["top1"] == pytest.approx(0.1) and result["top5"] == pytest.approx(0.5)
    assert result["log_loss"] == pytest.approx(math.log(10)) and result["ece"] == pytest.approx(0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_probabilities_that_are_not_finite_count_as_wrong(bad):
    metric = filled([0, 0, 1], [[0.8, 0.2], [bad, 0.3], [0.1, 0.9]])
    with pytest.warns(UserWarning, match=re.escape("1 of 3 predictions hold NaN or infinite probabilities")):
        result = metric.result()
    assert result["top1"] == pytest.approx(2 / 3) and result["balanced_accuracy"] == pytest.approx(3 / 4)
    assert all(math.isfinite(value) for value in result.values())
    assert result["log_loss"] > 5
    assert metric.confusion.sum() == 2 and metric.support.sum() == 3


def test_only_nan():
    metric = filled([0, 1], np.full((2, 2), np.nan))
    with pytest.warns(UserWarning, match="2 of 2 predictions"):
        result = metric.result()
    assert result["top1"] == result["macro_f1"] == 0 and math.isfinite(result["ece"])


@pytest.mark.filterwarnings("default:all predictions are")
def test_constant_predictions_are_named():
    metric = filled([0, 1, 2], [[0.1, 0.8, 0.1], [0.2, 0.5, 0.3], [0.0, 0.9, 0.1]])
    with pytest.warns(UserWarning, match="all predictions are 'class 1': the model is untrained"):
        metric.result()
    assert len(metric.warnings) == 1
    assert filled([1, 1], [[0.1, 0.9], [0.2, 0.8]]).warnings == []  # a split of one class
    assert filled([0, 1], [[0.9, 0.1], [0.2, 0.8]]).warnings == []


def test_zero_probability_for_the_truth_is_clipped():
    assert filled([1], [[1.0, 0.0]]).result()["log_loss"] == pytest.approx(-math.log(1e-7))


def test_no_samples():
    with pytest.raises(UserError, match="at least one sample. Received: 0 samples"):
        ClassificationMetric(["a", "b"]).result()


@pytest.mark.parametrize(
    ("label", "probabilities", "message"),
    [
        (2, [0.5, 0.5], "label must be between 0 and 1 for 2 classes. Received: 2"),
        (-1, [0.5, 0.5], "Received: -1"),
        (0, [0.2, 0.3, 0.5], r"probabilities must be \[2\]. Received: \[3\]"),
        (0, [[0.2, 0.8]], r"Received: \[1, 2\]"),
        (0, [3.2, -1.0], "logits need decode. Received: -1 to 3.2"),
        (0, [3.2, np.nan], "logits need decode"),
    ],
)
def test_update_refuses_what_does_not_fit(label, probabilities, message):
    metric = ClassificationMetric(["a", "b"])
    with pytest.raises(ValueError, match=message):
        metric.update({"label": label}, {"probabilities": np.array(probabilities)})
    assert metric.support.sum() == 0


@pytest.mark.parametrize("wrap", [int, np.int32, np.int64, tf.constant, np.array])
def test_labels_and_ids_of_any_kind(wrap):
    for name in (
        "x/ü.jpg",
        "x/ü.jpg".encode(),
        np.bytes_("x/ü.jpg".encode()),
        tf.constant("x/ü.jpg"),
        np.str_("x/ü.jpg"),
    ):
        metric = ClassificationMetric(["a", "b"])
        metric.update({"label": wrap(1), "id": name}, {"probabilities": np.array([0.7, 0.3], np.float32)})
        assert metric.worst[0].id == "x/ü.jpg" and metric.worst[0].truth == 1


# --- the worst mistakes ---


@pytest.mark.parametrize("seed", SEEDS)
def test_worst_are_the_most_confident_mistakes(seed):
    labels, probabilities = random_case(seed, count=400)
    probabilities = np.round(probabilities, 2)  # many equal confidences
    metric = filled(labels, probabilities)
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = [i for i in range(400) if predicted[i] != labels[i]]
    expected = sorted(wrong, key=lambda i: (-confidence[i], i))[:40]
    assert len(wrong) > 60
    assert [int(mistake.id) for mistake in metric.worst] == expected
    for mistake in metric.worst:
        i = int(mistake.id)
        assert (mistake.truth, mistake.predicted) == (labels[i], predicted[i])
        assert mistake.confidence == pytest.approx(confidence[i])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_worst_keep_small_thumbnails(dtype):
    images = np.zeros((300, 40, 600, 3), dtype)
    images[:, :, :, 0] = np.arange(300)[:, None, None] % 256
    metric = filled([0] * 300, [[0.2, 0.8]] * 300, image=images)
    assert len(metric.worst) == 40
    for mistake in metric.worst:
        assert mistake.thumbnail.dtype == np.uint8 and max(mistake.thumbnail.shape) <= 208
        assert not np.shares_memory(mistake.thumbnail, images)
        np.testing.assert_array_equal(mistake.thumbnail[..., 0], int(mistake.id) % 256)


@pytest.mark.parametrize("shape", [(1280,), (7, 7, 1280)])
def test_cached_features_are_no_thumbnails(shape):
    metric = filled([0], [[0.2, 0.8]], image=np.zeros((1, *shape), np.float32))
    assert metric.worst[0].thumbnail is None


# --- report and draw ---


def test_report_writes_pictures_and_tables(tmp_path):
    labels, probabilities = random_case(0)
    rng = np.random.default_rng(0)
    metric = filled(labels, probabilities, image=rng.integers(0, 256, (len(labels), 24, 32, 3), np.uint8))
    paths = report(metric, metric.classes, tmp_path / "plots")
    assert sorted(path.name for path in paths) == [
        "confusion.png",
        "per_class.csv",
        "per_class.png",
        "worst.csv",
        "worst.png",
    ]
    assert sorted(paths) == sorted((tmp_path / "plots").iterdir())
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert np.asarray(picture.convert("L")).std() > 5
    rows = list(csv.DictReader((tmp_path / "plots/per_class.csv").open(encoding="utf-8")))
    for row, expected in zip(rows, metric.per_class(), strict=True):
        assert row["name"] == expected["name"] and int(row["support"]) == expected["support"]
        assert [float(row[key]) for key in ("precision", "recall", "f1")] == pytest.approx(
            [expected[key] for key in ("precision", "recall", "f1")]
        )
    worst = list(csv.DictReader((tmp_path / "plots/worst.csv").open(encoding="utf-8")))
    assert [row["id"] for row in worst] == [mistake.id for mistake in metric.worst]
    assert worst[0]["truth"] != worst[0]["predicted"]


def test_report_without_mistakes_and_without_images(tmp_path):
    names = ['$x, "y"', "weiß\nfein", "z\udcff"]
    perfect = filled([0, 1], np.eye(3)[:2], names)
    written = {path.name for path in report(perfect, names, tmp_path / "perfect")}
    assert written == {"confusion.png", "per_class.png", "per_class.csv"}
    rows = list(csv.DictReader((tmp_path / "perfect/per_class.csv").open(encoding="utf-8", newline="")))
    assert [row["name"] for row in rows[:2]] == names[:2] and rows[2]["recall"] == ""
    blind = filled([0, 1], np.eye(3)[[1, 0]], names)
    written = {path.name for path in report(blind, names, tmp_path / "blind")}
    assert written == {"confusion.png", "per_class.png", "per_class.csv", "worst.csv"}


def test_top_k():
    prediction = {"probabilities": np.array([0.1, 0.4, 0.1, 0.4], np.float32)}
    tenth, most = pytest.approx(0.1), pytest.approx(0.4)
    assert top_k(prediction, list("abcd")) == [("b", most), ("d", most), ("a", tenth)]
    assert len(top_k(prediction, list("abcd"), k=9)) == 4


@pytest.mark.parametrize("classes", [2, 3, 120])
def test_draw_shows_the_three_most_probable(classes, monkeypatch):
    seen = []
    annotate = reports.viz.annotate
    monkeypatch.setattr(reports.viz, "annotate", lambda *args: seen.append(args) or annotate(*args))
    image = np.full((260, 300, 3), 90, np.uint8)
    prediction = decode(np.arange(classes)[None])[0]
    out = draw(image, prediction, letters(classes))
    assert out.dtype == np.uint8 and out.shape[0] > 260 and out.shape[1:] == (300, 3)
    np.testing.assert_array_equal(out[:260], image)
    assert [name for name, _ in seen[0][1]] == [f"class {i}" for i in reversed(range(classes))][:3]


def test_the_sum_of_the_targets_is_the_weight_of_the_sample():
    """A class of weight 3 counts three times, smoothed or blended with another one too."""
    logits = tf.constant(np.random.default_rng(0).normal(size=(4, 3)), tf.float32)
    labels, weights = tf.one_hot([0, 1, 2, 1], 3), np.array([1, 3, 0.5], np.float32)
    for smoothing in (0.0, 0.1):
        plain, weighted = loss(smoothing)(labels, logits), loss(smoothing)(labels * weights, logits)
        np.testing.assert_allclose(weighted, plain * np.array([1, 3, 0.5, 3]), rtol=1e-5)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = tf.reduce_sum(loss()(labels * weights, logits))
    expected = (tf.nn.softmax(logits) - labels) * np.array([[1], [3], [0.5], [3]])
    np.testing.assert_allclose(tape.gradient(value, logits), expected, rtol=1e-4, atol=1e-6)
    half = 0.5 * (labels[:1] + labels[1:2]) * weights  # mixup of classes 0 and 1
    sides = [loss()(labels[i : i + 1] * weights, logits[:1]) for i in (0, 1)]
    np.testing.assert_allclose(loss()(half, logits[:1]), 0.5 * (sides[0] + sides[1]), rtol=1e-5)
