"""HTML pages and programs from the templates in `templates`. Text of strangers never becomes markup or code."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import readable

JPEG_QUALITY = 85


@cache
def environment() -> Environment:
    """Returns the templates; whatever is put into an .html one is escaped, and control characters are spelled out."""
    return Environment(
        loader=PackageLoader("mobilenet_tf.export"),
        autoescape=lambda name: bool(name) and name.endswith(".html"),
        finalize=lambda value: readable(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> str:
    """Returns a template filled with values. A value that it names and that is missing is an error of ours."""
    return environment().get_template(template).render(**values)


def write(path: Path, text: str) -> Path:
    """Writes a page or program whole or not at all; returns its path."""
    with files.replacing(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    return path


def data_url(image: np.ndarray | Image.Image) -> str:
    """Returns an image as a JPEG inside of an address, so that a page is one file."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    jpeg = io.BytesIO()
    picture.convert("RGB").save(jpeg, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


def file_url(path: Path, width: int) -> str:
    """Returns an image file as `data_url` does, at most `width` pixels wide."""
    with Image.open(path) as image:
        height = max(1, round(image.height * width / image.width))
        return data_url(
            image.resize((width, height), Image.Resampling.LANCZOS) if image.width > width else image.copy()
        )
