"""Evaluation takes every sample once, whatever the batch size and the file; subsets are fair and repeatable."""

import collections

import numpy as np
import pytest

from mobilenet_tf.data import scenes
from mobilenet_tf.data.subsets import stratified, subset
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.training.evaluate import evaluate, evaluation_inputs


def test_the_batch_size_changes_nothing(small_run, small_config):
    predictor = load_predictor(small_run)
    results = []
    for batch_size in (1, 7, 24, 100):
        cfg = small_config(f"train.batch_size={batch_size}")
        results.append(evaluate(task(cfg), predictor, task(cfg).source("validation")))
    assert all(result["count"] == 24 for result in results)
    assert all(result == pytest.approx(results[0], abs=1e-5) for result in results)


def test_a_perfect_predictor_scores_one(small_config):
    cfg = small_config()
    source = task(cfg).source("validation")
    labels = [int(source.load(item)["label"]) for item in source.items]
    answers = iter(np.eye(len(source.classes), dtype="float32")[labels] * 100)
    result = evaluate(task(cfg), lambda images: np.stack([next(answers) for _ in images]), source)
    assert result["top1"] == result["macro_f1"] == 1 and result["log_loss"] < 1e-5


def test_a_subset_is_spread_over_the_classes_and_always_the_same(tmp_path, small_config):
    root = scenes.write_folder(tmp_path, {"train": 60, "validation": 60}, size=32)
    cfg = small_config("data.reader=folder", f"data.root={root}")
    source = task(cfg).source("validation")  # ordered by class
    drawn = [[item["id"].numpy() for item in subset(source, 30).items] for _ in range(2)]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 30
    classes = collections.Counter(name.decode().split("/")[-2] for name in drawn[0])
    assert len(classes) >= 7
    assert subset(source, None) is source and subset(source, 60) is source


def test_calibration_pictures_are_of_all_classes_in_equal_parts(tmp_path, small_config):
    root = scenes.write_folder(tmp_path, {"train": 60, "validation": 12}, size=32)
    source = task(small_config("data.reader=folder", f"data.root={root}")).source("train")
    drawn = [[(item["id"].numpy(), int(item["label"])) for item in stratified(source, 24).items] for _ in range(2)]
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 24
    counts = collections.Counter(label for _, label in drawn[0])
    assert len(counts) == len(source.classes) and max(counts.values()) - min(counts.values()) <= 1
    unlabelled = task(small_config()).source("train")  # drawn as they are needed
    assert stratified(unlabelled, 10).count == 10


def test_inputs_for_calibration_are_those_of_evaluation(small_config):
    cfg = small_config()
    images = np.concatenate(evaluation_inputs(task(cfg), task(cfg).source("train"), 20))
    assert images.shape == (20, 32, 32, 3) and images.dtype == np.float32
    assert images.min() >= 0 and 100 < images.max() <= 255
