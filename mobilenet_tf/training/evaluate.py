"""One evaluation for every artifact: any predictor over any source."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mobilenet_tf.data.source import Source, evaluation_batches, steps_per_epoch, user_errors
from mobilenet_tf.data.subsets import subset
from mobilenet_tf.inference.spread import Spread
from mobilenet_tf.task import Metric, Task
from mobilenet_tf.utils.progress import track

Predict = Callable[[np.ndarray], Any]  # images [N, H, W, 3] in 0..255 -> raw outputs; a Predictor is one

SAME_OUTPUT_WARNING = (
    "all images get the same output: the model is untrained, was trained for too few steps, "
    "or its input is scaled wrongly"
)


def evaluate(
    task: Task, predictor: Predict, source: Source, *, limit: int | None = None, metric: Metric | None = None
) -> dict[str, float]:
    """Scores a predictor on every sample of a source, once, in order, through the task's evaluation preprocessing.

    Args:
        predictor: images float32 [N, H, W, 3] in 0..255 -> raw outputs; float, int8 and ONNX models alike.
        limit: score so many samples only, drawn as by `subset`.
        metric: a metric to fill, for callers who want more than its numbers.

    Returns:
        The metric's numbers, averaged over samples.
    """
    metric = metric or task.metric(source)
    source = subset(source, limit)
    batch_size = task.cfg.train.batch_size
    batches = evaluation_batches(source, task.transform(training=False), batch_size=batch_size)
    total = steps_per_epoch(source.count, batch_size)
    return score(task, predictor, track(batches, "evaluate", total), metric)


def score(task: Task, predictor: Predict, batches: Iterable[dict], metric: Metric) -> dict[str, float]:
    """Feeds batches of samples (dicts of arrays with a leading axis) through predictor, decode and metric.

    Warns where all images get the same output: the scores then mean nothing.
    """
    seen = Spread()
    with user_errors():
        for batch in batches:
            samples = {key: np.asarray(value) for key, value in batch.items()}
            raw = predictor(samples["image"])
            seen.update(raw)
            predictions = task.decode(raw, samples["original_size"])
            for i, prediction in enumerate(predictions):
                metric.update({key: value[i] for key, value in samples.items()}, prediction)
    if seen.alike:
        warnings.warn(SAME_OUTPUT_WARNING, stacklevel=2)
    return metric.result()


def evaluation_inputs(task: Task, source: Source, count: int) -> list[np.ndarray]:
    """Batches of images [N, H, W, 3] of `count` samples, as evaluation feeds them to the model."""
    batches = evaluation_batches(
        subset(source, count), task.transform(training=False), batch_size=task.cfg.train.batch_size
    )
    total = steps_per_epoch(min(count, source.count), task.cfg.train.batch_size)
    with user_errors():
        return [batch["image"].numpy() for batch in track(batches, "read images", total)]
