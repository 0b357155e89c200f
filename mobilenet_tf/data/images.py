"""Image files: any JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF or HEIC becomes RGB uint8 as it is shown. No TensorFlow.

`image_decoding` does the same for tf.data.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from mobilenet_tf.config import Rendering
from mobilenet_tf.data import image_formats
from mobilenet_tf.data.image_formats import missing_for
from mobilenet_tf.data.pixels import to_rgb
from mobilenet_tf.data.walk import HIDDEN, Folder, count_left_out, walk
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError

EXTENSIONS = (
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp",
)  # fmt: skip
LONGEST_SUFFIX = 12  # what is longer is no suffix, but a sentence after a point
NOTES = (".txt", ".xml", ".json", ".csv", ".yaml", ".yml", ".md", ".cache")  # what lies beside images by custom
MIN_SIDE = 4  # px
BAND = 256  # rows
MAX_BYTES = 2**29  # of a file
MAX_PIXELS = 89_478_485  # Pillow's limit against decompression bombs

ORIENTATION = 0x0112  # the EXIF tag: 1 for an image that is stored as it is shown
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(OSError):
    """The bytes are no image that can be used; the message is the reason."""


def is_image_file(path: str | os.PathLike) -> bool:
    """Whether a file is an image by its suffix, one of EXTENSIONS in any case."""
    return _suffix(path) in EXTENSIONS


def fault_of_name(name: str | os.PathLike) -> str | None:
    """Why a file of this name is no image to be used, for counting; None where its suffix is that of an image."""
    suffix = _suffix(name)
    if suffix in EXTENSIONS:
        return missing_for(suffix)
    return f"{suffix} files" if 0 < len(suffix) <= LONGEST_SUFFIX else "files without a known suffix"


def find_below(folder: Path) -> Folder:
    """What is in a folder and the folders below it: image files, and what is left out."""
    return walk(folder, fault_of_name)


def files_below(folder: Path) -> list[Path]:
    """The image files in a folder and the folders below it, sorted by path; warns of what else lies there.

    Hidden files are left out without a word, and so are notes such as labels, which lie beside images by custom.
    """
    found = find_below(folder)
    left_out = [
        (reason, path) for reason, path in found.all_left_out() if reason != HIDDEN and _suffix(path) not in NOTES
    ]
    if left_out:
        warnings.warn(f"{folder}: left out are {count_left_out(left_out, folder)}", stacklevel=2)
    return found.all_images()


def _suffix(path: str | os.PathLike) -> str:
    return Path(path).suffix.lower()


def displayed_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) in pixels of an image with its EXIF orientation applied, from its header alone.

    Raises OSError; UnreadableImageError as `load_image` does.
    """
    return header(path)[0]


def header(path: str | os.PathLike) -> tuple[tuple[int, int], int]:
    """((height, width) in pixels of an image as it is shown, its EXIF orientation), from its header alone.

    Raises OSError; UnreadableImageError as `load_image` does.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        read_bytes(path)  # gives the reason
    with open(path, "rb") as file, load_image(file) as image:
        width, height = image.size
        turn = orientation(image)
        swapped = image.format != "TIFF" and turn in TURNED  # Pillow swaps those of a TIFF itself
        return (width, height) if swapped else (height, width), turn


def read_bytes(path: str | os.PathLike) -> bytes:
    """The bytes of an image file.

    Raises OSError; UnreadableImageError for a pipe, device or socket, which could block, and for too large a file.
    """
    try:
        return files.read_bytes(Path(path), MAX_BYTES)
    except ValueError as error:
        raise UnreadableImageError(str(error)) from None


def read(path: str | os.PathLike, rendering: Rendering = Rendering()) -> np.ndarray:  # noqa: B008 - immutable
    """Reads one image file -> uint8 [H, W, 3] RGB. Raises UserError that names the file and the reason."""
    try:
        with load_image(io.BytesIO(read_bytes(path))) as image:
            return _to_array(render(image, rendering))
    except UnreadableImageError as error:
        raise UserError(f"{path} must be an image that can be decoded. Received: {error}") from None
    except OSError as error:
        raise UserError(f"{path} must be an image file. Received: {error.strerror or error}") from None


def _to_array(image: Image.Image) -> np.ndarray:
    """np.array(image), a band of rows at a time: the whole image would be in memory three times."""
    array = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, BAND):
        bottom = min(top + BAND, image.height)
        array[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return array


@contextlib.contextmanager
def load_image(file: BinaryIO) -> Iterator[ImageFile]:
    """The image in an open file, its pixels still to be decoded; whatever fails in the block is the image's fault.

    Raises UnreadableImageError: not an image, truncated, a side under 4 px, more than 89,478,485 pixels.
    """
    start = file.read(image_formats.START)
    file.seek(0)
    if not start:
        raise UnreadableImageError("the file is empty")
    try:
        formats = image_formats.formats_of(start)
    except ValueError as error:
        raise UnreadableImageError(str(error)) from None
    try:
        with Image.open(file, formats=formats) as image:
            _check_size(*image.size)
            yield image
    except UnreadableImageError:
        raise
    except Image.UnidentifiedImageError:
        raise UnreadableImageError(image_formats.received(start)) from None
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


def render(image: ImageFile, rendering: Rendering) -> Image.Image:
    """The image as it is shown: RGB, on `rendering.background`, with its EXIF orientation applied."""
    rgb = to_rgb(image, rendering)
    turn = TRANSPOSITIONS.get(orientation(image))  # asked once it is loaded: Pillow turns a TIFF itself then
    return rgb if turn is None else rgb.transpose(turn)
