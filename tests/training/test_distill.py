"""Distillation: what the student learns from, what the run remembers of its teacher, and which teachers are refused."""

import json

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf import config
from mobilenet_tf.inference import artifact
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.tasks.detection import loss
from mobilenet_tf.tasks.segmentation.task import task as segmentation
from mobilenet_tf.training import distill
from mobilenet_tf.training.train import train
from mobilenet_tf.utils.errors import UserError


@pytest.fixture(scope="module")
def teacher(small_run, small_config):
    cfg = small_config(f"distill.teacher={small_run}", "distill.weight=0.25", "distill.temperature=2")
    source = task(cfg).source("train")
    return distill.load(task(cfg), source, task(cfg).model(source)), cfg, source


def test_imitation_is_the_divergence_of_softened_probabilities():
    pair = tf.constant([[2.0, 0.0, -1.0]]), tf.constant([[0.5, 0.5, 0.0]])
    p, q = (np.exp(x / 2) / np.exp(x / 2).sum() for x in (np.array(v[0]) for v in pair))
    imitation = distill.divergence(temperature=2.0)
    assert imitation(*pair).numpy() == pytest.approx([4 * np.sum(p * np.log(p / q))], rel=1e-5)
    assert imitation(pair[0], pair[0]).numpy() == pytest.approx([0.0], abs=1e-6)


def test_binary_imitation_is_the_mean_divergence_of_each_probability():
    pair = tf.constant([[2.0, -1.0]]), tf.constant([[0.5, 0.0]])
    p, q = (1 / (1 + np.exp(-np.array(v[0]))) for v in pair)
    expected = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert distill.binary_divergence()(*pair).numpy() == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_a_detector_imitates_where_its_teacher_sees_objects(scores):
    quiet, sure = [8.0, -4.0, -4.0] if scores == "softmax" else [-9.0, -9.0, -9.0], [-4.0, 4.0, -4.0]
    teacher = {"class_logits": tf.constant([[sure, quiet]]), "box_regressions": tf.zeros((1, 2, 4))}

    def distance(anchor: int, key: str) -> float:
        change = tf.one_hot([anchor], 2)[..., None]  # [1, A, 1]
        student = teacher | {key: teacher[key] + change}
        return float(loss.distillation_loss(scores)(teacher, student | {key: tf.cast(student[key], tf.float16)})[0])

    assert float(loss.distillation_loss(scores)(teacher, teacher)[0]) == pytest.approx(0, abs=1e-6)
    assert distance(0, "box_regressions") > 100 * distance(1, "box_regressions")
    assert distance(0, "box_regressions") == pytest.approx(4 * 0.5, rel=0.02)


def test_a_segmenter_imitates_pixel_by_pixel():
    cfg = config.load("lraspp_scenes", ["distill.temperature=2"])
    plain = tf.random.stateless_normal((2, 3, 4, 5), [1, 2])
    both = {"logits": tf.zeros((2, 3, 4, 5)), "auxiliary": tf.zeros((2, 9, 9, 5))}
    distance = segmentation(cfg).distillation_loss()(plain, both)
    assert distance.shape == (2, 3, 4)
    assert distance.numpy() == pytest.approx(distill.divergence(2.0)(plain, both["logits"]).numpy())


def test_the_loss_is_shared_between_labels_and_teacher(teacher):
    taught, cfg, source = teacher
    images = tf.random.stateless_uniform((4, 32, 32, 3), [1, 2], 0, 255)
    targets, raw = tf.one_hot([0, 1, 2, 3], 10), tf.random.stateless_normal((4, 10), [3, 4])
    labels = task(cfg).loss()
    total = taught.loss(labels, cached=False)(images, targets, raw)
    parts = tf.reduce_mean(labels(targets, raw)), tf.reduce_mean(taught.distance(taught.model(images), raw))
    assert float(total) == pytest.approx(0.75 * float(parts[0]) + 0.25 * float(parts[1]), rel=1e-5)


def test_cached_outputs_are_those_that_the_teacher_gives(teacher):
    taught, cfg, source = teacher
    transform = task(cfg).transform(training=False)
    encode = taught.cached_outputs(task(cfg).encode(source), source, transform, batch_size=16)
    from mobilenet_tf.data.source import training_batches

    images, targets = next(iter(training_batches(source, transform, encode, batch_size=8, seed=3)))
    np.testing.assert_allclose(targets["teacher"], taught.model(images), atol=1e-4)
    assert targets["labels"].shape == (8, 10)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["{train: head, augment: false}", "{train: all}"])
def test_a_taught_run_names_its_teacher_and_its_score(small_run, small_config, tmp_path, stage):
    part = {"duration": "3 steps", "learning_rate": 0.01}
    cfg = small_config(
        f"distill.teacher={small_run}", f"train.stages=[{stage[:-1]}, {str(part)[1:-1]}}}]", "model.input_size=[48, 48]"
    )
    run = train(task, cfg, tmp_path / "run")
    stored = json.loads((run.folder / "metrics.json").read_text())["distill"]
    assert stored["teacher"].startswith(str(small_run))
    assert stored["validation"]["count"] == 24
    assert artifact.read(run.folder).config["distill"]["weight"] == 0.5
    assert len(run.model.weights) == len(task(cfg).model(task(cfg).source("train")).weights)  # without the teacher's


def test_the_teacher_alone_decides_where_it_has_all_the_weight(small_run, small_config):
    cfg = small_config(f"distill.teacher={small_run}", "distill.weight=1")
    source = task(cfg).source("train")
    taught = distill.load(task(cfg), source, task(cfg).model(source))
    images = tf.zeros((2, 32, 32, 3))
    unknown = tf.fill((2, 10), float("nan"))
    loss = taught.loss(task(cfg).loss(), cached=False)
    assert float(loss(images, unknown, taught.model(images))) == pytest.approx(0, abs=1e-6)


def test_teachers_that_do_not_fit_are_refused_in_one_line(small_run, small_config, tmp_path):
    cfg = small_config(f"distill.teacher={small_run}")
    source = task(cfg).source("train")
    student = task(cfg).model(source)

    import dataclasses

    other = dataclasses.replace(source, classes=[*source.classes[1:], "dragon"])
    with pytest.raises(UserError, match="must know the classes of the data, 10 of them.*dragon"):
        distill.load(task(cfg), other, student)

    class Mute(task):
        name = "mute"

        def distillation_loss(self):
            return None

    class Other(task):
        name = "other"

    with pytest.raises(UserError, match="must be null for task mute"):
        distill.load(Mute(cfg), source, student)
    with pytest.raises(UserError, match="must be a model of task other.*of task classification"):
        distill.load(Other(cfg), source, student)
    with pytest.raises(UserError, match="must exist"):
        distill.load(task(small_config(f"distill.teacher={tmp_path / 'none'}")), source, student)
    with pytest.raises(UserError, match=r"distill.weight"):
        config.override(cfg.to_dict(), ["distill.weight=1.5"], "test")
