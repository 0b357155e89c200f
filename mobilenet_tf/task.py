"""What a task is: a record of callables. The harness receives one and knows nothing else of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What `predict` needs of a task besides a model file. `cfg` is the task's own `Config`. Imports no TensorFlow.

    prepare:   (cfg, image uint8 [H, W, 3]) -> float32 [*input_size, 3] in 0..255: `Task.transform` in evaluation.
    decode:    (cfg, raw, sizes int32 [N, 2]) -> list of predictions (dicts of numpy arrays), one an image, in the
               coordinates of the original images, whose (height, width) `sizes` are.
    summary:   (prediction, classes) -> flat dict, one row of predict's table, JSON and CSV.
    draw:      (image, prediction, classes) -> image.
    relate:    (cfg, the first picture's prediction, prediction) -> prediction with what comparing the two tells, for
               `predict`; or None.
    rank:      the column that sorts the rows of `predict`, the highest first; None leaves them in their order.
    """

    prepare: Callable
    decode: Callable
    summary: Callable
    draw: Callable
    relate: Callable | None = None
    rank: str | None = None


@dataclass(frozen=True, kw_only=True)
class Task(Answers):
    """The parts that turn a MobileNet into an application: answers, and what training and scoring need besides.

    source:    (cfg, split) -> Source. Splits are "train", "validation" and "test".
    transform: (cfg, training) -> (Sample -> Sample). One definition for training, evaluation, calibration and predict.
    encode:    (cfg, source) -> (batch of Samples -> (images, targets)). Runs in the graph; targets may be nested.
    order:     (cfg) -> fn(the source's items as arrays [count], seed int32 [2]) -> places int64 [M] of an epoch's
               samples, as many as fill its batches; or None: shuffled.
    mix:       (cfg) -> ((images, targets), seed) -> (images, targets), or None: mixup and the like, on batches.
    model:     (cfg, source) -> keras.Model from images [N, H, W, 3] in 0..255 to raw outputs; its backbone is the
               nested layer "backbone".
    loss:      (cfg) -> fn(targets, raw) -> scalar or [N].
    metric:    (cfg, source) -> object with update(sample, prediction) and result() -> dict of numbers.
    monitor:   (name, mode): the metric that picks the best checkpoint; mode is "max" or "min".
    report:    (metric, classes, folder) -> list of the pictures written.
    deploy:    (cfg, model) -> keras.Model: the model as it is exported, ending in what `export.outputs` names.
    agree:     (reference, candidate predictions of one image) -> 0..1: how far they say the same; NaN where there is
               nothing to compare, as between two detectors that find nothing.
    views:     (cfg, predictor) -> predictor: how `evaluate` looks at a picture, for tasks that can do it several times.
    distill:   (cfg) -> fn(teacher's raw outputs, student's) -> scalar or [N]: what pulls a student to its teacher; or
               None, where a task cannot be taught so.
    tune:      (cfg, metric) -> cfg: what is settled after training, such as thresholds, by the best weights' metric on
               the validation split; it travels in all files that are made of the run.
    shared_classes: whether all splits have the classes of the training split, as all have but those of open sets.
    """

    name: str
    source: Callable
    transform: Callable
    encode: Callable
    mix: Callable
    model: Callable
    loss: Callable
    metric: Callable
    monitor: tuple[str, str]
    report: Callable
    deploy: Callable
    agree: Callable
    views: Callable = lambda cfg, predictor: predictor
    order: Callable = lambda cfg: None
    distill: Callable | None = None
    tune: Callable = lambda cfg, metric: cfg
    shared_classes: bool = True


Prediction = dict[str, Any]


def as_text(value: Any) -> str:
    """A sample's "id" as text, however it arrives: of Python, NumPy or TensorFlow, as bytes or not."""
    value = value.numpy() if hasattr(value, "numpy") else value
    value = value.item() if hasattr(value, "item") else value
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
