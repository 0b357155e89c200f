"""Parts of a source: so many samples of it, drawn evenly or class by class."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_tf.data.sampling import column
from mobilenet_tf.data.source import Source, user_errors


def stratified(source: Source, count: int) -> Source:
    """`count` samples of a source, with equally many of each "label" as far as there are so many; always the same.

    Where samples have no integer "label", the result is that of `subset`.
    """
    spec: Any = source.items.element_spec  # a dict by the Sample convention
    label = spec.get("label")
    if label is None or label.shape.rank or not label.dtype.is_integer or count >= source.count:
        return subset(source, count)
    with user_errors():
        labels = column(source, "label")
    order = np.random.default_rng(0).permutation(len(labels))
    rank = np.empty(len(labels), int)  # of each sample among those of its label
    for value in np.unique(labels):
        same_label = order[labels[order] == value]
        rank[same_label] = np.arange(len(same_label))
    chosen = np.zeros(len(labels), bool)
    chosen[order[np.argsort(rank[order], kind="stable")[:count]]] = True
    # The stubs do not know that the functions get the parts of a pair as two arguments
    marked: Any = tf.data.Dataset.zip(source.items, tf.data.Dataset.from_tensor_slices(chosen))
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
