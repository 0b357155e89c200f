"""The names of the files in a run folder. No TensorFlow here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The folder that holds everything that comes of one training run; its properties are the paths within it."""

    path: Path

    @classmethod
    def with_splits(cls, model: Path) -> RunFolder | None:
        """Returns the run that a model or exported file lies in, however deep, if that has stored its splits."""
        runs = map(cls, model.absolute().parents)
        return next((run for run in runs if run.splits.is_file() and run.config.is_file()), None)

    def is_run(self) -> bool:
        """Whether a training run has begun here."""
        return self.config.is_file() and self.checkpoints.is_dir()

    def free(self) -> RunFolder:
        """Returns this folder where no run has begun here, else the first of NAME-2, NAME-3, … that is free."""
        number, folder = 1, self
        while folder.is_run() or folder.model.exists() or folder.last_checkpoint.exists():
            number += 1
            folder = RunFolder(self.path.with_name(f"{self.path.name}-{number}"))
        return folder

    def unfinished(self) -> RunFolder:
        """Returns the first of this folder, NAME-2, NAME-3, … that holds no finished run."""
        number, folder = 1, self
        while folder.model.exists():
            number += 1
            folder = RunFolder(self.path.with_name(f"{self.path.name}-{number}"))
        return folder

    def other_files(self) -> list[str]:
        """Returns the names of what stands here and is not a run's, hidden files aside; none where this is a run."""
        if self.is_run() or not self.path.is_dir():
            return []
        begun = {self.checkpoints.name, self.cache.name, self.teacher.name}  # what a start leaves before the config
        return sorted(
            entry.name for entry in self.path.iterdir() if not entry.name.startswith(".") and entry.name not in begun
        )

    @property
    def config(self) -> Path:
        """The resolved config of the run, as YAML."""
        return self.path / "config.yaml"

    @property
    def splits(self) -> Path:
        """The images of each split, as JSON; only in runs whose data has no splits of its own."""
        return self.path / "splits.json"

    @property
    def model(self) -> Path:
        """The finished model with the best weights, in float32."""
        return self.path / "model.keras"

    @property
    def metrics(self) -> Path:
        """The metrics of the finished model by split, as JSON."""
        return self.path / "metrics.json"

    @property
    def log(self) -> Path:
        """One row an epoch: loss, validation metrics, learning rate."""
        return self.path / "log.csv"

    @property
    def checkpoints(self) -> Path:
        """The folder of what an interrupted run continues from."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """The whole training state after the last finished epoch."""
        return self.checkpoints / "last.npz"

    @property
    def best_checkpoint(self) -> Path:
        """The model of the epoch with the best validation metric so far."""
        return self.checkpoints / "best.keras"

    @property
    def teacher(self) -> Path:
        """The teacher's path and its own validation metrics, as JSON; only in runs that distill."""
        return self.path / "teacher.json"

    @property
    def exports(self) -> Path:
        """The folder of exported files and of their report."""
        return self.path / "exports"

    @property
    def plots(self) -> Path:
        """The folder of plots: of the training, and in folders of their own of each evaluated split."""
        return self.path / "plots"

    @property
    def tensorboard(self) -> Path:
        """The folder of TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def cache(self) -> Path:
        """The folder of features that were computed once; it is removed when the run is finished."""
        return self.path / "cache"
