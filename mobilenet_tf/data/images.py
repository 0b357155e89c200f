"""Image files: any JPEG, PNG, BMP, GIF or WebP becomes RGB uint8 with its EXIF orientation applied. No TensorFlow.

`image_decoding` does the same for tf.data.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
MIN_SIDE = 4  # px
MAX_BYTES = 2**29  # of a file
MAX_PIXELS = 89_478_485  # Pillow's limit against decompression bombs

ORIENTATION = 0x0112  # the EXIF tag: 1 for an image that is stored as it is shown
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


class UnreadableImageError(ValueError):
    """The bytes are no image that can be used; the message is the reason."""


def is_image_file(path: str | os.PathLike) -> bool:
    """Whether a file is an image by its suffix, one of EXTENSIONS in any case."""
    return Path(path).suffix.lower() in EXTENSIONS


def files_below(folder: Path) -> list[Path]:
    """The image files in a folder and the folders below it, sorted by path."""
    return sorted(path for path in folder.rglob("*") if is_image_file(path))


def displayed_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) in pixels of an image with its EXIF orientation applied, from its header alone.

    Raises OSError and Pillow's DecompressionBombError where that cannot be read.
    """
    with Image.open(path) as image:
        width, height = image.size
        return (width, height) if orientation(image) in TURNED else (height, width)


def read_bytes(path: str | os.PathLike) -> bytes:
    """The bytes of an image file.

    Raises OSError; UnreadableImageError for a pipe, device or socket, which could block, and for too large a file.
    """
    try:
        return files.read_bytes(path, MAX_BYTES)
    except ValueError as error:
        raise UnreadableImageError(str(error)) from None


def read(path: str | os.PathLike) -> np.ndarray:
    """Reads one image file -> uint8 [H, W, 3] RGB. Raises UserError that names the file and the reason."""
    try:
        with load_image(read_bytes(path)) as image:
            return np.array(apply_exif(image))
    except OSError as error:
        raise UserError(f"{path} must be an image file. Received: {error.strerror}") from None
    except UnreadableImageError as error:
        raise UserError(f"{path} must be an image that can be decoded. Received: {error}") from None


@contextlib.contextmanager
def load_image(data: bytes) -> Iterator[Image.Image]:
    """The image in these bytes, its pixels still to be decoded; whatever fails in the block is the image's fault.

    Raises UnreadableImageError: not an image, truncated, a side under 4 px, more than 89,478,485 pixels.
    """
    if not data:
        raise UnreadableImageError("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_size(*image.size)
            yield image
    except UnreadableImageError:
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImageError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from None
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"more than {2 * MAX_PIXELS:,} pixels (limit {MAX_PIXELS:,})") from None
    except Exception as error:  # Pillow's plugins raise nearly any exception on damaged files
        raise UnreadableImageError(f"damaged: {' '.join(str(error).split()) or type(error).__name__}") from None


def _check_size(width, height):
    if min(width, height) < MIN_SIDE:
        raise UnreadableImageError(f"{width}x{height} pixels, a side under {MIN_SIDE}")
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{width}x{height} pixels, more than {MAX_PIXELS:,}")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of an image, 1 to 8; 1 where there is none."""
    return image.getexif().get(ORIENTATION) or 1


def apply_exif(image: Image.Image) -> Image.Image:
    """The image in RGB with its EXIF orientation applied."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # 16 bits a channel: `convert` would clip at 255
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    return image.convert("RGB")
