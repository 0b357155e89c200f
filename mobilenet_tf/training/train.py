"""The one training loop: compile, fit, and callbacks that evaluate, average, log and save.

A run starts from its own last checkpoint, else from `train.resume`, else from `train.network` or `model.weights`, else
from scratch.
"""

from __future__ import annotations

import math
import os
import shutil
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf import viz
from mobilenet_tf.config import Config, Stage
from mobilenet_tf.data.source import Source, difference, steps_per_epoch, training_batches, user_errors
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import Predictor, keras_predictor, load_keras
from mobilenet_tf.models import graph
from mobilenet_tf.qat import aware
from mobilenet_tf.task import Task
from mobilenet_tf.training import checkpoint, distill, optim
from mobilenet_tf.training.batch_norm import Statistics, kept, trained_layers
from mobilenet_tf.training.evaluate import evaluate, score
from mobilenet_tf.training.features import Features, split
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError

UNFIT = (
    "the network answers much more alike in inference than in training: the statistics of its BatchNormalization "
    "layers do not fit its weights; set train.batch_norm_samples, or raise it"
)


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, the float32 model with the best weights and the metrics on the validation split."""

    folder: Path
    model: keras.Model
    metrics: dict[str, float]


@dataclass
class Progress:
    """Where training stands: what a checkpoint holds beside the variables."""

    stage: int = 0  # index of the stage in work
    epoch: int = 0  # epochs done, over all stages
    stage_epoch: int = 0  # epochs done in this stage
    step: int = 0  # optimiser steps done in this stage
    seconds: float = 0.0  # spent in training so far
    best: float | None = None  # best value of the monitored metric
    waited: int = 0  # evaluations since then
    history: list[dict] = field(default_factory=list)  # one row an epoch

    def end_stage(self) -> None:
        self.stage, self.stage_epoch, self.step, self.waited = self.stage + 1, 0, 0, 0


class Trainer(keras.Model):
    """A network with a task's loss, fn(targets, raw), whatever the structure of the targets.

    taught: fn(images, targets, raw), the loss in its place where a teacher looks at the images too.
    """

    def __init__(self, network: keras.Model, loss, taught=None):
        super().__init__(name="trainer")
        self.network, self.loss_function, self.taught = network, loss, taught
        self.step_loss = tf.Variable(0.0, trainable=False)  # of the last batch alone; Keras logs the epoch's mean

    def call(self, images, training=False):
        return self.network(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = tf.reduce_mean(self.taught(x, y, y_pred) if self.taught else self.loss_function(y, y_pred))
        self.step_loss.assign(loss)
        return loss


def train(task: Task, cfg: Config, folder: Path | str) -> Run:
    """Trains a task as its config says and leaves everything in the run folder; continues a run that was interrupted.

    The folder then holds config.yaml, log.csv, tensorboard/, checkpoints/last.npz and best.keras, model.keras,
    metrics.json and plots/.

    Raises:
        UserError: an unusable folder, a checkpoint of another model, or a loss that is not finite.
    """
    folder = _prepare(Path(folder), cfg)
    keras.utils.set_random_seed(cfg.seed)
    precision, jit = device_settings("float32" if cfg.quantize.aware else cfg.train.precision, cfg.train.jit)
    source, validation = task.source(cfg, "train"), task.source(cfg, "validation")
    if task.shared_classes and list(source.classes) != list(validation.classes):
        raise UserError(
            f"the validation split must have the classes of the training split, {len(source.classes)} of them. "
            f"Received: {len(validation.classes)}, which differ in {difference(source.classes, validation.classes)}"
        )
    start = _start(folder, cfg)
    network, serving = _networks(task, cfg, source, precision, pretrained=start is None)
    teacher = distill.load(task, cfg, source, serving) if cfg.distill.teacher else None
    if teacher:
        distill.score(teacher, task, cfg, validation, folder)
    run = _Loop(task, cfg, folder, jit, source, validation, network, serving, teacher)
    if start:
        run.restore(start)
        if run.progress.stage >= len(cfg.train.stages) and folder not in start.parents:
            raise UserError(
                f"train.resume must name a run with stages left to do; start from model.weights={start.parents[1]}/"
                f"model.keras instead. Received: {cfg.train.resume}, with {run.progress.stage} stages done"
            )
    for index in range(run.progress.stage, len(cfg.train.stages)):
        run.stage(index, start if index == run.progress.stage and run.progress.step else None)
    return run.finish()


def device_settings(precision: str, jit: str) -> tuple[str, bool]:
    """Resolves "auto" for this machine and prints the choice.

    On CPU: float32 (depthwise kernels have no fast path below it), no XLA, whose CPU convolutions are many times
    slower, and oneDNN's kernels, unless TensorFlow was imported before this package. On GPU: bfloat16 from compute
    capability 8 on, float16 from 7 on, and XLA.

    Raises:
        UserError: the processor cannot compute in that precision.
    """
    gpus = tf.config.list_physical_devices("GPU")
    name = f"CPU ({os.cpu_count()} cores)"
    automatic = "float32"
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        name, capability = details.get("device_name", "GPU"), details.get("compute_capability", (0, 0))[0]
        automatic = "mixed_bfloat16" if capability >= 8 else "mixed_float16" if capability >= 7 else "float32"
    precision = automatic if precision == "auto" else precision
    if not computes(precision.removeprefix("mixed_")):
        raise UserError(f"train.precision must be auto or float32 on this processor. Received: {precision}")
    use_jit = bool(gpus) if jit == "auto" else jit == "on"
    one_dnn = {"1": "on", "0": "off"}.get(os.environ.get("TF_ENABLE_ONEDNN_OPTS"), "as TensorFlow has it")
    print(
        f"device {name} · precision {precision} · XLA {'on' if use_jit else 'off'} · oneDNN {one_dnn} · "
        "fused BatchNormalization"
    )
    return precision, use_jit


def computes(dtype: str) -> bool:
    """Whether convolutions of that type have a kernel here: oneDNN has none of half precision below AVX-512."""
    try:
        tf.nn.conv2d(tf.ones([1, 8, 8, 3], dtype), tf.ones([3, 3, 3, 8], dtype), 2, "SAME")
    except tf.errors.OpError:
        return False
    return True


@dataclass(frozen=True)
class Inputs:
    """What one stage trains, on what, and how it is judged."""

    trained: keras.Model  # the network, or its head
    predictor: Predictor  # of its published weights
    count: int  # samples an epoch
    epoch_steps: int
    batches_from: Callable[[int], tf.data.Dataset]  # epoch -> endless (images or features, targets) from there on
    validate: Callable[[], dict[str, float]]  # scores of the published weights on the validation split
    statistics: Statistics | None = None  # of what is trained, in the serving model; None where none are to be found
    sample: list[np.ndarray] = field(default_factory=list)  # the batches of images they are found on


class _Loop:
    """The state that stages share: the networks, the moving average, the progress."""

    def __init__(self, task, cfg, folder, jit, source, validation, network, serving, teacher):
        self.task, self.cfg, self.folder, self.jit = task, cfg, folder, jit
        self.source, self.validation = source, validation
        self.network, self.serving, self.teacher = network, serving, teacher
        self.predictor = keras_predictor(serving)  # traced once; follows the weights
        self.average = optim.MovingAverage(network, cfg.train.ema) if cfg.train.ema else None
        self.momenta = optim.momenta(network)
        self.progress = Progress()

    # --- state -----------------------------------------------------------------------------------------------------

    def groups(self, optimizer=None) -> dict[str, list]:
        """The variables a checkpoint holds, by group."""
        groups = {"network": self.network.variables}
        if self.average:
            groups["average"] = self.average.variables
        if optimizer:
            groups["optimizer"] = optimizer.variables
        return groups

    def restore(self, path: Path) -> None:
        self.progress = Progress(**checkpoint.load_state(path))
        checkpoint.restore(path, self.groups())
        print(f"continuing from {path}: {self.progress.epoch} epochs done")

    def publish(self) -> None:
        """Copies the averaged, or else the live, weights into the float32 serving model."""
        if not self.average:
            return self.serving.set_weights(self.network.get_weights())
        for target, value in zip(optim.floating(self.serving), self.average.averages, strict=True):
            target.assign(value)

    def publish_with_statistics(self, inputs: Inputs) -> None:
        """Publishes, with statistics of BatchNormalization that belong to the published weights; warns where none do.

        With `train.batch_norm_samples` of 0 those of the training are published.
        """
        self.publish()
        if not inputs.statistics:
            return
        if self.cfg.train.batch_norm_samples:
            inputs.statistics.update(inputs.sample)
        if not inputs.statistics.fit(inputs.sample[0], inputs.predictor):
            warnings.warn(UNFIT, stacklevel=2)

    def keep_statistics(self, inputs: Inputs) -> None:
        """Gives the network and the average statistics that belong to their weights: the next stage may freeze them."""
        if not (inputs.statistics and self.cfg.train.batch_norm_samples):
            return
        self.publish_with_statistics(inputs)
        if not self.average:
            return self.network.set_weights(self.serving.get_weights())
        for average, value in zip(self.average.averages, optim.floating(self.serving), strict=True):
            average.assign(value)
        Statistics(inputs.trained, trained_layers(inputs.trained, inputs.trained)).update(inputs.sample)

    # --- one stage -------------------------------------------------------------------------------------------------

    def stage(self, index: int, resume_from: Path | None) -> None:
        stage, train = self.cfg.train.stages[index], self.cfg.train
        optim.set_trainable(self.network, stage.train, freeze_batch_norm=stage.freeze_batch_norm)
        inputs = self.inputs(stage)
        trained, count, epoch_steps = inputs.trained, inputs.count, inputs.epoch_steps
        total = stage.duration.steps(epoch_steps, train.batch_size)
        optim.limit_horizon(self.momenta, total)
        loss = self.task.loss(self.cfg)
        taught = self.teacher.loss(loss, remembered=not stage.augment) if self.teacher else None
        trainer = Trainer(trained, loss, taught)
        trainer.compile(self.optimizer(stage, total, epoch_steps), jit_compile=self.jit)
        trainer.optimizer.build(trained.trainable_variables)
        if resume_from:
            checkpoint.restore(resume_from, {"optimizer": trainer.optimizer.variables})
        progress = self.progress
        parameters = sum(math.prod(v.shape) for v in trained.trainable_variables)
        print(
            f"stage {index + 1} of {len(train.stages)}: {stage.train} trained ({parameters:,} parameters), "
            f"{count} samples, {stage.duration} = {total} steps, learning rate {stage.learning_rate:g}"
        )
        exhausted = train.patience and progress.waited >= train.patience  # by the epoch after which the run was stopped
        if progress.step < total and not exhausted:
            with user_errors():
                trainer.fit(
                    inputs.batches_from(progress.epoch),
                    steps_per_epoch=epoch_steps,
                    initial_epoch=progress.epoch,
                    epochs=progress.epoch - progress.stage_epoch + math.ceil(total / epoch_steps),
                    callbacks=[_AfterStep(self, trained, total), _AfterEpoch(self, inputs)],
                    shuffle=False,
                    verbose=1 if os.isatty(1) else 2,
                )
        if index + 1 < len(train.stages):
            self.keep_statistics(inputs)
        progress.end_stage()
        self.save(None)

    def inputs(self, stage: Stage) -> Inputs:
        """Images; or features, computed once, where the backbone and its input stand still."""
        transform = self.task.transform(self.cfg, training=stage.augment)
        order = self.task.order(self.cfg)
        options = {"batch_size": self.cfg.train.batch_size, "seed": self.cfg.seed, "order": order}
        encode = self.task.encode(self.cfg, self.source)
        if self.teacher and not stage.augment:
            encode = self.teacher.remember(encode, self.source, transform, self.cfg.train.batch_size)
        if stage.augment or stage.train != "head" or not self.has_features():
            mix = self.task.mix(self.cfg) if stage.augment else None

            def from_epoch(epoch):
                return training_batches(self.source, transform, encode, start_epoch=epoch, mix=mix, **options)

            networks = self.network, self.serving, self.predictor
            return self.inputs_of(*networks, self.source.count, from_epoch, self.evaluate_pictures)
        (trunk, head), served = split(self.network), split(self.serving)[1]
        self.publish()
        predictor = keras_predictor(served)
        features, held_out = self.features(trunk, transform)

        def from_epoch(epoch):
            return features.training_batches(encode, start_epoch=epoch, **options)

        def evaluate_features() -> dict[str, float]:
            metric = self.task.metric(self.cfg, self.validation)
            return score(self.task, self.cfg, predictor, held_out.batches(self.cfg.train.batch_size), metric)

        return self.inputs_of(head, served, predictor, len(features.rows), from_epoch, evaluate_features)

    def inputs_of(self, trained, served, predictor, count: int, batches_from, validate) -> Inputs:
        """The `Inputs` of a stage; its sample of images is of the stage's first epoch, whenever the run is resumed."""
        train, progress = self.cfg.train, self.progress
        epoch_steps = steps_per_epoch(count, train.batch_size)
        layers = trained_layers(trained, served)
        inputs = Inputs(trained, predictor, count, epoch_steps, batches_from, validate)
        if not layers:
            return inputs
        steps = min(epoch_steps, steps_per_epoch(max(1, train.batch_norm_samples), train.batch_size))
        batches = batches_from(progress.epoch - progress.stage_epoch).map(lambda images, *_: images).take(steps)
        with user_errors():
            sample = kept(batches, steps)
        return replace(inputs, statistics=Statistics(served, layers), sample=sample)

    def features(self, trunk: keras.Model, transform) -> tuple[Features, Features]:
        """Those of the training and of the validation pictures."""
        cache, batch_size = self.folder / "cache", self.cfg.train.batch_size
        cache.mkdir(exist_ok=True)
        training = Features.compute(trunk, self.source, transform, cache / "train.npy", batch_size)
        return training, Features.compute(trunk, self.validation, transform, cache / "validation.npy", batch_size)

    def has_features(self) -> bool:
        if self.cfg.quantize.aware:
            return False  # the ranges of a frozen backbone are still to be found
        return any(layer.name == "features" for layer in self.network.layers)

    def evaluate_pictures(self) -> dict[str, float]:
        return evaluate(self.task, self.cfg, self.predictor, self.validation)

    def optimizer(self, stage: Stage, total: int, epoch_steps: int):
        train = self.cfg.train
        rate = optim.schedule(train.schedule, stage.learning_rate, total, epoch_steps, train.batch_size)
        return optim.optimizer(
            train.optimizer,
            rate,
            self.network,
            layer_decay=stage.layer_decay,
            decay_depthwise=train.decay_depthwise,
            clip_norm=train.clip_norm,
        )

    # --- saving ----------------------------------------------------------------------------------------------------

    def save(self, optimizer) -> None:
        checkpoint.save(self.folder / "checkpoints" / "last.npz", self.groups(optimizer), vars(self.progress))
        rows = [{k: f"{v:.6g}" if isinstance(v, float) else v for k, v in r.items()} for r in self.progress.history]
        files.write_csv(self.folder / "log.csv", rows)

    def save_model(self, path: Path) -> None:
        """The serving model with its metadata, as one .keras file, atomically."""
        with files.replacing(path) as temporary:
            self.serving.save(temporary)
            artifact.write(temporary, metadata(self.task, self.cfg, self.source.classes))

    def finish(self) -> Run:
        """Takes the best weights, scores and tunes them on the validation split, draws the plots."""
        best = self.folder / "checkpoints" / "best.keras"
        if best.exists():
            self.serving.load_weights(best)
        metric, numbers = self.judge()
        tuned = self.task.tune(self.cfg, metric)
        if tuned != self.cfg:
            self.cfg = tuned
            self.cfg.save(self.folder / "config.yaml")
            metric, numbers = self.judge()
        self.save_model(self.folder / "model.keras")
        taught = {"distill": files.read_json(self.folder / "teacher.json")} if self.teacher else {}
        files.write_json(
            self.folder / "metrics.json",
            {"validation": numbers, "train_seconds": round(self.progress.seconds, 1)} | taught,
        )
        plots = self.folder / "plots"
        plots.mkdir(exist_ok=True)
        viz.curves(self.folder / "log.csv", plots / "curves.png")
        self.task.report(metric, self.validation.classes, plots)
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        for name, reason in [*self.source.corrupt.items(), *self.validation.corrupt.items()]:
            print(f"skipped {name}: {reason}")
        return Run(self.folder, self.serving, numbers)

    def judge(self):
        """(metric, its numbers) of the serving model on the validation split."""
        metric = self.task.metric(self.cfg, self.validation)
        return metric, evaluate(self.task, self.cfg, self.predictor, self.validation, metric=metric)


class _AfterStep(keras.callbacks.Callback):
    """Stops at a loss that is not finite or at the stage's last step; feeds the moving average."""

    def __init__(self, loop: _Loop, trained: keras.Model, total: int):
        super().__init__()
        self.loop, self.total = loop, total
        self.update_average = loop.average.updater(trained, total) if loop.average else None
        self.losses: deque[float] = deque(maxlen=5)

    def on_train_batch_end(self, batch, logs=None):
        progress = self.loop.progress
        progress.step += 1
        loss = float(self.model.step_loss)
        if not math.isfinite(loss):
            last = ", ".join(f"{value:.4g}" for value in self.losses)
            raise UserError(
                f"the loss became {loss} at step {progress.step} of stage {progress.stage + 1} (epoch "
                f"{progress.epoch + 1}); the last losses were: {last or 'none'}. Lower "
                f"train.stages.{progress.stage}.learning_rate or set train.clip_norm; the last checkpoint is kept"
            )
        self.losses.append(loss)
        if self.update_average:
            self.update_average()
        if progress.step >= self.total:
            self.model.stop_training = True


class _AfterEpoch(keras.callbacks.Callback):
    """Evaluates, keeps the best model, writes the checkpoint and the logs."""

    def __init__(self, loop: _Loop, inputs: Inputs):
        super().__init__()
        self.loop, self.inputs = loop, inputs
        self.writer = tf.summary.create_file_writer(str(loop.folder / "tensorboard"))

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        loop, progress, train = self.loop, self.loop.progress, self.loop.cfg.train
        rate = float(self.model.optimizer.learning_rate)
        progress.seconds += time.perf_counter() - self.started
        progress.epoch, progress.stage_epoch = epoch + 1, progress.stage_epoch + 1
        row = {"epoch": progress.epoch, "stage": progress.stage + 1, "loss": logs["loss"], "learning_rate": rate}
        if progress.stage_epoch % train.evaluate_every == 0 or self.model.stop_training:
            loop.publish_with_statistics(self.inputs)
            scores = {f"val_{key}": value for key, value in self.inputs.validate().items() if key != "count"}
            logs.update(scores)
            row |= scores
            self.keep_best(scores)
        row["seconds"] = round(time.perf_counter() - self.started, 2)
        progress.history.append(row)
        loop.save(self.model.optimizer)
        with self.writer.as_default(step=progress.epoch):
            for key, value in row.items():
                tf.summary.scalar(key, value)
        self.writer.flush()

    def keep_best(self, scores: dict[str, float]) -> None:
        progress, (name, mode) = self.loop.progress, self.loop.task.monitor
        value = scores[f"val_{name}"]
        sign = 1 if mode == "max" else -1
        if progress.best is None or sign * value >= sign * progress.best:  # of equals the one that was trained longer
            self.loop.save_model(self.loop.folder / "checkpoints" / "best.keras")
        if progress.best is None or sign * value > sign * progress.best:
            progress.best, progress.waited = value, 0
        else:
            progress.waited += 1
            patience = self.loop.cfg.train.patience
            if patience and progress.waited >= patience:
                print(f"\nno better {name} in {patience} evaluations: the stage ends here")
                self.model.stop_training = True


def metadata(task: Task, cfg: Config, classes: list[str]) -> artifact.Metadata:
    """What travels inside every file made from this run."""
    return artifact.Metadata(
        task=task.name, classes=list(classes), input_size=tuple(cfg.model.input_size), config=cfg.to_dict()
    )


def _prepare(folder: Path, cfg: Config) -> Path:
    try:
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        cfg.save(folder / "config.yaml")
    except OSError as error:
        raise UserError(f"the run folder must be writable: {error.strerror}. Received: {folder}") from None
    return folder


def _start(folder: Path, cfg: Config) -> Path | None:
    """The checkpoint to start from: the run's own, or that of `train.resume`."""
    own = folder / "checkpoints" / "last.npz"
    if own.exists() or cfg.train.resume is None:
        return own if own.exists() else None
    other = cfg.train.resume if cfg.train.resume.suffix == ".npz" else cfg.train.resume / "checkpoints" / "last.npz"
    if not other.exists():
        raise UserError(f"train.resume must be a run folder or a checkpoint .npz. Received: {cfg.train.resume}")
    return other


def _networks(task: Task, cfg: Config, source: Source, precision: str, *, pretrained: bool):
    """The network that is trained, and its float32 twin that is evaluated, saved and exported."""
    blank = cfg.model_copy(update={"model": cfg.model.model_copy(update={"weights": None})})
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        network = _build(task, cfg if pretrained else blank, source)
    finally:
        keras.config.set_dtype_policy(previous)
    if cfg.train.batch_norm_momentum:
        for layer in graph.leaves(network):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = cfg.train.batch_norm_momentum
    serving = _build(task, blank, source)
    if cfg.quantize.aware:
        return aware(network, cfg.quantize.momentum), aware(serving, cfg.quantize.momentum)
    return network, serving


def _build(task: Task, cfg: Config, source: Source) -> keras.Model:
    return load_keras(cfg.train.network) if cfg.train.network else task.model(cfg, source)
