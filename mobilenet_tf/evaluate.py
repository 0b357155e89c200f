"""One evaluation for every artifact: any predictor over any source."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from mobilenet_tf.data import Source, evaluation_batches, steps_per_epoch, user_errors
from mobilenet_tf.predict import Predictor
from mobilenet_tf.progress import track
from mobilenet_tf.spread import Spread

ALIKE = "all images get the same answer: the model is untrained, has seen too few steps, or its input is scaled wrongly"


def evaluate(
    task, cfg, predictor: Predictor, source: Source, *, limit: int | None = None, metric=None
) -> dict[str, float]:
    """Scores a predictor on every sample of a source, once, in order, through the task's evaluation preprocessing.

    Args:
        predictor: images float32 [N, H, W, 3] in 0..255 -> raw outputs; float, int8 and ONNX models alike.
        limit: score so many samples only, drawn as by `subset`.
        metric: a metric to fill, for callers who want more than its numbers.

    Returns:
        The metric's numbers, averaged over samples.
    """
    metric = metric or task.metric(cfg, source)
    source = subset(source, limit)
    batch_size = cfg.train.batch_size
    batches = evaluation_batches(source, task.transform(cfg, training=False), batch_size=batch_size)
    total = steps_per_epoch(source.count, batch_size)
    return score(task, cfg, predictor, track(batches, "evaluate", total), metric)


def score(task, cfg, predictor: Predictor, batches: Iterable[dict], metric) -> dict[str, float]:
    """Feeds batches of samples (dicts of arrays with a leading axis) through predictor, decode and metric.

    Warns where all images get the same answer: scores then say nothing.
    """
    seen = Spread()
    with user_errors():
        for batch in batches:
            samples = {key: np.asarray(value) for key, value in batch.items()}
            raw = predictor(samples["image"])
            seen.update(raw)
            predictions = task.decode(cfg, raw, samples["original_size"])
            for i, prediction in enumerate(predictions):
                metric.update({key: value[i] for key, value in samples.items()}, prediction)
    if seen.alike:
        warnings.warn(ALIKE, stacklevel=2)
    return metric.result()


def evaluation_inputs(task, cfg, source: Source, count: int) -> list[np.ndarray]:
    """Batches of images [N, H, W, 3] of `count` samples, as evaluation feeds them to the model."""
    batches = evaluation_batches(
        subset(source, count), task.transform(cfg, training=False), batch_size=cfg.train.batch_size
    )
    total = steps_per_epoch(min(count, source.count), cfg.train.batch_size)
    with user_errors():
        return [batch["image"].numpy() for batch in track(batches, "read pictures", total)]


def stratified(source: Source, count: int) -> Source:
    """`count` samples with equally many of each "label", as far as there are so many; `subset` where there is none.

    Always the same ones.
    """
    label = source.items.element_spec.get("label")
    if label is None or label.shape.rank or not label.dtype.is_integer or count >= source.count:
        return subset(source, count)
    with user_errors():
        labels = np.array([int(item["label"]) for item in source.items])
    order = np.random.default_rng(0).permutation(len(labels))
    place = np.empty(len(labels), int)  # of each sample among those of its label
    for value in np.unique(labels):
        own = order[labels[order] == value]
        place[own] = np.arange(len(own))
    chosen = np.zeros(len(labels), bool)
    chosen[order[np.argsort(place[order], kind="stable")[:count]]] = True
    marked = tf.data.Dataset.zip(source.items, tf.data.Dataset.from_tensor_slices(chosen))
    items = marked.filter(_is_chosen).map(_item)
    return dataclasses.replace(source, items=items, count=count)


def _is_chosen(item, chosen):
    return chosen


def _item(item, chosen):
    return item


def subset(source: Source, count: int | None) -> Source:
    """`count` samples drawn from all over a source, always the same; all of it for None or too large a count."""
    if count is None or count >= source.count:
        return source
    buffer = min(source.count, source.shuffle_buffer)
    shuffled = source.items.shuffle(buffer, seed=0, reshuffle_each_iteration=False)
    return dataclasses.replace(source, items=shuffled.take(count), count=count)
