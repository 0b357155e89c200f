"""Features of a frozen backbone, computed once: training a head then costs a head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf.data.source import (
    Batch,
    Source,
    evaluation_batches,
    sampled,
    seed_of_epoch,
    shuffled,
    steps_per_epoch,
)
from mobilenet_tf.utils.progress import track


def split(network: keras.Model) -> tuple[keras.Model, keras.Model]:
    """A network as (trunk: images -> features, head: features -> raw outputs), cut behind its layer "features"."""
    features = network.get_layer("features").output
    return keras.Model(network.input, features, name="trunk"), keras.Model(features, network.output, name="head")


@dataclass(frozen=True)
class Features:
    """One row of features a sample, on disk and mapped into memory, with the samples' other fields."""

    rows: np.ndarray  # [count, ...]
    fields: dict[str, np.ndarray]  # each [count, ...]
    classes: list[str]

    @classmethod
    def compute(cls, trunk: keras.Model, source: Source, transform: Callable, path: Path, batch_size: int) -> Features:
        """Runs every sample of a source through the trunk once and keeps the outputs in the .npy file `path`."""
        rows, collected, count = None, [], 0
        batches = evaluation_batches(source, transform, batch_size=batch_size)
        run = tf.function(lambda images: trunk(images, training=False))
        for batch in track(batches, f"features of {path.stem}", steps_per_epoch(source.count, batch_size)):
            outputs = run(tf.cast(batch["image"], tf.float32)).numpy()
            if rows is None:
                shape = (source.count, *outputs.shape[1:])
                rows = np.lib.format.open_memmap(path, "w+", outputs.dtype, shape)
            rows[count : count + len(outputs)] = outputs
            count += len(outputs)
            collected.append({key: value.numpy() for key, value in batch.items() if key != "image"})
        assert rows is not None  # a source has samples
        fields = {key: np.concatenate([batch[key] for batch in collected]) for key in collected[0]}
        return cls(rows[:count], fields, source.classes)

    def training_batches(
        self, encode: Callable, *, batch_size: int, seed: int, start_epoch: int, sampler: Callable | None = None
    ) -> tf.data.Dataset:
        """Endless batches (features, targets) in the order of `data.source.training_batches` on the images."""
        count = len(self.rows)

        def load(indices):
            features = tf.numpy_function(self.rows.__getitem__, [indices], self.rows.dtype, stateful=False)
            fields = {key: tf.gather(value, indices) for key, value in self.fields.items()}
            return encode(fields | {"image": tf.ensure_shape(features, [None, *self.rows.shape[1:]])})

        def epoch_batches(epoch):
            if sampler:
                indices, _ = sampled(cast(Batch, self.fields), seed_of_epoch(seed, epoch), sampler)
            else:
                indices = shuffled(tf.data.Dataset.range(count), seed_of_epoch(seed, epoch), count)
            return indices.batch(batch_size).map(load)

        epochs = tf.data.Dataset.range(start_epoch, tf.int64.max)
        return epochs.flat_map(epoch_batches).prefetch(tf.data.AUTOTUNE)

    def batches(self, batch_size: int) -> Iterator[dict]:
        """All rows in order, for `evaluate.score`."""
        for start in range(0, len(self.rows), batch_size):
            part = slice(start, start + batch_size)
            yield {key: value[part] for key, value in self.fields.items()} | {"image": self.rows[part]}
