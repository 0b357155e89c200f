"""Drawings of masks: class colors, and overlays with a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from mobilenet_tf import viz
from mobilenet_tf.task import Prediction
from mobilenet_tf.viz.masks import palette

MASK_OPACITY = 0.5
CONTOUR_SHARE = 1 / 250  # the width of half a contour, of the shorter side
MIN_SIDE = 256  # of a drawing: smaller images are enlarged, so that contours and legend can be read


def overlay(image: np.ndarray, mask: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The image (uint8 [H, W, 3]) tinted by the mask (uint8 [H, W]), with contours that are seen on any ground.

    A class named background is left as it is. A contour is a dark line with a white one within, both inside the class.
    """
    tint = palette(len(classes))[mask]
    opacity = np.full(256, MASK_OPACITY)
    if classes[0].lower() == "background":
        opacity[0] = 0
    share = opacity[mask][..., None]
    drawn = (image * (1 - share) + tint * share + 0.5).astype(np.uint8)
    width = max(1, round(min(mask.shape) * CONTOUR_SHARE))
    tinted = opacity[mask] > 0
    drawn[_edge(mask, 2 * width) & tinted] = 255
    drawn[_edge(mask, width) & tinted] = ImageColor.getrgb(viz.INK)
    return drawn


def _edge(mask: np.ndarray, width: int) -> np.ndarray:
    """The pixels [H, W] of which another class is at most `width` away, up, down, left or right."""
    edge = np.zeros(mask.shape, bool)
    for step in range(1, width + 1):
        down, right = mask[step:] != mask[:-step], mask[:, step:] != mask[:, :-step]
        edge[step:] |= down
        edge[:-step] |= down
        edge[:, step:] |= right
        edge[:, :-step] |= right
    return edge


def enlarged(image: np.ndarray, mask: np.ndarray, side: int = MIN_SIDE) -> tuple[np.ndarray, np.ndarray]:
    """A small image and its mask, grown together to `side` pixels on the longer side; larger ones as they are."""
    height, width = image.shape[:2]
    if max(height, width) >= side:
        return image, mask
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grown = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
    return np.asarray(grown), np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def draw(image: np.ndarray, prediction: Prediction, classes: Sequence[str]) -> np.ndarray:
    """The image (uint8 [H, W, 3]) tinted by the predicted classes, over a legend of those that occur."""
    image, mask = enlarged(image, prediction["mask"])
    return with_legend(overlay(image, mask, classes), np.bincount(mask.ravel(), minlength=256), classes)


def with_legend(image: np.ndarray, pixels: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The image over the colors and names of the classes that have pixels [256], the largest first."""
    height, width = image.shape[:2]
    size = max(12, min(18, width // 30))
    row, column = round(1.7 * size), 11 * size
    present = [i for i in np.argsort(-pixels[: len(classes)], kind="stable") if pixels[i]]
    columns = max(1, width // column)
    rows = -(-len(present) // columns)
    canvas = Image.new("RGB", (max(width, column), height + rows * row + size // 2), viz.PAPER)
    canvas.paste(Image.fromarray(image), (0, 0))
    pen, colors = ImageDraw.Draw(canvas), palette(len(classes))
    for index, label in enumerate(present):
        x, y = index % columns * column + size // 2, height + size // 2 + index // columns * row
        pen.rectangle((x, y, x + size, y + size), fill=tuple(map(int, colors[label])), outline=viz.MUTED)
        text = f"{viz.shorten(classes[label], 12)} {pixels[label] / max(1, pixels.sum()):.0%}"
        pen.text((x + size * 1.4, y + size / 2), text, fill=viz.INK, font=ImageFont.load_default(size), anchor="lm")
    return np.asarray(canvas)
