"""The state of a run over its stages: the networks, the moving average, the progress and the checkpoints."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras

from mobilenet_tf.config import Config
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import keras_predictor
from mobilenet_tf.task import Task
from mobilenet_tf.training import checkpoint, optim
from mobilenet_tf.utils import files
from mobilenet_tf.utils.run_folder import RunFolder

OLD_NAMES = {"waited": "wait"}  # fields of `Progress` in checkpoints of schema 1


@dataclass
class Progress:
    """Where training stands: what a checkpoint holds beside the variables."""

    stage: int = 0  # index of the stage in work
    epoch: int = 0  # epochs done, over all stages
    stage_epoch: int = 0  # epochs done in this stage
    step: int = 0  # optimizer steps done in this stage
    seconds: float = 0.0  # spent in training so far
    best: float | None = None  # best value of the monitored metric
    wait: int = 0  # evaluations since then
    history: list[dict] = field(default_factory=list)  # one row an epoch

    @classmethod
    def load(cls, path: Path) -> Progress:
        """The progress in a checkpoint, of this version or an earlier one."""
        stored: dict[str, Any] = checkpoint.load_state(path)
        return cls(**{OLD_NAMES.get(key, key): value for key, value in stored.items()})

    def end_stage(self) -> None:
        """Moves on to the next stage."""
        self.stage, self.stage_epoch, self.step, self.wait = self.stage + 1, 0, 0, 0


class State:
    """The network that is trained, its float32 twin that is evaluated, saved and exported, and how far they are.

    Args:
        network: as it is trained, perhaps in mixed precision or prepared for QAT.
        serving: the same network in float32, which gets the averaged weights where there is an average.
    """

    def __init__(self, task: Task, folder: RunFolder, network: keras.Model, serving: keras.Model):
        self.task, self.folder = task, folder
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
        """Takes everything but the optimizer from a checkpoint. Raises UserError where the model is another."""
        self.progress = Progress.load(path)
        checkpoint.restore(path, self.variables())
        print(f"continuing from {path}: {self.progress.epoch} epochs done")

    def save(self, optimizer: keras.Optimizer | None = None) -> None:
        """Writes the checkpoint and the log."""
        checkpoint.save(self.folder.last_checkpoint, self.variables(optimizer), vars(self.progress))
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
