"""The 95 % intervals of metrics: by hand, against simulation, and for the metric of every task."""

import importlib

import numpy as np
import pytest

from mobilenet_tf.tasks.attributes.metric import AttributeMetric
from mobilenet_tf.tasks.classification.metric import ClassificationMetric
from mobilenet_tf.tasks.detection.metric import DetectionMetric
from mobilenet_tf.tasks.embedding.metric import EmbeddingMetric
from mobilenet_tf.tasks.segmentation.metric import SegmentationMetric
from mobilenet_tf.training import intervals
from mobilenet_tf.training.intervals import Grouped, samples_for_share, standard_error, wilson, worst_drop


def test_wilson_by_hand():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)  # as tables have it
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(24, 24)
    assert high == pytest.approx(1) and low == pytest.approx(24 / (24 + intervals.Z**2))


def test_wilson_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    for share in (0.5, 0.9, 0.98):
        covered = [low <= share <= high for low, high in (wilson(k, 200) for k in rng.binomial(200, share, 2000))]
        assert 0.92 <= np.mean(covered) <= 0.975


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(0).normal(size=20000)
    partial = [np.delete(values, np.s_[group :: intervals.GROUPS]).mean() for group in range(intervals.GROUPS)]
    assert standard_error(partial) == pytest.approx(20000**-0.5, rel=0.6), "ten groups tell it roughly"
    assert standard_error([0.5]) is None and standard_error([0.5, None]) is None
    assert standard_error([0.5, float("nan")]) is None


def test_a_drop_that_was_not_seen_is_bounded_by_the_number_of_samples():
    assert worst_drop(0.0, None, 24) == pytest.approx(0.125)
    assert worst_drop(0.01, 0.02, 1000) == pytest.approx(0.01 + intervals.T_ONE_SIDED * 0.02)


@pytest.mark.parametrize(("share", "least"), [(0.85, 0.8), (0.99, 0.8), (1.0, 0.95)])
def test_samples_for_a_share(share, least):
    count = samples_for_share(share, least)
    assert wilson(share * count, count)[0] >= least > wilson(share * count * 0.7, count * 0.7)[0]
    assert samples_for_share(least, least) is None


def classification(rng):
    for i in range(60):
        probabilities = rng.dirichlet(np.ones(7)).astype(np.float32)
        yield {"id": str(i), "label": i % 7}, {"probabilities": probabilities}


def attributes(rng):
    for _ in range(60):
        chances = rng.random(3).astype(np.float32)
        yield {"attributes": rng.integers(0, 2, 3)}, {"probabilities": chances, "present": chances > 0.5}


def segmentation(rng):
    for i in range(40):
        truth = rng.integers(0, 3, (8, 8)).astype(np.uint8)
        mask = np.where(rng.random((8, 8)) < 0.7, truth, 0).astype(np.uint8)
        yield {"id": str(i), "truth": truth, "original_size": np.array([8, 8])}, {"mask": mask}


def detection(rng):
    for i in range(40):
        boxes = np.array([[0.1, 0.1, 0.5, 0.5]]) + rng.random() * 0.3
        sample = {"id": str(i), "original_size": np.array([64, 64]), "boxes": boxes, "labels": np.array([i % 2])}
        found = {"boxes": boxes + rng.normal(0, 0.03, 4), "labels": np.array([i % 2]), "scores": rng.random(1)}
        yield sample, found


def embedding(rng):
    for i in range(60):
        vector = np.eye(6)[i % 6] + rng.normal(0, 0.5, 6)
        yield {"id": str(i), "label": i % 6}, {"embedding": (vector / np.linalg.norm(vector)).astype(np.float32)}


TASKS = {
    "classification": (classification, lambda: ClassificationMetric(list("abcdefg")), {"top1", "log_loss", "ece"}),
    "attributes": (attributes, lambda: AttributeMetric(list("abc")), {"mean_ap", "accuracy"}),
    "segmentation": (segmentation, lambda: SegmentationMetric(list("abc")), {"miou", "iou_a", "boundary_f"}),
    "detection": (detection, lambda: DetectionMetric(list("ab")), {"AP", "AP50", "AR100"}),
    "embedding": (embedding, EmbeddingMetric, {"roc_auc", "accuracy", "recall_at_1"}),
}


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_metric_has_intervals_and_merges(task):
    samples, make, wanted = TASKS[task]
    grouped = Grouped(make)
    for sample, prediction in samples(np.random.default_rng(0)):
        grouped.update(sample, prediction)
    numbers = grouped.result()
    scores = grouped.scores(numbers)
    assert wanted <= set(scores.intervals), task
    assert not {"count", "threshold", "prior", "majority", "pairs"} & set(scores.intervals)
    for name, interval in scores.intervals.items():
        assert 0 <= interval.low <= numbers[name] <= interval.high, name
        assert interval.method == ("Wilson" if name in ("top1", "top5") else "jackknife")
    assert len(scores.partial) == intervals.GROUPS and all(row["count"] < numbers["count"] for row in scores.partial)
    merged = make()
    for group in grouped.groups:
        merged.merge(group)
    everything = merged.result()
    assert everything["count"] == numbers["count"]
    for name in wanted - {"accuracy"}:  # of an embedding it depends on the folds, which follow the order
        assert everything[name] == pytest.approx(numbers[name], abs=1e-6), name


def test_few_samples_have_wilson_alone():
    grouped = Grouped(TASKS["classification"][1])
    for number, (sample, prediction) in enumerate(classification(np.random.default_rng(0))):
        if number < 12:
            grouped.update(sample, prediction)
    scores = grouped.scores(grouped.result())
    assert set(scores.intervals) == {"top1", "top5"} and not scores.partial


def test_every_task_has_a_metric_that_merges():
    names = {"classification", "attributes", "segmentation", "detection", "embedding"}
    for name in names:
        module = importlib.import_module(f"mobilenet_tf.tasks.{name}.metric")
        assert any(hasattr(value, "merge") for value in vars(module).values()), name
