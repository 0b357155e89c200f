"""Measures whether a model gives different outputs for different images, which an untrained model hardly does."""

from __future__ import annotations

from typing import Any

import numpy as np

MIN_SPREAD = 0.01  # below it, outputs count as the same: cosines over 0.9999, logits that differ by a hundredth
MAX_VALUES = 4096  # that are compared of each output


class Spread:
    """How far raw outputs [N, ...] differ from image to image, relative to their own size, over any number of batches.

    The value is the root mean square, over all outputs, of the deviation from the mean over the images, divided by the
    root mean square of the outputs: 0 where all images have the same outputs, 1 where the mean is 0. Only outputs of
    floating types count; of large ones, a sample of evenly spaced values.
    """

    def __init__(self):
        self.count, self._sums, self._squares = 0, np.zeros(0), np.zeros(0)

    def update(self, raw: Any) -> None:
        """Adds the outputs of a batch: an array, or a list or a dict of arrays."""
        values = np.concatenate([_sample(value) for value in leaves(raw)], axis=1)
        if not self.count:
            self._sums, self._squares = np.zeros(values.shape[1]), np.zeros(values.shape[1])
        self.count += len(values)
        self._sums += values.sum(0)
        self._squares += np.square(values).sum(0)

    @property
    def value(self) -> float | None:
        """The number that the class describes; None for fewer than two images, or where outputs are not finite."""
        if self.count < 2 or not np.isfinite(self._squares).all():
            return None
        size = self._squares.sum()
        return float(np.sqrt(np.maximum(size - np.square(self._sums).sum() / self.count, 0) / size)) if size else 0.0

    @property
    def alike(self) -> bool:
        """Whether two images or more have been added and their spread is below MIN_SPREAD."""
        return self.value is not None and self.value < MIN_SPREAD


def spread(raw: Any) -> float:
    """Returns the spread of one batch of raw outputs; 0 where it cannot be measured."""
    result = Spread()
    result.update(raw)
    return result.value or 0.0


def leaves(raw: Any) -> list[np.ndarray]:
    """Returns the arrays of raw outputs; those of a dict come in the order of their names."""
    if isinstance(raw, dict):
        return [np.asarray(raw[key]) for key in sorted(raw)]
    return [np.asarray(value) for value in raw] if isinstance(raw, list | tuple) else [np.asarray(raw)]


def _sample(value: np.ndarray) -> np.ndarray:
    """Returns values of an output as float64 [N, values]; no values where it is not of a floating type."""
    flat = value.reshape(len(value), -1) if value.dtype.kind == "f" else np.zeros((len(value), 0))
    return flat[:, :: -(-flat.shape[1] // MAX_VALUES) or 1].astype(np.float64)


def count(raw: Any) -> int:
    """Returns the number of images that raw outputs belong to."""
    return len(leaves(raw)[0])
