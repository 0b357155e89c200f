"""Reading pictures: any JPEG, PNG, BMP, GIF or WebP becomes RGB uint8 with its EXIF orientation applied. No TensorFlow.

`decoding` does the same for tf.data.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageOps

from mobilenet_tf.utils.errors import UserError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
MIN_SIDE = 4  # px
MAX_PIXELS = 89_478_485  # Pillow's limit against decompression bombs

ORIENTATION = 0x0112  # EXIF tag; 1 is upright
# `opened` checks the size itself and gives its own reason.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


class UnreadableImage(ValueError):
    """The bytes are no image that can be used; the message is the reason."""


def read(path: str | os.PathLike) -> np.ndarray:
    """Reads one image file -> uint8 [H, W, 3] RGB. Raises UserError that names the file and the reason."""
    try:
        with open(path, "rb") as file, opened(file.read()) as image:
            return np.array(upright(image))
    except OSError as error:
        raise UserError(f"{path} must be an image file. Received: {error.strerror}") from None
    except UnreadableImage as error:
        raise UserError(f"{path} must be an image that can be decoded. Received: {error}") from None


@contextlib.contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """The image in these bytes, its pixels still to be decoded; whatever fails in the block is the image's fault.

    Raises UnreadableImage: not an image, truncated, a side under 4 px, more than 89,478,485 pixels.
    """
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            yield image
    except UnreadableImage:
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImage(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from None
    except Image.DecompressionBombError:
        raise UnreadableImage(f"more than {2 * MAX_PIXELS:,} pixels (limit {MAX_PIXELS:,})") from None
    except Exception as error:  # Pillow's plugins raise nearly any exception on damaged files
        raise UnreadableImage(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from None


def _check_size(width, height):
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(f"{width}x{height} pixels, a side under {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width}x{height} pixels, more than {MAX_PIXELS:,}")


def upright(image: Image.Image) -> Image.Image:
    """The image in RGB with its EXIF orientation applied."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # 16 bits a channel: `convert` would clip at 255
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")
