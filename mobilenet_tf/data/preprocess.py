"""What `transforms.resize`, `letterbox` and `resized_shape` do to an image in evaluation, in NumPy. No TensorFlow here.

`predict` starts fast because of it; a test holds both to the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

GRAY = 127.5  # fills the parts of the input that the image does not cover


def resize(image: np.ndarray, size: tuple[int, int], crop_fraction: float | None = None) -> np.ndarray:
    """Image [h, w, 3] -> float32 [*size, 3]: all of it stretched to `size` (H, W), or its central part.

    With `crop_fraction` the result is what resizing the shorter side to size / crop_fraction and cutting out the center
    gives.
    """
    if crop_fraction is not None:
        whole, target = np.array(image.shape[:2]), np.array(size, np.float32)
        scale = (whole.astype(np.float32) / target).min()
        height, width = np.round(target * scale * np.float32(crop_fraction)).astype(int).clip(1, whole)
        top, left = (whole - (height, width)) // 2
        image = image[top : top + height, left : left + width]
    return scale_to(image, size)


def letterbox(image: np.ndarray, size: tuple[int, int], resize: str = "letterbox") -> np.ndarray:
    """Image [h, w, 3] -> float32 [*size, 3]: all of it at the top left, in its `resized_shape`; the rest is gray."""
    rows, columns = resized_shape(resize, size, image.shape[:2])
    canvas = np.full((*size, 3), GRAY, np.float32)
    canvas[:rows, :columns] = scale_to(image, (rows, columns))
    return canvas


def resized_shape(resize: str, size: tuple[int, int], whole: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) at which `letterbox` shows an image of (height, width) `whole` in `size`.

    resize: "stretch" (all of `size`), "letterbox" (as much as the shape allows) or "pad" (as it is, unless it is
    larger).
    """
    (rows, columns), (height, width) = map(int, size), map(int, whole)
    if resize == "stretch":
        return rows, columns
    if resize == "pad" and height <= rows and width <= columns:
        return height, width
    if rows * width <= columns * height:  # compares the shapes without division
        return rows, max(1, (2 * width * rows + height) // (2 * height))
    return max(1, (2 * height * columns + width) // (2 * width)), columns


def scale_to(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[h, w, C] -> float32 [*size, C], bilinear with half-pixel centers; shrunk by more than 2, with a wider filter."""
    return bilinear(image, size, max(have / want for have, want in zip(image.shape[:2], size, strict=True)) > 2)


def bilinear(image: np.ndarray, size: tuple[int, int], antialias: bool = False) -> np.ndarray:
    """[h, w, C] -> float32 [*size, C] as `tf.image.resize` computes it."""
    return np.concatenate(list(bands(image, size, antialias)))


def bands(image: np.ndarray, size: tuple[int, int], antialias: bool = False, rows: int = 32) -> Iterator[np.ndarray]:
    """The rows of `bilinear`, 32 at a time: a photograph's logits would take gigabytes at once."""
    indices, weights = _taps(image.shape[0], size[0], antialias)
    columns = _taps(image.shape[1], size[1], antialias)
    for start in range(0, size[0], rows):
        band = slice(start, start + rows)
        yield _line_up(_line_up(image, 0, indices[:, band], weights[:, band]), 1, *columns)


def _line_up(image, axis, indices, weights):
    """The sum over k of the pixels at indices[k] along an axis, times weights[k]."""
    shape = [-1 if i == axis else 1 for i in range(image.ndim)]
    total = image.take(indices[0], axis) * weights[0].reshape(shape)
    for index, weight in zip(indices[1:], weights[1:], strict=True):
        total += image.take(index, axis) * weight.reshape(shape)
    return total


def _taps(have: int, want: int, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """Which of a line's `have` pixels make up each of `want`: their indices int [K, want], weights float32 [K, want].

    The weights form a triangle around the pixel's center that ends at the center of the next pixel of the line, or,
    antialiased, of the result where that is coarser. They are float32 as TensorFlow's: in float64 a pixel would differ
    by up to 0.01.
    """
    sides = np.float32(have), np.float32(want)
    scale = 1 / (sides[1] / sides[0]) if antialias else sides[0] / sides[1]  # TensorFlow's two kernels round like this
    width = max(scale, np.float32(1)) if antialias else np.float32(1)
    center = (np.arange(want, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    indices = np.ceil(center - width).astype(int) + np.arange(int(2 * width) + 1)[:, None]
    weights = np.maximum(0, 1 - np.abs(indices.astype(np.float32) - center) / width)
    weights[(indices < 0) | (indices >= have)] = 0
    used = weights.any(1)
    return indices[used].clip(0, have - 1), (weights / weights.sum(0))[used]
