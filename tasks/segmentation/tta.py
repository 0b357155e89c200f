"""Slower and better: predictions averaged over sizes, mirror images and the windows of a large image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_tf.tasks.segmentation.inference import LOGITS
from mobilenet_tf.utils.errors import UserError

Predict = Callable[[np.ndarray], Any]  # images [N, H, W, 3] in 0..255 -> logits or probabilities [N, H, W, C]


def several_views(predict: Predict, scales: Sequence[float] = (1.0,), flip: bool = False) -> Predict:
    """Averages the probabilities of an image at several sizes (1.0: its own) and, with `flip`, of its mirror images.

    `predict` gives logits and takes images of any size, unless the only scale is 1. Source: arXiv:1706.05587, 4.2.
    """

    def averaged(images: np.ndarray) -> np.ndarray:
        size = images.shape[1:3]
        total: Any = 0.0  # then [N, H, W, C]
        for scale, mirrored in product(scales, (False, True) if flip else (False,)):
            view = images[:, :, ::-1] if mirrored else images
            if scale != 1.0:
                view = tf.image.resize(view, [round(side * scale) for side in size], antialias=scale < 1).numpy()
            raw = predict(view)
            logits = tf.image.resize(raw[LOGITS] if isinstance(raw, dict) else raw, size)
            share = tf.nn.softmax(logits).numpy()
            total = total + (share[:, :, ::-1] if mirrored else share)
        return total / (len(scales) * (2 if flip else 1))

    return averaged


def sliding_window(predict: Predict, window: tuple[int, int], overlap: float = 0.25) -> Predict:
    """Predicts a large image window by window; where windows overlap, their logits are averaged.

    Args:
        window: (height, width) in pixels of what `predict` takes.
        overlap: least share of a window that its neighbor sees too.

    Raises UserError for an image smaller than the window.
    """

    def tiled(images: np.ndarray) -> np.ndarray:
        size = images.shape[1:3]
        if any(side < part for side, part in zip(size, window, strict=True)):
            small, needed = (f"{pair[1]}x{pair[0]}" for pair in (size, window))
            raise UserError(f"images must be at least as large as the window, {needed}. Received: {small}")
        total: Any = None  # then [N, H, W, C]
        count = np.zeros((*size, 1), np.float32)
        for top, left in product(*(_starts(side, part, overlap) for side, part in zip(size, window, strict=True))):
            region = (slice(None), slice(top, top + window[0]), slice(left, left + window[1]))
            raw = predict(images[region])
            logits = raw[LOGITS] if isinstance(raw, dict) else raw
            if total is None:
                total = np.zeros((len(images), *size, logits.shape[-1]), np.float32)
            total[region] += logits
            count[region[1:]] += 1
        return total / count

    return tiled


def _starts(side: int, window: int, overlap: float) -> list[int]:
    """Where windows begin: evenly from the first pixel to the last, with at least the overlap."""
    if side == window:
        return [0]
    step = max(1, int(window * (1 - overlap)))
    count = -(-(side - window) // step) + 1
    return [round(i * (side - window) / (count - 1)) for i in range(count)]
