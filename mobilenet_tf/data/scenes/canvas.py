"""Drawing in units of the image's side: smooth tubes, layers, colors."""

from __future__ import annotations

import functools

import numpy as np
from PIL import Image, ImageDraw

Color = tuple[int, int, int]

SAMPLES = 13  # points along a tube
CAP = np.exp(1j * np.linspace(-np.pi / 2, np.pi / 2, 7))  # half a circle, as complex x + iy


@functools.cache
def spline(knots: int, samples: int = SAMPLES) -> np.ndarray:
    """Catmull-Rom spline as a matrix [2 * samples, knots]: positions, then tangents. Both are linear in the knots."""
    segment, t = np.divmod(np.linspace(0, knots - 1, samples), 1)
    last = segment == knots - 1
    segment, t = np.where(last, knots - 2, segment).astype(int), np.where(last, 1.0, t)
    one = np.ones_like(t)
    weights = np.stack([-t + 2 * t**2 - t**3, 2 * one - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, t**3 - t**2], 1)
    slopes = np.stack([-one + 4 * t - 3 * t**2, -10 * t + 9 * t**2, one + 8 * t - 9 * t**2, 3 * t**2 - 2 * t], 1)
    matrix = np.zeros((2 * samples, knots))
    for tap in range(4):
        knot = np.clip(segment + tap - 1, 0, knots - 1)
        np.add.at(matrix, (np.arange(samples), knot), weights[:, tap] / 2)
        np.add.at(matrix, (np.arange(samples) + samples, knot), slopes[:, tap] / 2)
    return matrix


def tubes(lines: list[np.ndarray], grow: float = 0.0) -> np.ndarray:
    """Outlines [P, M, 2] of tubes along smooth lines; each line is its knots [K, 3] as (x, y, radius), K >= 2."""
    samples = np.stack([spline(len(line)) @ line for line in lines])  # [P, 2 * SAMPLES, 3]
    path = samples[..., 0] + 1j * samples[..., 1]
    path, ahead = path[:, :SAMPLES], path[:, SAMPLES:]
    ahead = ahead / np.abs(ahead) * (np.maximum(samples[:, :SAMPLES, 2], 0) + grow)
    side = 1j * ahead
    tip, root = path[:, -1:] + ahead[:, -1:] * CAP, path[:, :1] - ahead[:, :1] * CAP
    outline = np.concatenate([path - side, tip, (path + side)[:, ::-1], root], 1)
    return outline.view(float).reshape(len(lines), -1, 2)


def tube(*knots: tuple[float, float, float], grow: float = 0.0) -> np.ndarray:
    """The outline [M, 2] of one tube through (x, y, radius) knots."""
    return tubes([np.array(knots)], grow)[0]


def ridge(base: float, height: float, rng, knots: int = 7) -> np.ndarray:
    """A hilly line across the image, closed along the bottom."""
    line = spline(knots, 40)[:40] @ np.stack([np.linspace(-0.05, 1.05, knots), base - rng.uniform(0, height, knots)], 1)
    return np.concatenate([line, [(1.05, 1.05), (-0.05, 1.05)]])


def mix(a: Color, b: Color, t: float) -> Color:
    """From color a (t = 0) to color b (t = 1)."""
    red, green, blue = (round(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return red, green, blue


def jitter(color: Color, rng, amount: float = 18) -> Color:
    """A color nearby."""
    changes = rng.uniform(-amount, amount, 3)
    red, green, blue = (min(max(int(v + d), 0), 255) for v, d in zip(color, changes, strict=True))
    return red, green, blue


class Layer:
    """A square image drawn on in units of its side, x to the right and y down."""

    def __init__(self, mode: str, side: int):
        self.side, self.image = side, Image.new(mode, (side, side))
        self.pen = ImageDraw.Draw(self.image)

    def polygon(self, points, fill):
        """Draws a filled polygon through points [N, 2]."""
        self.pen.polygon((np.asarray(points) * self.side).ravel().tolist(), fill=fill)

    def polygons(self, outlines: np.ndarray, fills: list):
        """Draws filled polygons [M, N, 2], each in its own color."""
        for flat, fill in zip((outlines * self.side).reshape(-1, 2 * outlines.shape[1]).tolist(), fills, strict=True):
            self.pen.polygon(flat, fill=fill)

    def disc(self, x: float, y: float, radius: float, fill):
        """Draws a filled circle."""
        self.pen.ellipse([v * self.side for v in (x - radius, y - radius, x + radius, y + radius)], fill=fill)

    def ring(self, x: float, y: float, radius: float, width: float, color):
        """Draws the outline of a circle."""
        at = [v * self.side for v in (x - radius, y - radius, x + radius, y + radius)]
        self.pen.ellipse(at, outline=color, width=max(1, round(width * self.side)))

    def rectangle(self, left: float, top: float, right: float, bottom: float, fill):
        """Draws a filled rectangle."""
        self.pen.rectangle([v * self.side for v in (left, top, right, bottom)], fill=fill)

    def gradient(self, left: float, top: float, right: float, bottom: float, above: Color, below: Color):
        """A box that goes from one color at its top to another at its bottom."""
        left, top, right, bottom = (round(min(max(v, 0), 1) * self.side) for v in (left, top, right, bottom))
        if right > left and bottom > top:
            strip = Image.fromarray(np.array([[above], [below]], np.uint8))
            self.image.paste(strip.resize((right - left, bottom - top), Image.Resampling.BILINEAR), (left, top))

    def tint(self, color: Color, mask: Image.Image, box):
        """Blend a color in where `mask` says, inside box = (left, top, right, bottom)."""
        left, top, right, bottom = (round(min(max(v, 0), 1) * self.side) for v in box)
        area = left, top, right, bottom
        self.image.paste(color, area, mask.crop(area))


class Canvas:
    """The image, and the map of which animal owns each pixel (0: none). What is drawn with an owner goes on both."""

    def __init__(self, side: int):
        self.picture, self.owners = Layer("RGB", side), Layer("L", side)

    def polygons(self, outlines: np.ndarray, colors: list[Color], owner: int = 0):
        """Draws filled polygons [M, N, 2], all of one owner."""
        self.picture.polygons(outlines, colors)
        self.owners.polygons(outlines, [owner] * len(outlines))

    def polygon(self, points, color: Color, owner: int = 0):
        """Draws a filled polygon through points [N, 2]."""
        self.polygons(np.asarray(points)[None], [color], owner)

    def disc(self, x: float, y: float, radius: float, color: Color, owner: int = 0):
        """Draws a filled circle."""
        self.picture.disc(x, y, radius, color)
        self.owners.disc(x, y, radius, owner)
