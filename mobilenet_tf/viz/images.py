"""Thumbnails, sheets, images annotated with lines or boxes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from mobilenet_tf.viz.base import (
    BAND,
    CORRECT,
    FAINT,
    INCORRECT,
    INK,
    MUTED,
    PAPER,
    SKY,
    font_for,
    shorten,
    write_text,
)
from mobilenet_tf.viz.image_files import as_pillow, save_image

HEADING = 34  # pixels, of the heading of a section of a sheet


def scaled(drawing: Image.Image, side: int) -> Image.Image:
    """The image with its longest side at `side` pixels, its shape kept."""
    scale = side / max(drawing.size)
    width, height = (max(1, round(length * scale)) for length in drawing.size)
    return drawing.resize((width, height), Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def thumbnail(image: np.ndarray, side: int = 160) -> np.ndarray:
    """The image as uint8 [h, w, 3] with no side over `side` pixels."""
    drawing = as_pillow(image)
    return np.asarray(scaled(drawing, side) if max(drawing.size) > side else drawing)


def sheet(
    images: Sequence[np.ndarray],
    captions: Sequence[str],
    path: str | Path,
    columns: int | None = None,
    correct: Sequence[bool | None] | None = None,
    cell: int = 216,
    sections: Sequence[tuple[str, int]] = (),
) -> Path:
    """A grid of images (uint8 [H, W, 3], any sizes) with captions (several lines allowed) below them.

    `sections` are headings, each with the number of the images that stand below it.
    `correct` colors the borders: blue and a tick for True, vermilion and a cross for False, gray for None.
    """
    if not images or len(images) != len(captions):
        raise ValueError(f"sheet needs one caption an image. Received: {len(images)} images, {len(captions)} captions")
    marks = list(correct) if correct is not None else [None] * len(images)
    columns = columns or min(len(images), max(3, math.ceil(math.sqrt(len(images) * 1.3))))
    size, gap, border = 13, 12, 4
    leading = round(size * 1.35)
    lines = [str(caption).split("\n") for caption in captions]
    pictures = [as_pillow(image) for image in images]
    shape = max(min(1.0, picture.height / picture.width) for picture in pictures)
    tall = max(3 * size, round((cell - 2 * border) * shape) + 2 * border)  # a cell is no taller than its images need
    height = tall + leading * max(map(len, lines)) + 6
    places, headings, bottom = _places(sections or [("", len(images))], columns, (cell + gap, height + gap), gap)
    canvas = Image.new("RGB", (columns * (cell + gap) + gap, bottom), PAPER)
    draw = ImageDraw.Draw(canvas)
    for text, y in headings:
        write_text(draw, (gap, y + HEADING / 2), text, 17, canvas.width - 2 * gap, INK)
    for index, (picture, mark) in enumerate(zip(pictures, marks, strict=True)):
        x, y = places[index]
        color = {True: CORRECT, False: INCORRECT, None: "#CBD2D9"}[None if mark is None else bool(mark)]
        draw.rectangle((x, y, x + cell - 1, y + tall - 1), fill=FAINT, outline=color, width=border)
        drawing = scaled(picture, cell - 2 * border)
        if drawing.height > tall - 2 * border:
            drawing = scaled(picture, (tall - 2 * border) * max(picture.size) // picture.height)
        canvas.paste(drawing, (x + (cell - drawing.width) // 2, y + (tall - drawing.height) // 2))
        if mark is not None:  # not by color alone
            draw.rectangle((x, y, x + 21, y + 21), fill=color)
            draw.text((x + 11, y + 11), "✓" if mark else "✗", fill=PAPER, font=font_for("✓", 16), anchor="mm")
        for row, line in enumerate(lines[index]):
            write_text(
                draw, (x + 1, y + tall + 4 + leading * (row + 0.5)), line, size, cell - 2, INK if row == 0 else MUTED
            )
    return save_image(canvas, path)


def _places(
    sections: Sequence[tuple[str, int]], columns: int, step: tuple[int, int], gap: int
) -> tuple[list[tuple[int, int]], list[tuple[str, int]], int]:
    """(the corner x, y of each cell, the (text, y) of each heading, the height of the sheet)."""
    places, headings, y = [], [], gap
    for title, count in sections:
        if title:
            headings.append((title, y))
            y += HEADING
        places += [(gap + i % columns * step[0], y + i // columns * step[1]) for i in range(count)]
        y += math.ceil(count / columns) * step[1]
    return places, headings, y


def annotate(image: np.ndarray, lines: Sequence[str | tuple[str, float]], min_side: int = 256) -> np.ndarray:
    """The image (uint8 [H, W, 3]) over a band of lines: a text, or (text, share 0..1) with a percentage and a bar.

    Images below `min_side` pixels are enlarged so that the text is legible; result: uint8 [H', W', 3].
    """
    drawing = as_pillow(image)
    if max(drawing.size) < min_side:
        drawing = scaled(drawing, min_side)
    width = max(min_side, drawing.width)
    size = round(min(max(15, width / 26), max(15, drawing.height / 12)))
    row, pad = round(size * 1.75), round(size * 0.6)
    canvas = Image.new("RGB", (width, drawing.height + row * len(lines) + 2 * pad * bool(lines)), BAND)
    canvas.paste(drawing, ((width - drawing.width) // 2, 0))
    draw = ImageDraw.Draw(canvas)
    for index, line in enumerate(lines):
        text, share = (line, None) if isinstance(line, str) else line
        top = drawing.height + pad + row * index
        room = width - 2 * pad
        if share is not None:
            percent = f"{share:.1%}" if math.isfinite(share) else "—"
            draw.text((width - pad, top + row * 0.4), percent, fill=PAPER, font=font_for(percent, size), anchor="rm")
            _share_bar(
                draw, pad, top + round(row * 0.78), room, max(2, size // 6), share, SKY if index == 0 else "#9AA5B1"
            )
            room -= font_for("0", size).getlength("100.0%") + size / 2
        write_text(draw, (pad, top + row * 0.4), text, size, room, PAPER)
    return np.asarray(canvas)


def _share_bar(draw: ImageDraw.ImageDraw, x: int, y: int, width: float, height: int, share: float, color: str) -> None:
    draw.rectangle((x, y, x + width - 1, y + height), fill="#3E4C59")
    filled = width * min(max(share, 0), 1) if math.isfinite(share) else 0
    if filled >= 1:
        draw.rectangle((x, y, x + filled - 1, y + height), fill=color)


@dataclass(frozen=True)
class Box:
    """A frame on an image: corners within 0..1, a text at its top, a color; dashed for what is not counted."""

    corners: Sequence[float]  # ymin, xmin, ymax, xmax
    text: str = ""
    color: str = SKY
    dashed: bool = False


def draw_boxes(image: np.ndarray, boxes: Sequence[Box], min_side: int = 480) -> np.ndarray:
    """The image (uint8 [H, W, 3]) with boxes drawn over it, the first on top; small images are enlarged."""
    drawing = as_pillow(image)
    if max(drawing.size) < min_side:
        drawing = scaled(drawing, min_side)
    draw = ImageDraw.Draw(drawing)
    line = max(2, round(max(drawing.size) / 240))
    size = max(11, round(max(drawing.size) / 42))
    for box in reversed(boxes):
        y0, x0, y1, x1 = np.asarray(box.corners, np.float64) * np.tile(drawing.size[::-1], 2)
        x0, x1 = sorted(np.clip([x0, x1], 0, drawing.width - 1))
        y0, y1 = sorted(np.clip([y0, y1], 0, drawing.height - 1))
        _frame(draw, (x0, y0, x1, y1), box.color, line, box.dashed)
        if box.text:
            _tag(draw, (x0, y0), box.text, size, drawing.width, box.color)
    return np.asarray(drawing)


def _frame(draw: ImageDraw.ImageDraw, corners: Sequence[float], color: str, line: int, dashed: bool) -> None:
    x0, y0, x1, y1 = corners
    if not dashed:
        draw.rectangle(corners, outline=color, width=line)
        return
    for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        start, end = np.array(start), np.array(end)
        length = np.linalg.norm(end - start)
        for at in np.arange(0, length, 6 * line):
            piece = [start + (end - start) * min(1, part / length) for part in (at, at + 3 * line)]
            draw.line([tuple(point) for point in piece], fill=color, width=line)


def _tag(draw: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, size: int, right: int, color: str) -> None:
    """The text on a ground of the box's color, above the box's corner, or inside where there is no room."""
    text = shorten(text, 40)
    width, height = font_for(text, size).getlength(text) + size * 0.6, round(size * 1.35)
    x = max(0, min(corner[0], right - width))
    y = corner[1] - height if corner[1] >= height else corner[1]
    draw.rectangle((x, y, x + width, y + height), fill=color)
    ink = INK if sum(ImageColor.getrgb(color)) > 420 else PAPER
    write_text(draw, (x + size * 0.3, y + height / 2), text, size, right - x, ink)
