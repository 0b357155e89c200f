"""Images whose areas have labels, as most tools for drawing store them: what makes classes and masks of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mobilenet_tf.data.images import MAX_PIXELS, displayed_size
from mobilenet_tf.data.label_files import check_class_count
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data.layout import read_classes
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.utils.errors import UserError

BACKGROUND = ("background", "_background_")  # labels of what is no object
IGNORED = ("__ignore__", "ignore", "ignored")
AROUND = 64  # points of the polygon that stands for an ellipse


@dataclass(frozen=True)
class Area:
    """A part of an image.

    pixels: (height, width of the image) -> the pixels inside, bool [H, W]; raises ValueError for damaged values.
    where: where it stands, for messages.
    """

    labels: Sequence[str]
    pixels: Callable[[int, int], np.ndarray]
    where: str


@dataclass(frozen=True)
class LabeledImage:
    """An image and its areas, the lowest first; size: (height, width) of its mask, None for that of the image."""

    path: Path
    areas: Sequence[Area]
    size: tuple[int, int] | None = None


def masked_images(
    chosen: Sequence[LabeledImage], labels: set[str], data: Data, findings: Sequence[str], as_stored: bool | None = None
) -> MaskedImages:
    """The images of a split with their masks.

    Classes are "background" and the labels of the whole set, or those that `data.classes` names, the rest being
    background. Later areas lie over earlier ones; an area with two labels and the label __ignore__ leave pixels out.
    """
    known = sorted(label for label in labels if label.lower() not in (*BACKGROUND, *IGNORED))
    names = read_classes(data.classes, data.encoding) if data.classes else known
    names = [BACKGROUND[0], *(name for name in names if name.lower() not in BACKGROUND)]
    check_class_count(names, data.path, most=IGNORE)
    read_mask = AreaMasks(chosen, {name: i for i, name in enumerate(names)})
    keys = [str(i) for i in range(len(chosen))]
    return MaskedImages([image.path for image in chosen], keys, names, read_mask, findings, as_stored)


@dataclass(frozen=True)
class AreaMasks:
    """Paints the areas of an image, named by its place in `images`, over background 0. labels: {label: class id}."""

    images: Sequence[LabeledImage]
    labels: dict[str, int]

    def __call__(self, key: str) -> np.ndarray:
        """The mask of an image, uint8 [H, W]. Raises UserError for an area that is not in it."""
        image = self.images[int(key)]
        height, width = image.size or _size(image.path)
        if height * width > MAX_PIXELS:
            wanted = f"be annotated with a size of at most {MAX_PIXELS:,} pixels"
            raise UserError(f"{image.path} must {wanted}. Received: {width}x{height}")
        mask = np.zeros((height, width), np.uint8)
        for area in image.areas:
            try:
                mask[area.pixels(height, width)] = self._class(area.labels)
            except ValueError as error:
                raise UserError(f"{area.where} must lie in its image. Received: {error}") from None
        return mask

    def _class(self, labels: Sequence[str]) -> int:
        ids = {IGNORE if label.lower() in IGNORED else self.labels.get(label, 0) for label in labels}
        return ids.pop() if len(ids) == 1 else IGNORE


def _size(path: Path) -> tuple[int, int]:
    try:
        return displayed_size(path)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} must be an image that can be read. Received: {reason}") from None


def ellipse(x: float, y: float, across: float, down: float, rotation: float = 0) -> list[tuple[float, float]]:
    """Points (x, y) around an ellipse with this center and these radii, turned by `rotation` degrees."""
    turn = np.deg2rad(rotation)
    angles = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    right, below = across * np.cos(angles), down * np.sin(angles)
    xs, ys = x + right * np.cos(turn) - below * np.sin(turn), y + right * np.sin(turn) + below * np.cos(turn)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))
