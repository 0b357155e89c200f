"""The one training loop: build, fit stage by stage, evaluate, save."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import keras

from mobilenet_tf import qat, viz
from mobilenet_tf.config import Config
from mobilenet_tf.data.source import Source, difference, user_errors
from mobilenet_tf.inference.predict import load_keras
from mobilenet_tf.models.graph import leaves
from mobilenet_tf.task import Metric, Task
from mobilenet_tf.training import checkpoint, distill, optim
from mobilenet_tf.training.callbacks import AfterEpoch, FiniteLoss
from mobilenet_tf.training.devices import device_settings
from mobilenet_tf.training.evaluate import evaluate
from mobilenet_tf.training.inputs import Data, keep_statistics, remove_features, stage_inputs
from mobilenet_tf.training.state import State
from mobilenet_tf.training.trainer import Trainer
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.run_folder import RunFolder


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the float32 model with the best weights and the metrics on the validation split."""

    folder: Path
    model: keras.Model
    metrics: dict[str, float]


def train(task: Callable[[Any], Task], cfg: Config, folder: Path | str) -> Run:
    """Trains a task as its config says and leaves everything in the run folder; continues a run that was interrupted.

    The folder then holds config.yaml, log.csv, tensorboard/, checkpoints/last.npz and best.keras, model.keras,
    metrics.json and plots/.

    Args:
        task: the class of the task, `mobilenet_tf.tasks.<name>.task.task`.

    Raises:
        UserError: an unusable folder, a checkpoint of another model, or a loss that is not finite.
    """
    bound, run_folder = task(cfg), _prepare(RunFolder(Path(folder)))
    keras.utils.set_random_seed(cfg.seed)
    precision, jit = device_settings("float32" if cfg.quantize.qat else cfg.train.precision, cfg.train.jit)
    source, validation = _sources(bound)
    start = _start(run_folder, cfg)
    network, serving = _networks(bound, source, precision, pretrained=start is None)
    teacher = distill.load(bound, source, serving) if cfg.distill.teacher else None
    if teacher:
        distill.score(teacher, bound, validation, run_folder)
    data, state = Data(source, validation, teacher), State(bound, run_folder, network, serving)
    if start:
        _restore(state, start)
    cfg.save(run_folder.config)  # not before: a start that fails leaves an interrupted run as it was
    for index in range(state.progress.stage, len(cfg.train.stages)):
        resumed = start if index == state.progress.stage and state.progress.step else None
        _train_stage(state, data, index, jit, resumed)
    return _finish(state, data)


def _prepare(folder: RunFolder) -> RunFolder:
    """Makes the folder where it is missing. Raises UserError where it cannot be, or holds something else than a run."""
    others = folder.other_files()
    if others:
        raise UserError(
            "the run folder must be new, empty or that of an earlier run. "
            f"Received: {folder.path}, which holds {', '.join(others[:3])}{', …' if len(others) > 3 else ''}"
        )
    try:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the run folder must be writable: {error.strerror}. Received: {folder.path}") from None
    return folder


def _sources(task: Task) -> tuple[Source, Source]:
    """The training and the validation split. Raises UserError where their classes differ and must not."""
    source, validation = task.source("train"), task.source("validation")
    if task.closed_set and list(source.classes) != list(validation.classes):
        raise UserError(
            f"the validation split must have the classes of the training split, {len(source.classes)} of them. "
            f"Received: {len(validation.classes)}, which differ in {difference(source.classes, validation.classes)}"
        )
    return source, validation


# Where a run starts: from its own last checkpoint, else from `train.resume`, else from the network in `train.network`,
# else from `model.weights`, else from scratch. `_start` handles the first two, `_networks` the others.


def _start(folder: RunFolder, cfg: Config) -> Path | None:
    """The checkpoint to start from, if there is one. Raises UserError where `train.resume` names none."""
    last, resume = folder.last_checkpoint, cfg.train.resume
    if last.exists() or resume is None:
        return last if last.exists() else None
    other = resume if resume.suffix == ".npz" else RunFolder(resume).last_checkpoint
    if not other.exists():
        raise UserError(f"train.resume must be a run folder or a checkpoint .npz. Received: {resume}")
    return other


def _networks(task: Task, source: Source, precision: str, *, pretrained: bool) -> tuple[keras.Model, keras.Model]:
    """The network that is trained, and its float32 twin that is evaluated, saved and exported.

    pretrained: take the weights that `model.weights` names; a checkpoint will replace them otherwise.
    """
    cfg = task.cfg
    blank = type(task)(cfg.model_copy(update={"model": cfg.model.model_copy(update={"weights": None})}))
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        network = _build(task if pretrained else blank, source)
    finally:
        keras.config.set_dtype_policy(previous)
    if cfg.train.batch_norm_momentum:
        for layer in leaves(network):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = cfg.train.batch_norm_momentum
    serving = _build(blank, source)
    if cfg.quantize.qat:
        return qat.prepare(network, cfg.quantize.momentum), qat.prepare(serving, cfg.quantize.momentum)
    return network, serving


def _build(task: Task, source: Source) -> keras.Model:
    given = task.cfg.train.network
    return load_keras(given) if given else task.model(source)


def _restore(state: State, start: Path) -> None:
    state.restore(start)
    train, done = state.task.cfg.train, state.progress.stage
    if done >= len(train.stages) and state.folder.path not in start.parents:
        raise UserError(
            f"train.resume must name a run with stages left to do; start from model.weights={start.parents[1]}/"
            f"model.keras instead. Received: {train.resume}, with {done} stages done"
        )


def _train_stage(state: State, data: Data, index: int, jit: bool, resume_from: Path | None) -> None:
    """Trains one stage to its last step, or from where its checkpoint stands."""
    task, progress = state.task, state.progress
    train = task.cfg.train
    stage = train.stages[index]
    optim.set_trainable(state.network, stage.train, freeze_batch_norm=stage.freeze_batch_norm)
    inputs = stage_inputs(task, data, stage, state, state.folder.cache)
    trained = inputs.trained
    total = stage.duration.steps(inputs.epoch_steps, train.batch_size)
    optim.limit_horizon(state.momenta, total)
    loss = task.loss()
    distilled = data.teacher.loss(loss, cached=not stage.augment) if data.teacher else None
    trainer = Trainer(trained, loss, distilled, state.average.updater(trained, total) if state.average else None)
    compile_trainer: Any = trainer.compile  # Keras's stub takes jit_compile for text
    compile_trainer(_optimizer(state, stage, total, inputs.epoch_steps), jit_compile=jit)
    trainer.optimizer.build(trained.trainable_variables)
    if resume_from:
        checkpoint.restore(resume_from, {"optimizer": trainer.optimizer.variables})
    parameters = sum(math.prod(v.shape) for v in trained.trainable_variables)
    print(
        f"stage {index + 1} of {len(train.stages)}: {stage.train} trained ({parameters:,} parameters), "
        f"{inputs.count} samples, {stage.duration} = {total} steps, learning rate {stage.learning_rate:g}"
    )
    exhausted = train.patience and progress.wait >= train.patience  # by the epoch after which the run was stopped
    if progress.step < total and not exhausted:
        save_model = partial(state.save_model, classes=data.source.classes)
        _fit(trainer, state, inputs, total, [FiniteLoss(state), AfterEpoch(state, inputs, total, save_model)])
    if index + 1 < len(train.stages):
        keep_statistics(state, inputs)
    progress.end_stage()
    state.save()


def _fit(trainer: Trainer, state: State, inputs, total: int, callbacks: list) -> None:
    """Whole epochs, then what is left of the stage's steps: Keras fits epochs of one length."""
    progress, epoch_steps = state.progress, inputs.epoch_steps
    first = progress.epoch - progress.stage_epoch
    whole, rest = divmod(total, epoch_steps)
    for epochs, steps in ((whole, epoch_steps), (whole + 1, rest)):
        if progress.stage_epoch >= epochs or not steps or trainer.stop_training:
            continue
        with user_errors():
            cast(Any, trainer.fit)(  # Keras's stub takes verbose for text
                inputs.batches_from(progress.epoch),
                steps_per_epoch=steps,
                initial_epoch=progress.epoch,
                epochs=first + epochs,
                callbacks=callbacks,
                shuffle=False,
                verbose=1 if os.isatty(1) else 2,
            )


def _optimizer(state: State, stage, total: int, epoch_steps: int) -> keras.Optimizer:
    train = state.task.cfg.train
    rate = optim.schedule(train.schedule, stage.learning_rate, total, epoch_steps, train.batch_size)
    return optim.optimizer(
        train.optimizer,
        rate,
        state.network,
        layer_decay=stage.layer_decay,
        decay_depthwise=train.decay_depthwise,
        clip_norm=train.clip_norm,
    )


def _finish(state: State, data: Data) -> Run:
    """Takes the best weights, scores and calibrates them on the validation split, draws the plots."""
    folder, task = state.folder, state.task
    if folder.best_checkpoint.exists():
        state.serving.load_weights(folder.best_checkpoint)
    else:
        warnings.warn(f"{folder.best_checkpoint} is missing: the weights of the last epoch are saved", stacklevel=2)
    metric, numbers = _validate(state, data)
    calibrated = task.calibrate_thresholds(metric)
    if calibrated != task.cfg:
        task = state.task = type(task)(calibrated)
        calibrated.save(folder.config)
        metric, numbers = _validate(state, data)
    teacher = {"distill": files.read_json(folder.teacher)} if data.teacher else {}
    seconds = round(state.progress.seconds, 1)
    files.write_json(folder.metrics, {"validation": numbers, "train_seconds": seconds} | teacher)
    folder.plots.mkdir(exist_ok=True)
    viz.curves(folder.log, folder.plots / "curves.png")
    task.report(metric, data.validation.classes, folder.plots)
    state.save_model(folder.model, data.source.classes)  # last: a run with a model is finished
    remove_features(folder.cache)
    for name, reason in [*data.source.corrupt.items(), *data.validation.corrupt.items()]:
        print(f"skipped {name}: {reason}")
    return Run(folder.path, state.serving, numbers)


def _validate(state: State, data: Data) -> tuple[Metric, dict[str, float]]:
    """(metric, its numbers) of the serving model on the validation split."""
    metric = state.task.metric(data.validation)
    return metric, evaluate(state.task, state.predictor, data.validation, metric=metric)
