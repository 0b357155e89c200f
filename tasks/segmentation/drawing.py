"""Drawings of masks: class colors, and overlays with a legend."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mobilenet_tf import viz
from mobilenet_tf.task import Prediction

MASK_OPACITY = 0.55


def palette(count: int) -> np.ndarray:
    """uint8 [256, 3]: a color for each of `count` classes, VOC's from the second on; black for what is ignored.

    Source: VOCcode/VOClabelcolormap.m, where the bits of the class id, three at a time, are the color's.
    """
    ids, colors = np.arange(1, 257), np.zeros((256, 3), np.int64)
    for bit in range(7, -1, -1):
        colors |= ((ids[:, None] >> [0, 1, 2]) & 1) << bit
        ids = ids >> 3
    colors = np.roll(colors, 1, 0)
    colors[0] = (120, 170, 220)
    colors[count:] = 0
    return colors.astype(np.uint8)


def overlay(image: np.ndarray, mask: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The image (uint8 [H, W, 3]) tinted by the mask (uint8 [H, W]); a class named background is left as it is."""
    tint = palette(len(classes))[mask]
    opacity = np.full(256, MASK_OPACITY)
    if classes[0].lower() == "background":
        opacity[0] = 0
    share = opacity[mask][..., None]
    return (image * (1 - share) + tint * share + 0.5).astype(np.uint8)


def draw(image: np.ndarray, prediction: Prediction, classes: Sequence[str]) -> np.ndarray:
    """The image (uint8 [H, W, 3]) tinted by the predicted classes, over a legend of those that occur."""
    mask = prediction["mask"]
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
