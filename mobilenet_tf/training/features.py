"""Features of a frozen backbone, computed once: training a head then costs a head."""

from __future__ import annotations

import errno
import math
import os
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
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a full disk gives, a quota, and a limit on the size of files


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
        """Runs every sample of a source through the trunk once and keeps the outputs in the .npy file `path`.

        Raises UserError where they do not fit on the disk.
        """
        collected = []
        batches = evaluation_batches(source, transform, batch_size=batch_size)
        run = tf.function(lambda images: trunk(images, training=False))

        def outputs() -> Iterator[np.ndarray]:
            for batch in track(batches, f"features of {path.stem}", steps_per_epoch(source.count, batch_size)):
                yield run(tf.cast(batch["image"], tf.float32)).numpy()
                collected.append({key: value.numpy() for key, value in batch.items() if key != "image"})

        rows = write_rows(path, outputs(), source.count)
        fields = {key: np.concatenate([batch[key] for batch in collected]) for key in collected[0]}
        return cls(rows, fields, source.classes)

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


def write_rows(path: Path, parts: Iterator[np.ndarray], most: int) -> np.ndarray:
    """Writes arrays [N, ...] one after the other to a .npy file and returns all rows, mapped into memory to be read.

    They are written plainly: a process that writes to a map of a full disk is killed.

    Args:
        most: the number of rows that there can be; the file has room for them.

    Raises:
        UserError: they do not fit on the disk.
    """
    first = next(parts)
    shape, count = (most, *first.shape[1:]), len(first)
    size = math.prod(shape) * first.itemsize
    try:
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False, "shape": shape}
            )
            file.flush()
            start = file.tell()
            _reserve(file.fileno(), start + size)
            file.write(np.ascontiguousarray(first).data)
            for part in parts:
                file.write(np.ascontiguousarray(part).data)
                count += len(part)
            file.truncate(start + size)  # of images that could not be read there are no rows
        return np.load(path, mmap_mode="r")[:count]
    except OSError as error:
        path.unlink(missing_ok=True)
        raise UserError(
            f"the features of {most} images, {size / 1e6:.0f} MB, must fit on the disk of {path.parent}; the stage "
            f"needs none with augment: true. Received: {error.strerror or error}"
        ) from None


def _reserve(file: int, size: int) -> None:
    """Takes the disk space of a file at once where the system can: a full disk is told before the computing."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno in FULL:  # others are of file systems that reserve nothing
            raise
