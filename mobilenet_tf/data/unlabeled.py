"""Images without labels, for calibrating a model and for comparing files with it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mobilenet_tf.config import Rendering
from mobilenet_tf.data import images
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track


def read_some(folder: Path, count: int, rendering: Rendering, key: str) -> Iterator[np.ndarray]:
    """Yields up to `count` images uint8 [H, W, 3] of a folder and those below it, evenly spread over their paths.

    Those that cannot be read are left out, of which it warns.

    Args:
        key: what the messages call the folder, such as "export.calibration".

    Raises:
        UserError: there is no such folder, or no image in it that can be read.
    """
    if not folder.is_dir():
        raise UserError(f"{key} must be a folder of images. Received: {folder}")
    paths, found = sorted(images.files_below(folder)), 0
    places = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    for place in track(places, "read images"):
        try:
            image = images.read(paths[place], rendering)
        except UserError as error:
            warnings.warn(f"left out: {error}", stacklevel=2)
            continue
        found += 1
        yield image
    if not found:
        raise UserError(f"{key} must be a folder with images that can be read. Received: {folder}")
