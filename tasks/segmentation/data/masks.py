"""Masks: stored values become class ids and 255, and every value that stands for no class is an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image

from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.utils.errors import UserError

UNKNOWN = -1  # in tables: a value that no mask may hold


def checked_mask(read_mask: Callable, name: tf.Tensor, key: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """The mask uint8 [H, W] of an image of `size` (H, W; [0, 0]: unreadable). UserErrors come out of tf.data."""

    def fetch(name, key, size):
        # strings are bytes in a graph, arrays of no dimensions in eager mode
        name, key = (
            value.item() if np.ndim(value) == 0 and not isinstance(value, bytes) else value for value in (name, key)
        )
        if not size[0]:  # the image is skipped
            return np.full((4, 4), IGNORE, np.uint8), ""
        try:
            mask = read_mask(key.decode() if isinstance(key, bytes) else key)
        except UserError as error:
            return np.zeros((1, 1), np.uint8), f"UserError: {error}"
        if mask.shape != tuple(size):
            (height, width), (rows, columns) = size, mask.shape
            message = f"the mask of {name.decode()} must be of its size, {width}x{height}"
            return mask, f"UserError: {message}. Received: {columns}x{rows}"
        return mask, ""

    mask, error = tf.numpy_function(fetch, [name, key, size], [tf.uint8, tf.string])
    with tf.control_dependencies([tf.debugging.Assert(error == b"", [error])]):
        return tf.ensure_shape(tf.identity(mask), [None, None])


@dataclass(frozen=True)
class MaskFiles:
    """Reads mask files: index and palette PNGs as their indices, color images by `colors`.

    table: int16 [256], stored value -> class id or 255; UNKNOWN for a value that is an error.
    colors: {(red, green, blue): class id or 255}, for masks that are color images.
    """

    table: np.ndarray
    colors: Mapping[tuple[int, int, int], int] | None = None

    def __call__(self, path: str) -> np.ndarray:
        """The mask in a file, uint8 [H, W]. Raises UserError where it cannot be read or a value stands for no class."""
        try:
            with Image.open(path) as image:
                if self.colors is not None:
                    return _from_colors(np.asarray(image.convert("RGB")), self.colors, path)
                if image.mode not in ("L", "P", "1"):
                    wanted = "a mask of one channel, or data.mask_colors must name its colors"
                    raise UserError(f"{path} must be {wanted}. Received: {image.mode}")
                stored = np.asarray(image, np.uint8)
        except OSError as error:
            raise UserError(f"{path} must be a mask that can be read. Received: {error.strerror or error}") from None
        return through(self.table, stored, path)


def _from_colors(image: np.ndarray, colors: Mapping[tuple[int, int, int], int], path: str) -> np.ndarray:
    """The class ids of an RGB mask [H, W, 3]; `path` is what an error calls it."""
    packed = image.astype(np.int32) @ [1 << 16, 1 << 8, 1]
    keys = np.array([(r << 16) + (g << 8) + b for r, g, b in colors])
    order = np.argsort(keys)
    nearest = order[np.searchsorted(keys, packed, sorter=order).clip(max=len(keys) - 1)]
    wrong = keys[nearest] != packed
    if wrong.any():
        values = [f"#{value:06x}" for value in np.unique(packed[wrong])]
        raise UserError(f"{path} must hold the colors of data.mask_colors only. Received: {_few(values)}")
    return np.array(list(colors.values()), np.uint8)[nearest]


def through(table: np.ndarray, stored: np.ndarray, name: str) -> np.ndarray:
    """The class ids of stored values. Raises UserError for a value that stands for none, saying whose (`name`)."""
    mask = table[stored]
    if mask.min(initial=0) == UNKNOWN:
        allowed = _ranges(np.flatnonzero(table != UNKNOWN))
        wrong = _few(np.unique(stored[mask == UNKNOWN]))
        raise UserError(f"{name} must hold the values {allowed} only. Received: {wrong}")
    return mask.astype(np.uint8)


def identity_table(classes: int) -> np.ndarray:
    """The table of masks that hold class ids and 255."""
    table = empty_table()
    table[:classes] = np.arange(classes)
    return table


def empty_table() -> np.ndarray:
    """The table of masks that hold 255 alone, int16 [256]: every other value is an error until it is given a class."""
    table = np.full(256, UNKNOWN, np.int16)
    table[IGNORE] = IGNORE
    return table


def _few(values) -> str:
    return ", ".join(str(value) for value in values[:6]) + (", …" if len(values) > 6 else "")


def _ranges(values: np.ndarray) -> str:
    """[0, 1, 2, 255] -> "0..2, 255"."""
    parts = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{part[0]}..{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)
