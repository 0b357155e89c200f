"""Whether a model says different things of different images: the first thing to know of one, and cheap to look at."""

from __future__ import annotations

from typing import Any

import numpy as np

LEAST = 0.01  # a model whose outputs spread less answers alike: cosines over 0.9999, logits that differ by a hundredth
VALUES = 4096  # looked at of each output


class Spread:
    """How far raw outputs [N, ...] differ from image to image, in units of their own size, over any number of batches.

    The root mean square, over all outputs, of a value's deviation from its mean over the images, divided by the root
    mean square of the values: 0 is not at all, 1 has no mean in common. Outputs of other types than floating ones do
    not count; of large ones, evenly spaced values do.
    """

    def __init__(self):
        self.count, self._sums, self._squares = 0, None, None

    def update(self, raw: Any) -> None:
        """Takes the outputs of a batch: an array, or a list or a dict of arrays."""
        values = np.concatenate([_some(value) for value in leaves(raw)], axis=1)
        if self._sums is None:
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
        """Whether all images, two or more, have got the same answer."""
        return self.value is not None and self.value < LEAST


def spread(raw: Any) -> float:
    """The spread of one batch of raw outputs; 0 where there is nothing to compare."""
    result = Spread()
    result.update(raw)
    return result.value or 0.0


def leaves(raw: Any) -> list[np.ndarray]:
    """The arrays of raw outputs, those of a dict in the order of their names."""
    if isinstance(raw, dict):
        return [np.asarray(raw[key]) for key in sorted(raw)]
    return [np.asarray(value) for value in raw] if isinstance(raw, list | tuple) else [np.asarray(raw)]


def _some(value: np.ndarray) -> np.ndarray:
    """float64 [N, values] of an output, without columns where it is not of a floating type."""
    flat = value.reshape(len(value), -1) if value.dtype.kind == "f" else np.zeros((len(value), 0))
    return flat[:, :: -(-flat.shape[1] // VALUES) or 1].astype(np.float64)


def count(raw: Any) -> int:
    """The number of images that raw outputs are of."""
    return len(leaves(raw)[0])
