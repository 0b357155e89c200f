"""What a stage trains on: images, or features that are computed once if the backbone is frozen."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf.config import Stage
from mobilenet_tf.data.source import Source, steps_per_epoch, training_batches, user_errors
from mobilenet_tf.inference.predict import Predictor, keras_predictor
from mobilenet_tf.task import Task
from mobilenet_tf.training import optim
from mobilenet_tf.training.batch_norm import Statistics, first_batches, trained_layers
from mobilenet_tf.training.distill import Teacher
from mobilenet_tf.training.evaluate import evaluate, score
from mobilenet_tf.training.features import Features, split
from mobilenet_tf.training.state import State

UNFIT_STATISTICS_WARNING = (
    "the outputs differ much less between images in inference than in training: the statistics of the "
    "BatchNormalization layers do not fit the weights; set train.batch_norm_samples, or raise it"
)

TRAINING_FEATURES, VALIDATION_FEATURES = "train.npy", "validation.npy"  # in the cache of a run


@dataclass(frozen=True)
class Data:
    """The data of a run, and the teacher of distillation if there is one."""

    source: Source  # of the training split
    validation: Source
    teacher: Teacher | None = None


@dataclass(frozen=True)
class Inputs:
    """The model that one stage trains, its batches and its validation."""

    trained: keras.Model  # the network, or its head
    predictor: Predictor | Callable  # of the weights that are saved
    count: int  # samples an epoch
    epoch_steps: int
    batches_from: Callable[[int], tf.data.Dataset]  # epoch -> endless (images or features, targets) from there on
    validate: Callable[[], dict[str, float]]  # scores of the weights that are saved on the validation split
    statistics: Statistics | None = (
        None  # of what is trained, in the serving model; None where there are no such layers
    )
    sample: list[np.ndarray] = field(default_factory=list)  # the batches of images that they are estimated on


def stage_inputs(task: Task, data: Data, stage: Stage, state: State, cache: Path) -> Inputs:
    """Features where the backbone is frozen and no image changes from epoch to epoch; else images.

    cache: the folder of the features during the run.
    """
    if stage.augment or stage.train != "head" or not has_features(task, state.network):
        return image_inputs(task, data, stage, state)
    return feature_inputs(task, data, stage, state, cache)


def image_inputs(task: Task, data: Data, stage: Stage, state: State) -> Inputs:
    """The whole network on images."""
    transform, encode, options = _batching(task, data, stage)
    mix = task.mix() if stage.augment else None

    def from_epoch(epoch):
        return training_batches(data.source, transform, encode, start_epoch=epoch, mix=mix, **options)

    def validate():
        return evaluate(task, state.predictor, data.validation)

    networks = state.network, state.serving, state.predictor
    return _with_statistics(task, state, *networks, data.source.count, from_epoch, validate)


def feature_inputs(task: Task, data: Data, stage: Stage, state: State, cache: Path) -> Inputs:
    """The head on features of the frozen backbone, which are computed here."""
    transform, encode, options = _batching(task, data, stage)
    batch_size = options["batch_size"]
    (trunk, head), (served_trunk, served) = split(state.network), split(state.serving)
    state.sync_ema_weights()
    predictor = keras_predictor(served)
    cache.mkdir(exist_ok=True)
    features = Features.compute(trunk, data.source, transform, cache / TRAINING_FEATURES, batch_size)
    # What is saved is evaluated: the averaged trunk, in float32
    held_out = Features.compute(served_trunk, data.validation, transform, cache / VALIDATION_FEATURES, batch_size)

    def from_epoch(epoch):
        return features.training_batches(encode, start_epoch=epoch, **options)

    def validate():
        return score(task, predictor, held_out.batches(batch_size), task.metric(data.validation))

    return _with_statistics(task, state, head, served, predictor, len(features.rows), from_epoch, validate)


def remove_features(cache: Path) -> None:
    """Removes the files that `feature_inputs` wrote, and their folder where nothing else is in it."""
    for name in (TRAINING_FEATURES, VALIDATION_FEATURES):
        (cache / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        cache.rmdir()


def has_features(task: Task, network: keras.Model) -> bool:
    """Whether a network can be cut behind its features; under QAT it cannot: the ranges of a frozen backbone change."""
    return not task.cfg.quantize.qat and any(layer.name == "features" for layer in network.layers)


def _batching(task: Task, data: Data, stage: Stage) -> tuple[Callable, Callable, dict]:
    """(transform, encode, the keywords of `training_batches`)."""
    transform, encode, cfg = task.transform(training=stage.augment), task.encode(data.source), task.cfg
    if data.teacher and not stage.augment:
        encode = data.teacher.cached_outputs(encode, data.source, transform, cfg.train.batch_size)
    return transform, encode, {"batch_size": cfg.train.batch_size, "seed": cfg.seed, "sampler": task.sampler()}


def _with_statistics(task, state, trained, served, predictor, count, batches_from, validate) -> Inputs:
    """The `Inputs` of a stage; its sample of images is of the stage's first epoch, whenever the run is resumed."""
    train, progress = task.cfg.train, state.progress
    epoch_steps = steps_per_epoch(count, train.batch_size)
    layers = trained_layers(trained, served)
    inputs = Inputs(trained, predictor, count, epoch_steps, batches_from, validate)
    if not layers:
        return inputs
    steps = min(epoch_steps, steps_per_epoch(max(1, train.batch_norm_samples), train.batch_size))
    batches = batches_from(progress.epoch - progress.stage_epoch).map(lambda images, *_: images).take(steps)
    with user_errors():
        sample = first_batches(batches, steps)
    return replace(inputs, statistics=Statistics(served, layers), sample=sample)


def sync_with_statistics(state: State, inputs: Inputs) -> None:
    """Gives the serving model its weights, with statistics of BatchNormalization that belong to them; warns where none
    do. With `train.batch_norm_samples` of 0 the statistics are those of the training.
    """
    state.sync_ema_weights()
    if not inputs.statistics:
        return
    if state.task.cfg.train.batch_norm_samples:
        inputs.statistics.update(inputs.sample)
    if not inputs.statistics.fit(inputs.sample[0], inputs.predictor):
        warnings.warn(UNFIT_STATISTICS_WARNING, stacklevel=2)


def keep_statistics(state: State, inputs: Inputs) -> None:
    """Gives the network and the average statistics that belong to their weights: the next stage may freeze them."""
    if not (inputs.statistics and state.task.cfg.train.batch_norm_samples):
        return
    sync_with_statistics(state, inputs)
    if not state.average:
        return state.network.set_weights(state.serving.get_weights())
    for average, value in zip(state.average.averages, optim.floating(state.serving), strict=True):
        average.assign(value)
    Statistics(inputs.trained, trained_layers(inputs.trained, inputs.trained)).update(inputs.sample)
