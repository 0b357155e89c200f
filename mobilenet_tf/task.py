"""The contract of a task: the methods that turn a MobileNet into an application. Training and export use nothing else.

A task is a class whose one argument is the config of an experiment: `task(cfg).source("train")`. The first half of its
methods, `Inference`, needs no TensorFlow and lies in the task's inference.py, so that `predict` starts fast.
"""

from __future__ import annotations

import math
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np

from mobilenet_tf.config import Config
from mobilenet_tf.utils.errors import UserError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from mobilenet_tf.data.source import Batch, Sample, Source
    from mobilenet_tf.inference.predict import Predictor

Prediction = dict[str, Any]  # of one image, by name: arrays, numbers
C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Selection:
    """What is listed and drawn of a prediction.

    min_score: the smallest probability or score; None: that of the task.
    top: how many classes, attributes or objects, the best ones; None: as many as the task shows.
    vectors: the embedding itself among the values for programs.
    masks: the mask of each class among the values for programs, as COCO's run lengths.
    """

    min_score: float | None = None
    top: int | None = None
    vectors: bool = False
    masks: bool = False


AS_USUAL = Selection()


class Inference(Protocol[C]):
    """The part of a task that `predict` needs besides a model file."""

    cfg: C
    selection: Selection
    options: ClassVar[tuple[str, ...]] = ()  # those of `predict` that mean something to the task
    compares: ClassVar[bool] = False  # whether every image is compared with the first one
    sort_by: ClassVar[str | None] = None  # the column that sorts the rows of `predict`, the highest first

    def __init__(self, cfg: C, selection: Selection = AS_USUAL):
        self.cfg = cfg
        self.selection = selection

    def check_options(self, **others: bool) -> None:
        """Raises UserError where the selection, or one of other options that are set, means nothing to the task."""
        asked = vars(self.selection) | others
        given = {name for name, value in asked.items() if not (value is None or value is False)}
        if wrong := sorted(given - set(self.options)):
            shown = [", ".join(f"--{name.replace('_', '-')}" for name in names) for names in (self.options, wrong)]
            raise UserError(f"the answers of a model for {self.cfg.task} take {shown[0]}. Received: {shown[1]}")

    @abstractmethod
    def preprocess(self, image: np.ndarray) -> np.ndarray:
        """An image uint8 [H, W, 3] -> float32 [*input_size, 3] in 0..255: `Task.transform` in evaluation."""

    @abstractmethod
    def decode(self, raw: Any, sizes: np.ndarray) -> list[Prediction]:
        """A model's raw outputs -> one prediction an image, in the coordinates of the original images.

        sizes: int32 [N, 2], the height and width of each original image.
        """

    @abstractmethod
    def to_row(self, prediction: Prediction, classes: Sequence[str]) -> dict[str, Any]:
        """A prediction as one flat row of the table that people read."""

    @abstractmethod
    def to_dict(self, prediction: Prediction, classes: Sequence[str]) -> dict[str, Any]:
        """A prediction for programs, as it is written to JSON and CSV: names and numbers, as docs/answers.md says.

        A list of dicts, or a dict of dicts by name, holds what CSV has a row of its own for.
        """

    @abstractmethod
    def draw(self, image: np.ndarray, prediction: Prediction, classes: Sequence[str]) -> np.ndarray:
        """The image, uint8 [H, W, 3], with the prediction drawn on it."""

    @abstractmethod
    def to_result(self, prediction: Prediction, classes: Sequence[str]) -> Any:
        """A prediction as the dataclass that Python programs get, see `mobilenet_tf.load`."""

    def compare(self, first: Prediction, prediction: Prediction) -> Prediction:
        """The prediction with its comparison with the first image's; called if `compares` is true."""
        return prediction


class Metric(Protocol):
    """Numbers over the samples of a split."""

    def update(self, sample: Mapping[str, np.ndarray], prediction: Prediction) -> None:
        """Adds one sample and what the model predicts for it."""
        ...

    def merge(self, other: Any) -> None:
        """Adds the samples of another metric of this kind, for the numbers alone: pictures are not kept."""
        ...

    def result(self) -> dict[str, float]:
        """The numbers over all samples that were added, `count` among them."""
        ...


class Task(Inference[C], Protocol[C]):
    """The part of a task that training, evaluation and export need besides `Inference`."""

    name: ClassVar[str]
    closed_set: ClassVar[bool] = True  # whether all splits have the classes of the training split

    @property
    def monitor(self) -> tuple[str, str]:
        """The metric that picks the best checkpoint, and "max" or "min"."""
        return self.cfg.monitor

    @abstractmethod
    def source(self, split: str) -> Source:
        """The samples of "train", "validation" or "test"."""

    @abstractmethod
    def transform(self, training: bool) -> Callable[[Sample], Sample]:
        """The preprocessing of one sample, in evaluation or with the random changes of training."""

    @abstractmethod
    def encode(self, source: Source) -> Callable[[Batch], tuple[tf.Tensor, Any]]:
        """fn(batch of samples) -> (images, targets). It runs in the graph; targets may be nested."""

    @abstractmethod
    def model(self, source: Source) -> keras.Model:
        """The network from images [N, H, W, 3] in 0..255 to raw outputs; its backbone is the layer "backbone"."""

    @abstractmethod
    def loss(self) -> Callable[[Any, Any], tf.Tensor]:
        """fn(targets, raw outputs) -> a scalar, or one number a sample."""

    @abstractmethod
    def metric(self, source: Source) -> Metric:
        """A new, empty metric for samples of that source."""

    @abstractmethod
    def report(self, metric: Any, classes: Sequence[str], folder: Path) -> list[Path]:
        """Writes the plots and tables of a finished evaluation; returns their paths."""

    def annotation(self, sample: Mapping[str, Any], classes: Sequence[str]) -> tuple[np.ndarray, str]:
        """What a sample says of its image: the image, uint8 [H, W, 3], with that drawn on it, and the same in words.

        sample: arrays, of one sample as `transform` gives it, in training or in evaluation.
        """
        return drawable(sample["image"]), ""

    @abstractmethod
    def serving_model(self, model: keras.Model) -> keras.Model:
        """The model as it is exported, ending in what `export.outputs` names."""

    @abstractmethod
    def agreement(self, reference: Prediction, candidate: Prediction) -> float:
        """The agreement of two predictions of one image, 0 to 1; NaN if there is nothing to compare."""

    def mix(self) -> Callable[[tuple, tf.Tensor], tuple] | None:
        """fn((images, targets), seed) -> (images, targets): mixup and the like on batches; None where there is none."""
        return None

    def sampler(self) -> Callable[[dict[str, np.ndarray], np.ndarray], np.ndarray] | None:
        """fn(the source's items as arrays [count], seed int32 [2]) -> indices int64 [M] of one epoch's samples, as many
        as fill its batches. None: every sample once, shuffled.
        """
        return None

    def tta(self, predictor: Predictor) -> Predictor | Callable[[np.ndarray], Any]:
        """The predictor that `evaluate` scores: itself, or one that averages over several views of an image."""
        return predictor

    def distillation_loss(self) -> Callable[[Any, Any], tf.Tensor] | None:
        """fn(teacher's raw outputs, student's) -> a scalar, or one number a sample; None: no distillation."""
        return None

    def calibrate_thresholds(self, metric: Any) -> C:
        """The config with thresholds calibrated by the best weights' metric on the validation split."""
        return self.cfg


def drawable(image: Any) -> np.ndarray:
    """Returns a preprocessed image, float [H, W, 3] in 0..255, as uint8."""
    return np.rint(np.asarray(image)).clip(0, 255).astype(np.uint8)


def as_number(value: Any) -> float | None:
    """Returns a number of an output for JSON: as few digits as tell it from its neighbors in float32; None for NaN and
    infinity, which JSON does not have.
    """
    return float(str(np.float32(value))) if math.isfinite(value) else None


def as_text(value: Any) -> str:
    """Returns a sample's "id" as text; it may be text or bytes of Python, NumPy or TensorFlow."""
    value = value.numpy() if hasattr(value, "numpy") else value
    value = value.item() if hasattr(value, "item") else value
    return os.fsdecode(value) if isinstance(value, bytes) else str(value)
