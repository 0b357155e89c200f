"""Distillation: a student network learns from the outputs of a teacher, in addition to the labels or instead of them.

Source: Hinton, Vinyals and Dean 2015; MobileNets (V1) paper, sections 4.6 and 4.7.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf.data.source import Source, difference, evaluation_batches, steps_per_epoch
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import keras_predictor, load_keras
from mobilenet_tf.task import Task
from mobilenet_tf.training.evaluate import evaluate
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track
from mobilenet_tf.utils.run_folder import RunFolder


def divergence(temperature: float = 1.0) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The divergence of the student's softened probabilities from the teacher's: fn(logits, logits [..., C]) -> [...].

    Multiplied by temperature ** 2, so that the gradient keeps its size. Source: Hinton et al. 2015, section 2.
    """

    def fn(teacher, student):
        log_p, log_q = (tf.nn.log_softmax(tf.cast(x, tf.float32) / temperature) for x in (teacher, student))
        return temperature**2 * tf.reduce_sum(tf.exp(log_p) * (log_p - log_q), -1)

    return fn


def binary_divergence(temperature: float = 1.0) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """`divergence` of independent probabilities, one a logit: fn(logits, logits [..., C]) -> [...], their mean."""

    def fn(teacher, student):
        teacher, student = (tf.cast(x, tf.float32) / temperature for x in (teacher, student))
        p = tf.sigmoid(teacher)
        each = p * (tf.math.log_sigmoid(teacher) - tf.math.log_sigmoid(student))
        each += (1 - p) * (tf.math.log_sigmoid(-teacher) - tf.math.log_sigmoid(-student))
        return temperature**2 * tf.reduce_mean(each, -1)

    return fn


@dataclass(frozen=True)
class Teacher:
    """A trained model whose outputs for the student's images are the targets; images are resized to its input size."""

    path: Path
    model: keras.Model  # images [N, H, W, 3] in 0..255 of the student's size -> raw outputs
    distance: Callable  # (teacher's raw outputs, student's) -> [N] or a scalar
    weight: float  # of the distance in the loss; the labels have the rest

    def loss(self, labels: Callable, *, cached: bool) -> Callable:
        """fn(images, targets, raw) -> scalar. With `cached`, targets are those of `cached_outputs`."""

        def fn(images, targets, raw):
            if cached:
                outputs, targets = targets["teacher"], targets["labels"]
            else:
                outputs = self.model(images, training=False)
            distance = tf.reduce_mean(self.distance(tf.nest.map_structure(tf.stop_gradient, outputs), raw))
            if self.weight == 1:  # of unlabeled images the other part may not be a number
                return distance
            return (1 - self.weight) * tf.reduce_mean(labels(targets, raw)) + self.weight * distance

        return fn

    def cached_outputs(self, encode: Callable, source: Source, transform: Callable, batch_size: int) -> Callable:
        """Returns `encode` with the targets as {"labels", "teacher"}.

        The teacher's outputs are computed here, once, and stay in memory. This is for training without augmentation,
        where `transform` gives the same result for an image each time.
        """
        outputs: list[np.ndarray] = []
        raw = None
        run = tf.function(lambda images: self.model(images, training=False))
        batches = evaluation_batches(source, transform, batch_size=batch_size)
        for batch in track(batches, "outputs of the teacher", steps_per_epoch(source.count, batch_size)):
            raw = run(tf.cast(batch["image"], tf.float32))
            leaves = [leaf.numpy() for leaf in tf.nest.flatten(raw)]
            outputs = outputs or [np.zeros((source.count, *leaf.shape[1:]), leaf.dtype) for leaf in leaves]
            for table, leaf in zip(outputs, leaves, strict=True):
                table[batch["index"].numpy()] = leaf
        tables = tf.nest.pack_sequence_as(raw, [tf.constant(table) for table in outputs])

        def both(batch):
            images, targets = encode(batch)
            teacher = tf.nest.map_structure(lambda table: tf.gather(table, batch["index"]), tables)
            return images, {"labels": targets, "teacher": teacher}

        return both


def load(task: Task, source: Source, student: keras.Model) -> Teacher:
    """The teacher that the config's `distill` names: a run folder or .keras file.

    Raises:
        UserError: the task has no distillation; or the teacher is of another task, has other classes or other outputs.
    """
    cfg, distance = task.cfg, task.distillation_loss()
    if distance is None:
        raise UserError(f"distill.teacher must be null for task {task.name}, which learns from labels alone")
    path, kind = artifact.locate(cfg.distill.teacher)
    if kind != "keras":
        raise UserError(f"distill.teacher must be a run folder or a .keras file. Received: {cfg.distill.teacher}")
    metadata = artifact.read(path)
    if metadata and metadata.task != task.name:
        raise UserError(
            f"distill.teacher must be a model of task {task.name}. Received: {path}, of task {metadata.task}"
        )
    if metadata and task.closed_set and list(metadata.classes) != list(source.classes):
        differing = difference(metadata.classes, source.classes)
        raise UserError(
            f"distill.teacher must know the classes of the data, {len(source.classes)} of them, in their order. "
            f"Received: {path} with {len(metadata.classes)}, which differ in {differing}"
        )
    model = _of_size(load_keras(path), cfg.model.input_size)
    if task.closed_set:
        _check_outputs(path, model, student)
    model.trainable = False
    return Teacher(path, model, distance, cfg.distill.weight)


def score(teacher: Teacher, task: Task, validation: Source, folder: RunFolder) -> None:
    """Writes teacher.json into a run folder: the teacher's path and its own metrics on the validation split.

    A file from before an interruption stays as it is.
    """
    if folder.teacher.exists():
        return
    numbers = evaluate(task, keras_predictor(teacher.model), validation)
    name = task.monitor[0]
    print(f"teacher {teacher.path}: {name} {numbers[name]:.4f} on the validation split")
    files.write_json(folder.teacher, {"teacher": str(teacher.path), "validation": numbers})


def _of_size(model: keras.Model, size: tuple[int, int]) -> keras.Model:
    input_size = tuple(model.inputs[0].shape[1:3])
    if input_size in (tuple(size), (None, None)):
        return model
    image = keras.Input((*size, 3), name="image")
    return keras.Model(image, model(keras.layers.Resizing(*input_size)(image)), name=model.name)


def _check_outputs(path: Path, teacher: keras.Model, student: keras.Model) -> None:
    have, want = (tf.nest.map_structure(lambda x: tuple(x.shape[1:]), m.output) for m in (teacher, student))
    if have != want:
        raise UserError(f"distill.teacher must give what the student gives, {want}. Received: {path} with {have}")
