"""The one training loop: build, fit stage by stage, evaluate, save."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import keras

from mobilenet_tf import viz
from mobilenet_tf.config import Config
from mobilenet_tf.data import overlap, split_lists
from mobilenet_tf.data.skipped import skipped_line
from mobilenet_tf.data.source import Source, difference, user_errors
from mobilenet_tf.task import Metric, Task
from mobilenet_tf.training import checkpoint, distill, networks, optim, setup
from mobilenet_tf.training.callbacks import AfterEpoch, FiniteLoss, Steps
from mobilenet_tf.training.devices import device_settings
from mobilenet_tf.training.evaluate import evaluate
from mobilenet_tf.training.inputs import Data, Inputs, keep_statistics, remove_features, stage_inputs
from mobilenet_tf.training.rows import Bar, Rows
from mobilenet_tf.training.samples import SHEET, write_sheet
from mobilenet_tf.training.setup import Change, Setup
from mobilenet_tf.training.state import State
from mobilenet_tf.training.trainer import Trainer
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError, some
from mobilenet_tf.utils.lock import locked
from mobilenet_tf.utils.run_folder import RunFolder


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the float32 model with the best weights and the metrics on the validation split."""

    folder: Path
    model: keras.Model
    metrics: dict[str, float]
    best_epoch: int = 0  # counted from 1; 0 where nobody knows
    epochs: int = 0
    seconds: float = 0.0  # of training and evaluation, over all its parts where it was interrupted
    images_per_second: float = 0.0  # in training


@dataclass(frozen=True)
class Start:
    """The checkpoint that a run starts from."""

    checkpoint: Path
    own: bool  # of the same run, which was interrupted
    setup: Setup | None  # of the run that wrote it, where anything tells

    def changes(self, made_of: Setup) -> list[Change]:
        """What is not as it was when the checkpoint was written."""
        return setup.changes(self.setup, made_of, self.checkpoint) if self.setup else []


def train(task: Callable[[Any], Task], cfg: Config, folder: Path | str, *, resume: bool = False) -> Run:
    """Trains a task as its config says and leaves everything in the run folder; continues a run that was interrupted.

    The folder then holds config.yaml, log.csv, tensorboard/, checkpoints/last.npz and best.keras, model.keras,
    metrics.json and plots/.

    Args:
        task: the class of the task, `mobilenet_tf.tasks.<name>.task.task`.
        resume: whether an interrupted run goes on although the images of its data set have changed.

    Raises:
        UserError: an unusable folder or one in use, a checkpoint of another run, or a loss that is not finite.
    """
    is_new = not Path(folder).exists()
    run_folder = _prepare(RunFolder(Path(folder)))
    try:
        with locked(run_folder.path, "the run folder"):
            return _train(task(cfg), run_folder, resume)
    except BaseException:
        if is_new and not run_folder.config.exists():  # a start that fails leaves nothing, a run that began all it has
            with contextlib.suppress(OSError):
                run_folder.checkpoints.rmdir()
                run_folder.path.rmdir()
        raise


def _train(task: Task, folder: RunFolder, resume: bool) -> Run:
    cfg = task.cfg
    keras.utils.set_random_seed(cfg.seed)
    precision, jit = device_settings("float32" if cfg.quantize.qat else cfg.train.precision, cfg.train.jit)
    start, made_of = _start(folder, cfg), Setup.of(cfg)
    is_other = start and start.own and start.changes(made_of)  # and will be refused: its lists are of other data
    lists = None if is_other else _stored_splits(folder, cfg)
    with split_lists.drawn_lists() as drawn:
        source, validation = _sources(type(task)(split_lists.with_lists(cfg, lists)) if lists else task)
    made_of = made_of.with_data(source, validation, cfg.data.root)
    changes = start.changes(made_of) if start else []
    if start and start.own:
        setup.check_same(changes, folder.path, resume)
    elif start:
        setup.check_other(changes, start.checkpoint)
    network, serving = networks.build(task, source, precision, pretrained=start is None)
    teacher = distill.load(task, source, serving) if cfg.distill.teacher else None
    if teacher:
        distill.score(teacher, task, validation, folder)
    data, state = Data(source, validation, teacher), State(task, folder, network, serving, made_of)
    if start:
        _restore(state, start, changes)
    if drawn and not (start and start.own):
        split_lists.write(folder.splits, drawn)
    elif drawn and not lists:
        warnings.warn(
            f"{folder.path} was begun by version 0.1.0, which drew splits otherwise: some of the images of validation "
            "were trained on",
            stacklevel=2,
        )
    cfg.save(folder.config)  # not before: a start that fails leaves an interrupted run as it was
    if not start:
        write_sheet(task, source, folder.plots / SHEET)
    first = state.progress.stage
    for index in range(first, len(cfg.train.stages)):
        resumed = start.checkpoint if start and index == first and state.progress.step else None
        _train_stage(state, data, index, jit, resumed)
    return _finish(state, data)


def _prepare(folder: RunFolder) -> RunFolder:
    """Makes the folder where it is missing. Raises UserError where it cannot be, or holds something else than a run."""
    others = folder.other_files()
    if others:
        raise UserError(
            "the run folder must be new, empty or that of an earlier run. "
            f"Received: {folder.path}, which holds {some(others)}"
        )
    try:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"the run folder must be writable: {error.strerror}. Received: {folder.path}") from None
    return folder


def _stored_splits(folder: RunFolder, cfg: Config) -> Path | None:
    """The file with the splits that a run goes on with: its own, or those of the run that `train.resume` names."""
    given, root = cfg.train.resume, cfg.data.root
    if folder.last_checkpoint.exists():
        stored = folder.splits
    elif given is None or cfg.data.split_file:
        return None
    else:
        stored = RunFolder(given.parent.parent if given.suffix == ".npz" else given).splits
    return stored if root and stored.is_file() and split_lists.lists_images_of(stored, root) else None


def _sources(task: Task) -> tuple[Source, Source]:
    """The training and the validation split. Raises UserError where their classes differ and must not."""
    source, validation = task.source("train"), task.source("validation")
    if task.closed_set and list(source.classes) != list(validation.classes):
        raise UserError(
            f"the validation split must have the classes of the training split, {len(source.classes)} of them. "
            f"Received: {len(validation.classes)}, which differ in {difference(source.classes, validation.classes)}"
        )
    shared = overlap.note(source, validation, "validation")
    for note in dict.fromkeys([*source.notes, *validation.notes, *([shared] if shared else [])]):
        print(readable(note))
    return source, validation


# Where a run starts: from its own last checkpoint, else from `train.resume`, else from the network in `train.network`,
# else from `model.weights`, else from scratch. `_start` handles the first two, `networks.build` the others.


def _start(folder: RunFolder, cfg: Config) -> Start | None:
    """The checkpoint to start from, if there is one. Raises UserError where `train.resume` names none."""
    path, given = folder.last_checkpoint, cfg.train.resume
    own = path.exists()
    if not own:
        if given is None:
            return None
        path = given if given.suffix == ".npz" else RunFolder(given).last_checkpoint
        if not path.exists():
            raise UserError(f"train.resume must be a run folder or a checkpoint .npz. Received: {given}")
    return Start(path, own, Setup.load(path))


def _restore(state: State, start: Start, changes: list[Change]) -> None:
    """Takes the state of a checkpoint, as far as it still holds. Raises UserError where no stage is left to do."""
    state.restore(start.checkpoint)
    train, progress = state.task.cfg.train, state.progress
    if start.own and progress.stage > len(train.stages):
        raise UserError(
            f"checkpoint {start.checkpoint} must be of a run with {len(train.stages)} stages. "
            f"Received: {progress.stage} stages done"
        )
    if not start.own and progress.stage >= len(train.stages):
        raise UserError(
            f"train.resume must name a run with stages left to do; start from "
            f"model.weights={start.checkpoint.parents[1]}/model.keras instead. "
            f"Received: {train.resume}, with {progress.stage} stages done"
        )
    anew = setup.begins_anew(changes, progress.stage)
    if anew and progress.step:
        print(readable(f"stage {progress.stage + 1} begins anew: {anew}"))
        progress.restart_stage()
    if setup.keeps_best(changes):
        state.take_best(start.checkpoint)
    else:
        state.forget_best()


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
        _count_steps(state, trainer.optimizer, inputs, total)
    parameters = sum(math.prod(v.shape) for v in trained.trainable_variables)
    print(
        f"stage {index + 1} of {len(train.stages)}: {stage.train} trained ({parameters:,} parameters), "
        f"{inputs.count} samples, {stage.duration} = {total} steps, learning rate {stage.learning_rate:g}"
    )
    exhausted = train.patience and progress.wait >= train.patience  # by the epoch after which the run was stopped
    if progress.step < total and not exhausted:
        save_model = partial(state.save_model, classes=data.source.classes)
        rows = _rows(state, inputs, total)
        print(rows.header())
        after = AfterEpoch(state, inputs, total, save_model, rows)
        _fit(trainer, state, inputs, total, [FiniteLoss(state), Steps(bar := Bar(), rows), after], bar)
    keep_statistics(state, inputs)
    progress.end_stage()
    state.save()


def _count_steps(state: State, optimizer: Any, inputs: Inputs, total: int) -> None:
    """Counts the finished epochs of a stage as epochs of now, where they have become longer or shorter since."""
    progress = state.progress
    steps = min(total, progress.stage_epoch * inputs.epoch_steps)
    if progress.step < total and progress.step != steps:
        print(f"epochs have another length now: the stage goes on from step {steps} instead of {progress.step}")
        progress.step = steps
        getattr(optimizer, "inner_optimizer", optimizer).iterations.assign(steps)


def _rows(state: State, inputs: Inputs, total: int) -> Rows:
    """What prints the rows of a stage; the epochs of later stages are counted as if they were as long as its own."""
    progress, train = state.progress, state.task.cfg.train
    later = [stage.duration.steps(inputs.epoch_steps, train.batch_size) for stage in train.stages[progress.stage + 1 :]]
    epochs = [math.ceil(steps / inputs.epoch_steps) for steps in (total, *later)]
    done = progress.epoch - progress.stage_epoch
    return Rows(state.task.monitor[0], done + sum(epochs), total - progress.step + sum(later))


def _fit(trainer: Trainer, state: State, inputs: Inputs, total: int, callbacks: list, bar: Bar) -> None:
    """Whole epochs, then what is left of the stage's steps: Keras fits epochs of one length."""
    progress, epoch_steps = state.progress, inputs.epoch_steps
    first = progress.epoch - progress.stage_epoch
    whole, rest = divmod(total, epoch_steps)
    for epochs, steps in ((whole, epoch_steps), (whole + 1, rest)):
        if progress.stage_epoch >= epochs or not steps or trainer.stop_training:
            continue
        with contextlib.closing(bar), user_errors():
            cast(Any, trainer.fit)(  # Keras's stub takes verbose for text
                inputs.batches_from(progress.epoch),
                steps_per_epoch=steps,
                initial_epoch=progress.epoch,
                epochs=first + epochs,
                callbacks=callbacks,
                shuffle=False,
                verbose=0,
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
    _take_best_weights(state)
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
    viz.curves(folder.log, folder.plots / "curves.png", task.monitor)
    task.report(metric, data.validation.classes, folder.plots)
    remove_features(folder.cache)
    for split, source in (("training", data.source), ("validation", data.validation)):
        if line := skipped_line(source):
            warnings.warn(f"the {split} split: {line}", stacklevel=3)
    state.save_model(folder.model, data.source.classes)  # last: a run with a model is finished, and never touched again
    progress = state.progress
    return Run(
        folder.path,
        state.serving,
        numbers,
        progress.best_epoch,
        progress.epoch,
        sum(float(row["seconds"] or 0) for row in progress.history if "seconds" in row),
        progress.images / progress.seconds if progress.seconds else 0.0,
    )


def _take_best_weights(state: State) -> None:
    """Loads the weights of the best epoch into the serving model, and says which one it is where it is not the last."""
    folder, progress = state.folder, state.progress
    if not folder.best_checkpoint.exists():
        warnings.warn(f"{folder.best_checkpoint} is missing: the weights of the last epoch are saved", stacklevel=3)
        state.sync_ema_weights()  # the serving model of a run that only finishes now has seen no weights yet
        return
    try:
        state.serving.load_weights(folder.best_checkpoint)
    except Exception as error:  # zipfile, h5py and Keras each raise their own
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"{folder.best_checkpoint} must be a whole file with weights of this network; without the file, those of "
            f"the last epoch are saved. Received: {reason}"
        ) from None
    if 0 < progress.best_epoch < progress.epoch:
        name = state.task.monitor[0]
        print(
            f"the weights of epoch {progress.best_epoch} of {progress.epoch} are saved, "
            f"which had the best {name}: {progress.best:.4f}"
        )


def _validate(state: State, data: Data) -> tuple[Metric, dict[str, float]]:
    """(metric, its numbers) of the serving model on the validation split."""
    metric = state.task.metric(data.validation)
    return metric, evaluate(state.task, state.predictor, data.validation, metric=metric)
