"""Image files that are written here, and how they are told from those of others. No matplotlib here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.files import replacing

IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
MADE_HERE = ("Software", "mobilenet_tf")  # a text in the PNG files that are written here


def save_image(image: np.ndarray | Image.Image, path: str | Path) -> Path:
    """Write an image (uint8 [H, W, 3] or Pillow) atomically, in the format that the suffix of `path` names.

    Raises UserError for any other suffix than .png, .jpg, .jpeg and .webp.
    """
    path = Path(path)
    drawing = image if isinstance(image, Image.Image) else as_pillow(image)
    kind = IMAGE_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"an image file's name must end in {', '.join(IMAGE_FORMATS)}. Received: {path}")
    made_here = PngInfo()
    made_here.add_text(*MADE_HERE)
    with replacing(path) as temporary:
        drawing.save(temporary, format=kind, quality=92, pnginfo=made_here)
    return path


def is_made_here(path: str | Path) -> bool:
    """Whether a file is a PNG that `save_image` wrote, and so may be written again."""
    key, value = MADE_HERE
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get(key) == value
    except (OSError, SyntaxError, ValueError):
        return False


def as_pillow(image: np.ndarray) -> Image.Image:
    """An image (uint8 or float 0..255; [H, W], [H, W, 1] or [H, W, 3]) as an RGB Pillow image."""
    array = np.asarray(image)
    array = array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if array.dtype != np.uint8:
        array = np.clip(np.rint(np.nan_to_num(array)), 0, 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
