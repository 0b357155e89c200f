"""Pixels of any kind become 8-bit RGB: transparency, 16 bits a channel, floats, CMYK, Lab. No TensorFlow."""

from __future__ import annotations

import io
import sys
import warnings
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile

from mobilenet_tf.config import Rendering

DEPTHS = (8, 10, 12, 14, 16)  # bits of the sensors and files there are
BITS_PER_SAMPLE, MAX_SAMPLE_VALUE = 258, 281  # TIFF tags
# Pillow decodes 16-bit color to its upper bytes; read in the other order, the lower ones come out
OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


def to_rgb(image: ImageFile, rendering: Rendering) -> Image.Image:
    """An image of any mode -> RGB, as it is stored: the EXIF orientation is not applied.

    Transparent parts show `rendering.background`. Values of more than 8 bits are scaled by `rendering.bit_depth`, or
    else by the depth that the file gives, or else by the smallest of 8, 10, 12, 14 and 16 bits that holds them all;
    floats within 0..1 by 255; anything else, such as negative values, from the image's lowest to its highest value.
    """
    eight = _to_8_bit_mode(image, rendering)
    if eight.has_transparency_data:
        eight = eight.convert("RGBA")
        canvas = Image.new("RGB", eight.size, rendering.background)
        canvas.paste(eight, mask=eight)
        return canvas
    if eight.mode == "LAB":
        return _from_lab(eight)
    return eight if eight.mode == "RGB" else eight.convert("RGB")


def _to_8_bit_mode(image: ImageFile, rendering: Rendering) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _from_deep_gray(image, rendering)
    if _raw_mode(image).startswith(("RGB;16", "RGBA;16")):
        return _from_deep_color(image, rendering)
    if _raw_mode(image) == "LA;16B":
        return _from_deep_gray_with_alpha(image, rendering)
    image.load()
    return image


def _from_deep_gray(image: Image.Image, rendering: Rendering) -> Image.Image:
    values = np.asarray(image)
    gray = Image.fromarray(_to_8_bits(values, rendering, _declared_depth(image)))
    transparent = image.info.get("transparency")  # of a 16-bit PNG: one of its values
    if isinstance(transparent, int):
        gray.putalpha(Image.fromarray((values != transparent).astype(np.uint8) * 255))
    return gray


def _to_8_bits(values: np.ndarray, rendering: Rendering, declared: int | None) -> np.ndarray:
    """Numbers [H, W] -> uint8 [H, W]; see `to_rgb`."""
    finite = values if values.dtype.kind != "f" else values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    whole = values.dtype.kind != "f" or bool((finite == np.rint(finite)).all())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        scaled = np.nan_to_num(values) * 255 + 0.5
    elif low >= 0 and (rendering.bit_depth or (whole and high < 1 << DEPTHS[-1])):
        bits = _depth(high, rendering, declared)
        scaled = np.nan_to_num(values) * 2.0 ** (8 - bits) if values.dtype.kind == "f" else values >> max(0, bits - 8)
    else:
        _tell_of_range()
        values = np.nan_to_num(values.astype(np.float32), nan=low, posinf=high, neginf=low)
        scaled = (values - low) * (255 / max(high - low, np.finfo(np.float32).tiny)) + 0.5
    return scaled.clip(0, 255).astype(np.uint8)


def _from_deep_gray_with_alpha(image: ImageFile, rendering: Rendering) -> Image.Image:
    image.tile = [tile._replace(args=_with_raw_mode(tile.args, "RGBA")) for tile in image.tile]  # the bytes as they are
    upper, lower, alpha, _ = np.moveaxis(np.asarray(image), -1, 0)
    gray = _to_8_bits(upper.astype(np.uint16) << 8 | lower, rendering, None)
    return Image.fromarray(np.stack([gray, alpha], -1))


def _from_deep_color(image: ImageFile, rendering: Rendering) -> Image.Image:
    """16 bits a channel, of which Pillow keeps the upper 8: the lower ones are read as well where they are needed."""
    again, other_order = _opened_again(image), _other_order(_raw_mode(image))
    declared = _declared_depth(image)
    image.load()
    highest = np.max(image.getextrema()[:3])
    if highest >= 1 << (DEPTHS[-2] - 8) and (rendering.bit_depth or DEPTHS[-1]) == DEPTHS[-1]:
        eight, shift = image, 8
    else:
        again.tile = [tile._replace(args=_with_raw_mode(tile.args, other_order)) for tile in again.tile]
        values = np.asarray(image).astype(np.uint16) << 8 | np.asarray(again)
        shift = max(0, _depth(int(values[..., :3].max()), rendering, declared) - 8)
        values[..., :3] >>= shift
        values[..., 3:] >>= 8
        eight = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:  # a color of 16 bits, as the pixels were
        eight.info["transparency"] = tuple(min(255, value >> shift) for value in image.info["transparency"])
    return eight


def _raw_mode(image: ImageFile) -> str:
    """How the file stores its pixels, as Pillow calls it, while the image is not loaded yet; else nothing."""
    args = image.tile[0].args if image.tile else ""
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _with_raw_mode(args, raw_mode):
    return raw_mode if isinstance(args, str) else (raw_mode, *args[1:])


def _other_order(raw_mode: str) -> str:
    return raw_mode[:-1] + OTHER_ORDER[raw_mode[-1]]


def _opened_again(image: ImageFile) -> ImageFile:
    file: Any = image.fp  # open until the image is loaded
    position = file.tell()
    file.seek(0)
    again = Image.open(io.BytesIO(file.read()), formats=[str(image.format)])
    file.seek(position)
    return again


def _declared_depth(image: Image.Image) -> int | None:
    """The bits of a TIFF's values by its tags; None where they say no more than that there are 16."""
    tags = getattr(image, "tag_v2", {})
    bits, highest = (np.ravel(tags.get(tag, 0)).max() for tag in (BITS_PER_SAMPLE, MAX_SAMPLE_VALUE))
    if 8 < bits < DEPTHS[-1]:
        return int(bits)
    return _smallest_depth(highest) if 255 < highest < 1 << DEPTHS[-1] else None


def _smallest_depth(highest: float) -> int:
    return next(bits for bits in DEPTHS if highest < 1 << bits)


def _depth(highest: float, rendering: Rendering, declared: int | None) -> int:
    if rendering.bit_depth:
        return rendering.bit_depth
    bits = _smallest_depth(highest)
    if declared:
        return max(bits, declared)
    if highest and bits < DEPTHS[-1]:
        _tell_of_depth(bits)
    return bits


@cache  # once a run, not once an image
def _tell_of_depth(bits: int) -> None:
    warnings.warn(
        f"images of 16 bits whose values fit into {bits} are scaled as {bits}-bit ones; data.bit_depth sets the depth "
        "of all of them",
        stacklevel=2,
    )


@cache
def _tell_of_range() -> None:
    warnings.warn(
        "images of fractions, or of values below 0 or over 65,535, are scaled from their lowest to their highest value",
        stacklevel=2,
    )


def _from_lab(image: Image.Image) -> Image.Image:
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    rgb = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert rgb is not None  # it is changed in place only where that is asked for
    return rgb
