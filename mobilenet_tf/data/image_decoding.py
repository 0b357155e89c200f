"""Decoding in tf.data: any image that `images` reads becomes RGB uint8, a JPEG in part if that is all one needs."""

from __future__ import annotations

import contextlib
import io
import re
import threading

import numpy as np
import tensorflow as tf

from mobilenet_tf.config import Rendering
from mobilenet_tf.data.images import load_image, orientation, render

LARGE = 2**24  # pixels
_LARGE_IMAGES = threading.BoundedSemaphore(4)  # are decoded by Pillow at a time: 48 megapixels take 400 MB
ONE_PIXEL = np.array([0, 0, 1, 1], np.int32)
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # in a scan, all but stuffing, fill bytes and restart markers


def normalize(data: bytes, rendering: Rendering = Rendering()) -> tuple[bytes, tuple[int, int]]:  # noqa: B008
    """Bytes of an image file -> (bytes that `decode` takes, (height, width) with EXIF applied).

    A plain JPEG (RGB or gray, not turned by EXIF, whole) stays as it is, so that TensorFlow decodes it, or only a part
    of it; everything else is decoded here by Pillow and handed on as an uncompressed BMP.
    Raises UnreadableImageError as `images.load_image` does.
    """
    bmp = io.BytesIO()
    with load_image(io.BytesIO(data)) as image:
        if _is_plain_jpeg(image, data):
            return data, (image.height, image.width)
        with _LARGE_IMAGES if image.width * image.height > LARGE else contextlib.nullcontext():
            rgb = render(image, rendering)
            rgb.save(bmp, "BMP")
    return bmp.getvalue(), (rgb.height, rgb.width)


def _is_plain_jpeg(image, data):
    # Only what TensorFlow decodes without an error, for an error inside tf.data ends the run: anything unusual is left
    # to Pillow, which decodes it or gives the reason.
    return (
        image.format in ("JPEG", "MPO")
        and image.mode in ("RGB", "L")
        and orientation(image) == 1
        and data.endswith(b"\xff\xd9")  # EOI: not truncated
        and ("progressive" in image.info or _ends_at_first_marker(data, image.fp.tell()))
        and _first_row_decodes(data)
    )


def _ends_at_first_marker(data: bytes, start: int) -> bool:
    """Whether the first marker from `start` on, where the scan begins, is the last thing in the data."""
    marker = MARKER.search(data, start)
    assert marker is not None  # the data ends with one
    return marker.end() == len(data)


def _first_row_decodes(data):
    # Finds broken tables in 0.2 ms; in a progressive JPEG it goes through all scans.
    try:
        tf.raw_ops.DecodeAndCropJpeg(contents=data, crop_window=ONE_PIXEL, ratio=8)
    except tf.errors.InvalidArgumentError:
        return False
    return True


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Bytes from `normalize` -> uint8 [H, W, 3] RGB. Works in tf.data."""
    image = tf.cond(
        is_jpeg(encoded),
        lambda: tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_bmp(encoded, channels=3),
    )
    return tf.ensure_shape(image, [None, None, 3])


def decode_crop(encoded: tf.Tensor, window: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes a part of an image that is to be shrunk to `size` (H, W): a JPEG at 1/2, 1/4 or 1/8 while that is larger.

    window: int32 [4], (top, left, height, width) in pixels of the whole image.
    Returns uint8 [h, w, 3] and the window it shows, which scaling cuts to a multiple of 1, 2, 4 or 8 pixels.
    """
    whole = tf.math.log(tf.reduce_min(window[2:] / size)) / tf.math.log(tf.constant(2.0, tf.float64))
    power = tf.where(is_jpeg(encoded), tf.clip_by_value(tf.cast(tf.floor(whole), tf.int32), 0, 3), 0)
    scaled = tf.bitwise.right_shift(window, power)

    def jpeg(ratio):
        return lambda: tf.io.decode_and_crop_jpeg(encoded, scaled, channels=3, ratio=ratio, dct_method="INTEGER_FAST")

    def bmp():
        return crop(tf.io.decode_bmp(encoded, channels=3), window)

    branch = tf.where(is_jpeg(encoded), power, 4)
    image = tf.switch_case(branch, [*map(jpeg, (1, 2, 4, 8)), bmp])
    return tf.ensure_shape(image, [None, None, 3]), tf.bitwise.left_shift(scaled, power)


def crop(image: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """The part of [H, W, ...] in `window` int32 [4]: top, left, height, width."""
    return image[window[0] : window[0] + window[2], window[1] : window[1] + window[3]]


def is_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Whether bytes from `normalize` are a JPEG."""
    return tf.strings.substr(encoded, 0, 2) == b"\xff\xd8"
