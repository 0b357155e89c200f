"""What `transforms.resize`, `place` and `shown_size` do to a picture in evaluation, in NumPy. No TensorFlow here.

`predict` starts fast because of it; a test holds both to the same numbers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

GREY = 127.5  # of the image where there is none


def resize(image: np.ndarray, size: tuple[int, int], crop_fraction: float | None = None) -> np.ndarray:
    """Image [h, w, 3] -> float32 [*size, 3]: all of it stretched to `size` (H, W), or its central part.

    With `crop_fraction` the result is what resizing the shorter side to size / crop_fraction and cutting out the centre
    gives.
    """
    if crop_fraction is not None:
        whole, target = np.array(image.shape[:2]), np.array(size, np.float32)
        scale = (whole.astype(np.float32) / target).min()
        height, width = np.round(target * scale * np.float32(crop_fraction)).astype(int).clip(1, whole)
        top, left = (whole - (height, width)) // 2
        image = image[top : top + height, left : left + width]
    return scale_to(image, size)


def place(image: np.ndarray, size: tuple[int, int], resize: str = "fit") -> np.ndarray:
    """Image [h, w, 3] -> float32 [*size, 3] with all of it at the top left, in its `shown_size`; the rest is grey."""
    rows, columns = shown_size(resize, size, image.shape[:2])
    placed = np.full((*size, 3), GREY, np.float32)
    placed[:rows, :columns] = scale_to(image, (rows, columns))
    return placed


def shown_size(resize: str, size: tuple[int, int], whole: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) at which `place` shows an image of (height, width) `whole` in `size`.

    resize: "stretch" (all of `size`), "fit" (as much as the shape allows) or "pad" (as it is, unless it is larger).
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
    """[h, w, C] -> float32 [*size, C], bilinear with half-pixel centres; shrunk by more than 2, with a wider filter."""
    return bilinear(image, size, max(have / want for have, want in zip(image.shape[:2], size, strict=True)) > 2)


def bilinear(image: np.ndarray, size: tuple[int, int], antialias: bool = False) -> np.ndarray:
    """[h, w, C] -> float32 [*size, C] as `tf.image.resize` computes it."""
    return np.concatenate(list(bands(image, size, antialias)))


def bands(image: np.ndarray, size: tuple[int, int], antialias: bool = False, rows: int = 32) -> Iterator[np.ndarray]:
    """The rows of `bilinear`, 32 at a time: a photograph's logits would take gigabytes at once."""
    places, weights = _taps(image.shape[0], size[0], antialias)
    columns = _taps(image.shape[1], size[1], antialias)
    for start in range(0, size[0], rows):
        band = slice(start, start + rows)
        yield _line_up(_line_up(image, 0, places[:, band], weights[:, band]), 1, *columns)


def _line_up(image, axis, places, weights):
    """The sum over k of the pixels at places[k] along an axis times weights[k]."""
    shape = [-1 if i == axis else 1 for i in range(image.ndim)]
    total = image.take(places[0], axis) * weights[0].reshape(shape)
    for place, weight in zip(places[1:], weights[1:], strict=True):
        total += image.take(place, axis) * weight.reshape(shape)
    return total


def _taps(have: int, want: int, antialias: bool) -> tuple[np.ndarray, np.ndarray]:
    """What a line of `have` pixels gives to each of `want`: places int [K, want] and weights float32 [K, want].

    The weights are a triangle around the pixel's centre that ends at the next pixel's: of the line, or antialiased of
    the result where that is coarser. In float32 as TensorFlow's: in float64 a pixel would differ by up to 0.01.
    """
    sides = np.float32(have), np.float32(want)
    scale = 1 / (sides[1] / sides[0]) if antialias else sides[0] / sides[1]  # its two kernels round so
    width = max(scale, np.float32(1)) if antialias else np.float32(1)
    centre = (np.arange(want, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    places = np.ceil(centre - width).astype(int) + np.arange(int(2 * width) + 1)[:, None]
    weights = np.maximum(0, 1 - np.abs(places.astype(np.float32) - centre) / width)
    weights[(places < 0) | (places >= have)] = 0
    used = weights.any(1)
    return places[used].clip(0, have - 1), (weights / weights.sum(0))[used]
