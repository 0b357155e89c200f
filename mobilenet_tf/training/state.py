"""The state of a run over its stages: the networks, the moving average, the progress and the checkpoints."""

from __future__ import annotations

import json
import shutil
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import keras
from pydantic import Field, TypeAdapter, ValidationError

from mobilenet_tf.config import Config
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import keras_predictor
from mobilenet_tf.task import Task
from mobilenet_tf.training import checkpoint, optim
from mobilenet_tf.training.setup import RECORD, Setup
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.run_folder import RunFolder

OLD_NAMES = {"waited": "wait"}  # fields of `Progress` in checkpoints of schema 1
MOST = 10**9  # stages, epochs, steps: more of them are a damaged file

Count = Annotated[int, Field(ge=0, le=MOST)]
Row = dict[str, float | int | str | None]


@dataclass
class Progress:
    """Where training stands: what a checkpoint holds beside the variables."""

    stage: Count = 0  # index of the stage in work
    epoch: Count = 0  # epochs done, over all stages
    stage_epoch: Count = 0  # epochs done in this stage
    step: Count = 0  # optimizer steps done in this stage
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # spent in training so far
    images: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # trained on in that time, each as often as it was
    best: float | None = None  # best value of the monitored metric, over all stages
    best_epoch: Count = 0  # the epoch that had it, counted from 1; 0 where nobody knows
    stage_best: float | None = None  # best value in this stage, by which its patience goes
    wait: Count = 0  # evaluations since then
    history: list[Row] = field(default_factory=list)  # one row an epoch

    @classmethod
    def load(cls, path: Path) -> Progress:
        """The progress in a checkpoint, of this version or an earlier one. Raises UserError where it cannot be one."""
        state = checkpoint.load_state(path)
        stored: dict[str, Any] = {OLD_NAMES.get(key) or key: value for key, value in state.items()}
        stored.setdefault("stage_best", stored.get("best"))
        try:
            progress = TypeAdapter(cls).validate_json(json.dumps(stored), strict=True)  # strict takes no dict in Python
        except ValidationError as error:
            key, reason = ".".join(map(str, error.errors()[0]["loc"])), error.errors()[0]["msg"]
            raise UserError(f"checkpoint {path} must say how far the run is. Received: {key}: {reason}") from None
        if not progress.stage_epoch <= progress.epoch == len(progress.history):
            raise UserError(
                f"checkpoint {path} must say how far the run is. Received: {progress.epoch} epochs, "
                f"{progress.stage_epoch} of them in the last stage, {len(progress.history)} in the log"
            )
        return progress

    def end_stage(self) -> None:
        """Moves on to the next stage."""
        self.stage, self.stage_epoch, self.step, self.wait, self.stage_best = self.stage + 1, 0, 0, 0, None

    def restart_stage(self) -> None:
        """Forgets the steps of the stage in work, not its epochs, weights and log."""
        self.stage_epoch, self.step, self.wait, self.stage_best = 0, 0, 0, None


class State:
    """The network that is trained, its float32 twin that is evaluated, saved and exported, and how far they are.

    Args:
        network: as it is trained, perhaps in mixed precision or prepared for QAT.
        serving: the same network in float32, which gets the averaged weights where there is an average.
        setup: what the run is made of.
    """

    def __init__(self, task: Task, folder: RunFolder, network: keras.Model, serving: keras.Model, setup: Setup):
        self.task, self.folder, self.setup = task, folder, setup
        self.network, self.serving = network, serving
        self.predictor = keras_predictor(serving)  # traced once; follows the weights
        decay = task.cfg.train.ema
        self.average = optim.MovingAverage(network, decay) if decay else None
        self.momenta = optim.momenta(network)
        self.progress = Progress()

    def variables(self, optimizer: keras.Optimizer | None = None) -> dict[str, list]:
        """The variables that a checkpoint holds, by group."""
        groups = {"network": self.network.variables}
        if self.average:
            groups["average"] = self.average.variables
        if optimizer:
            groups["optimizer"] = optimizer.variables
        return groups

    def restore(self, path: Path) -> None:
        """Takes everything but the optimizer from a checkpoint. Raises UserError where the model is another.

        Where a run without a moving average wrote it, the average begins at the weights.
        """
        self.progress = Progress.load(path)
        groups = self.variables()
        if self.average and "average" not in checkpoint.groups_of(path):
            del groups["average"]
        checkpoint.restore(path, groups)
        if self.average and "average" not in groups:
            self.average.reset()
        print(f"continuing from {path}: {self.progress.epoch} epochs done")

    def take_best(self, path: Path) -> None:
        """Takes the best model of the run that wrote a checkpoint over into this run's folder.

        Where it is gone, the best of the epochs to come will be kept.
        """
        best = RunFolder(path.parent.parent).best_checkpoint
        if not best.is_file():
            if self.progress.best is not None:
                warnings.warn(f"{best} is missing: the best of the epochs to come is kept", stacklevel=3)
            self.forget_best()
        elif best != self.folder.best_checkpoint:
            with files.replacing(self.folder.best_checkpoint) as temporary:
                shutil.copyfile(best, temporary)

    def forget_best(self) -> None:
        """Makes the next evaluation the best so far."""
        self.progress.best, self.progress.best_epoch = None, 0

    def save(self, optimizer: keras.Optimizer | None = None) -> None:
        """Writes the checkpoint and the log."""
        record = {RECORD: self.setup.model_dump(mode="json")}
        checkpoint.save(self.folder.last_checkpoint, self.variables(optimizer), vars(self.progress) | record)
        rows = [{k: f"{v:.6g}" if isinstance(v, float) else v for k, v in r.items()} for r in self.progress.history]
        files.write_csv(self.folder.log, rows)

    def save_model(self, path: Path, classes: list[str]) -> None:
        """Writes the serving model with its metadata as one .keras file, atomically."""
        with files.replacing(path) as temporary:
            self.serving.save(temporary)
            artifact.write(temporary, metadata(self.task, self.task.cfg, classes))

    def sync_ema_weights(self) -> None:
        """Copies the averaged, or else the live, weights into the serving model."""
        if not self.average:
            return self.serving.set_weights(self.network.get_weights())
        for target, value in zip(optim.floating(self.serving), self.average.averages, strict=True):
            target.assign(value)


def metadata(task: Task, cfg: Config, classes: list[str]) -> artifact.Metadata:
    """What travels inside every file made from this run."""
    return artifact.Metadata(
        task=task.name, classes=list(classes), input_size=cfg.model.input_size, config=cfg.to_dict()
    )
