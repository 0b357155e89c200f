"""Masks: stored values become class ids and 255, and every value that stands for no class is an error."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from mobilenet_tf.data import images
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation.config import UnknownValues
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError, reason_of

Color = tuple[int, int, int]

UNKNOWN = -1  # in tables: a value that no mask may hold
EXTENSIONS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jpg", ".jpeg")  # of masks, the surest first
LOSSY = (".jpg", ".jpeg")
FORMATS = ("PNG", "TIFF", "BMP", "GIF", "WEBP", "JPEG", "PPM")
DEPTHS = {"1": 255, "L;1": 255, "L;2": 85, "L;4": 17}  # what Pillow multiplies gray of so few bits by
FEW = 6  # values that a message lists
TABLE_HINT = "; data.values or the table may name them; data.unknown_values=nearest reads soft edges and JPEG"


def checked_mask(
    read_mask: Callable, name: tf.Tensor, key: tf.Tensor, size: tf.Tensor, as_stored: bool = False
) -> tf.Tensor:
    """The mask uint8 [H, W] of an image of `size` (H, W; [0, 0]: unreadable). UserErrors come out of tf.data.

    as_stored: as `fitted` has it.
    """

    def fetch(name, key, size):
        # strings are bytes in a graph, arrays of no dimensions in eager mode
        name, key = (
            value.item() if np.ndim(value) == 0 and not isinstance(value, bytes) else value for value in (name, key)
        )
        if not size[0]:  # the image is skipped
            return np.full((4, 4), IGNORE, np.uint8), ""
        try:
            mask = read_mask(os.fsdecode(key) if isinstance(key, bytes) else key)
            return fitted(mask, os.fsdecode(name), (int(size[0]), int(size[1])), as_stored), ""
        except UserError as error:
            return np.zeros((1, 1), np.uint8), f"UserError: {readable(error)}"  # one line, as `user_errors` reads it

    mask, error = tf.numpy_function(fetch, [name, key, size], [tf.uint8, tf.string])
    with tf.control_dependencies([tf.debugging.Assert(error == b"", [error])]):
        return tf.ensure_shape(tf.identity(mask), [None, None])


def fitted(mask: np.ndarray, image: str | Path, size: tuple[int, int], as_stored: bool = False) -> np.ndarray:
    """The mask of an image of this displayed size (H, W); turned by the image's EXIF orientation where it needs that.

    as_stored: what masks are taken for whose size does not tell: that of the image as it is stored, or as it is shown.
    Raises UserError where it is of another size.
    """
    if mask.shape == size and not as_stored:
        return mask
    orientation = own_orientation(image)
    is_turned = orientation in images.TURNED and size[0] != size[1]  # then its size tells
    if mask.shape == (size[::-1] if is_turned else size):
        turn = images.TRANSPOSITIONS.get(orientation)
        return mask if turn is None else np.asarray(Image.fromarray(mask).transpose(turn))
    if mask.shape == size:
        return mask
    wanted = f"{size[1]}x{size[0]}"
    raise UserError(f"the mask of {image} must be of its size, {wanted}. Received: {mask.shape[1]}x{mask.shape[0]}")


def own_orientation(path: str | Path) -> int:
    """The EXIF orientation of an image file; 1 where it has none, or is none."""
    try:
        with Image.open(path) as image:
            return images.orientation(image)
    except (OSError, ValueError):
        return 1


@dataclass(frozen=True)
class MaskFiles:
    """Reads mask files: gray and palette images as their values, color images by their colors.

    table: int16 [n], stored value -> class id or 255; UNKNOWN for a value that is an error; None: every image is read
        by its colors.
    colors: {(red, green, blue): class id or 255}; None: masks must be of one channel.
    unknown: what a pixel becomes that stands for no class. hint: what the message of an error advises.
    """

    table: np.ndarray | None
    colors: Mapping[Color, int] | None = None
    unknown: UnknownValues = "error"
    hint: str = TABLE_HINT

    def __call__(self, path: str) -> np.ndarray:
        """The mask in a file, uint8 [H, W]. Raises UserError where it cannot be read or a value stands for no class."""
        with opened(path) as image:
            if self.table is None:
                return from_colors(rgb(image), self.colors or {}, path, self.unknown)
            depth, is_spread = DEPTHS.get(_raw_mode(image), 1), image.mode != "1"
            stored = _one_channel(image, path)
            if stored.ndim == 3:
                if self.colors is None:
                    found = _few(_packed(stored), lambda value: f"#{value:06x}")
                    wanted = "a mask of one channel, or data.mask_colors must name its colors"
                    raise UserError(f"{path} must be {wanted}. Received: {image.mode} with {found}")
                return from_colors(stored, self.colors, path, self.unknown)
        if depth > 1:
            stored = self._of_few_bits(stored // depth if is_spread else stored, depth)
        return through(self.table, stored, path, self.unknown, self.hint)

    def _of_few_bits(self, stored: np.ndarray, depth: int) -> np.ndarray:
        """Values of 1, 2 or 4 bits as they are stored; or spread over 0..255, where only those are known."""
        assert self.table is not None
        values = np.unique(stored).astype(int)
        is_known = self.table != UNKNOWN
        return stored * np.uint8(depth) if not is_known[values].all() and is_known[values * depth].all() else stored


def opened(path: str) -> Image.Image:
    """The image in a mask file, decoded, with its own orientation applied."""
    try:
        image = Image.open(io.BytesIO(files.read_bytes(path, images.MAX_BYTES)), formats=FORMATS)
        if image.width * image.height > images.MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} pixels")
        raw_mode = _raw_mode(image)
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
        image.info["raw mode"] = raw_mode
        return image
    except Exception as error:  # Pillow's plugins raise nearly any exception on damaged files
        reason = getattr(error, "strerror", None) or reason_of(error)
        if isinstance(error, Image.UnidentifiedImageError):
            reason = f"no {', '.join(FORMATS[:-2])} or JPEG image"
        raise UserError(f"{readable(path)} must be a mask that can be read. Received: {reason}") from None


def _raw_mode(image: Image.Image) -> str:
    """How a PNG file stores its pixels, such as "L;2": gray of two bits; known before they are decoded."""
    if image.mode == "1" or "raw mode" in image.info:
        return image.info.get("raw mode", "1")
    tiles = getattr(image, "tile", [])  # (decoder, box, offset, arguments); a PNG's argument is its raw mode
    arguments = tiles[0][3] if image.format == "PNG" and tiles else None
    return arguments if isinstance(arguments, str) else ""


def _one_channel(image: Image.Image, path: str) -> np.ndarray:
    """The stored values [H, W]; of a color image whose channels differ, its colors [H, W, 3]."""
    if image.mode in ("L", "P", "1") or image.mode.startswith("I"):
        return np.asarray(image, np.uint8) if image.mode in ("L", "P", "1") else np.asarray(image).astype(np.int64)
    if image.mode == "F":
        values = np.asarray(image)
        whole = np.where(np.isfinite(values), values, -1).astype(np.int64)
        if (whole != values).any():
            wrong = np.unique(values[whole != values])[:FEW]
            raise UserError(f"{path} must hold whole numbers. Received: {', '.join(f'{value:g}' for value in wrong)}")
        return whole
    colors = rgb(image)
    return colors[..., 0] if (colors == colors[..., :1]).all() else colors


def rgb(image: Image.Image) -> np.ndarray:
    """The colors [H, W, 3]. Where only the alpha channel says anything it is the mask; else what is clear is black."""
    if image.mode == "P":  # a clear entry of a palette has a color of its own
        return np.asarray(image.convert("RGB"))
    if not image.mode.endswith(("A", "a")):
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image.convert("RGBA"))
    colors, alpha = pixels[..., :3], pixels[..., 3:]
    if (alpha == alpha[0, 0]).all():
        return colors
    if (colors == colors[0, 0]).all():
        return np.repeat(alpha, 3, 2)
    return np.where(alpha > 0, colors, 0).astype(np.uint8)


def from_colors(image: np.ndarray, colors: Mapping[Color, int], path: str, unknown: UnknownValues) -> np.ndarray:
    """The class ids of an RGB mask [H, W, 3]; `path` is what an error calls it."""
    packed = _packed(image)
    keys = np.array([(r << 16) + (g << 8) + b for r, g, b in colors])
    ids = np.array(list(colors.values()), np.uint8)
    order = np.argsort(keys)
    found = order[np.searchsorted(keys, packed, sorter=order).clip(max=len(keys) - 1)]
    mask, wrong = ids[found], keys[found] != packed
    if not wrong.any():
        return mask
    if unknown == "error":
        received = _few(packed[wrong], lambda value: f"#{value:06x}")
        received += f"; {wrong.mean():.2%} of its pixels have others{TABLE_HINT}"
        raise UserError(
            f"{path} must hold the colors of the table (data.mask_colors, data.values) only. Received: {received}"
        )
    if unknown == "ignore":
        mask[wrong] = IGNORE
        return mask
    others, inverse = np.unique(packed[wrong], return_inverse=True)
    table = np.array(list(colors), np.int32)
    parts = np.stack([others >> 16, others >> 8 & 255, others & 255], 1).astype(np.int32)
    nearest = np.concatenate(
        [((part[:, None] - table) ** 2).sum(2).argmin(1) for part in np.array_split(parts, 1 + len(parts) // 4096)]
    )
    mask[wrong] = ids[nearest][inverse.ravel()]
    return mask


def _packed(image: np.ndarray) -> np.ndarray:
    return image.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def through(
    table: np.ndarray, stored: np.ndarray, name: str, unknown: UnknownValues = "error", hint: str = ""
) -> np.ndarray:
    """The class ids of stored values. Raises UserError for a value that stands for none, saying whose (`name`).

    hint: what the message advises.
    """
    mask = table[np.clip(stored, 0, len(table) - 1)]
    wrong = (mask == UNKNOWN) | (stored < 0) | (stored >= len(table))
    if not wrong.any():
        return mask.astype(np.uint8)
    known = np.flatnonzero(table != UNKNOWN)
    if unknown == "error":
        received = f"{_few(stored[wrong])}; {wrong.mean():.2%} of its pixels have others{hint}"
        raise UserError(f"{name} must hold the values {_ranges(known)} only. Received: {received}")
    if unknown == "ignore":
        mask[wrong] = IGNORE
        return mask.astype(np.uint8)
    middles = (known[1:] + known[:-1]) / 2
    mask[wrong] = table[known[np.searchsorted(middles, stored[wrong])]]
    return mask.astype(np.uint8)


def identity_table(classes: int) -> np.ndarray:
    """The table of masks that hold class ids and 255."""
    return value_table({value: value for value in range(classes)})


def empty_table() -> np.ndarray:
    """The table of masks that hold 255 alone, int16 [256]: every other value is an error until it is given a class."""
    return value_table({})


def value_table(values: Mapping[int, int]) -> np.ndarray:
    """The table of {stored value: class id}, int16 [256 or more]; 255 is ignored unless it has a class."""
    table = np.full(max([255, *values]) + 1, UNKNOWN, np.int16)
    table[IGNORE] = IGNORE
    table[list(values)] = list(values.values())
    return table


def _few(values: np.ndarray, written: Callable = str) -> str:
    """The commonest values with their pixels."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:FEW]
    text = ", ".join(f"{written(found[i])} ({counts[i]} pixels)" for i in order)
    return text + (f", … {len(found)} in all" if len(found) > FEW else "")


def _ranges(values: Iterable[int]) -> str:
    """[0, 1, 2, 255] -> "0..2, 255"."""
    values = np.asarray(values)
    parts = np.split(values, np.flatnonzero(np.diff(values) > 1) + 1)
    return ", ".join(f"{part[0]}..{part[-1]}" if len(part) > 1 else f"{part[0]}" for part in parts)
