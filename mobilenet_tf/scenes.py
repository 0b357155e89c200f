"""The built-in data set: seeded scenes of drawn animals with breed, attributes, boxes and pixel masks."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .data import Sample, Source
from .errors import UserError


@dataclass(frozen=True)
class Breed:
    """Proportions of one breed, in body units: a medium dog is about 1 long. Coat and colour belong to no breed."""

    body: float  # hip to shoulder
    girth: float  # radius of the trunk
    leg: float  # length below the trunk
    paw: float  # leg radius
    neck: float
    head: float  # radius of the skull
    muzzle: float  # length in front of the skull
    snout: float  # muzzle radius
    ear: str  # a key of EARS
    ear_size: float
    tail: str  # a key of TAILS


BREEDS = {
    #                   body  girth leg   paw   neck  head  muzz  snout ear      size  tail
    "beagle": Breed(0.80, 0.22, 0.36, 0.070, 0.24, 0.200, 0.15, 0.095, "drop", 0.26, "flag"),
    "bulldog": Breed(0.68, 0.28, 0.22, 0.095, 0.17, 0.270, 0.02, 0.150, "fold", 0.13, "stub"),
    "cat": Breed(0.74, 0.17, 0.32, 0.055, 0.19, 0.200, 0.00, 0.080, "point", 0.19, "wave"),
    "corgi": Breed(1.05, 0.23, 0.14, 0.075, 0.24, 0.210, 0.14, 0.080, "point", 0.30, "stub"),
    "dachshund": Breed(1.20, 0.17, 0.12, 0.060, 0.22, 0.170, 0.24, 0.070, "drop", 0.28, "whip"),
    "fox": Breed(0.80, 0.17, 0.32, 0.050, 0.20, 0.180, 0.21, 0.045, "point", 0.28, "brush"),
    "greyhound": Breed(0.85, 0.16, 0.66, 0.050, 0.34, 0.145, 0.26, 0.055, "fold", 0.15, "hook"),
    "lynx": Breed(0.75, 0.21, 0.46, 0.085, 0.19, 0.215, 0.00, 0.090, "tuft", 0.22, "stub"),
    "poodle": Breed(0.62, 0.19, 0.50, 0.065, 0.34, 0.180, 0.19, 0.060, "drop", 0.30, "pom"),
    "spitz": Breed(0.64, 0.26, 0.30, 0.065, 0.21, 0.210, 0.13, 0.060, "point", 0.19, "curl"),
}
CLASSES = list(BREEDS)

# Of the main animal, except night and snow, which are the scene's. A horizontal flip changes facing_left.
ATTRIBUTES = ["facing_left", "sitting", "collar", "spotted", "striped", "occluded", "snow", "night"]

SPLITS = ["train", "validation", "test"]

# Centre line from the root (x backwards is negative, y down) and radii. Ears scale with ear_size, tails with the girth.
EARS = {
    "drop": ([(0.0, 0.0), (-0.25, 0.45), (-0.15, 1.0)], [0.16, 0.34, 0.26]),
    "fold": ([(0.0, 0.0), (-0.5, -0.25), (-1.1, 0.15)], [0.30, 0.34, 0.06]),
    "point": ([(0.0, 0.2), (-0.06, -0.45), (-0.04, -1.0)], [0.46, 0.30, 0.02]),
    "tuft": ([(0.0, 0.2), (-0.06, -0.45), (-0.10, -0.9), (-0.12, -1.7)], [0.48, 0.34, 0.07, 0.05]),
}
TAILS = {
    "brush": ([(0.0, 0.0), (-0.20, 0.08), (-0.46, 0.14), (-0.76, 0.02)], [0.06, 0.12, 0.15, 0.02]),
    "curl": ([(0.0, 0.0), (-0.12, -0.16), (0.0, -0.36), (0.20, -0.34)], [0.09, 0.12, 0.13, 0.08]),
    "flag": ([(0.0, 0.0), (-0.10, -0.16), (-0.12, -0.34), (-0.06, -0.50)], [0.06, 0.06, 0.05, 0.03]),
    "hook": ([(0.0, 0.0), (-0.10, 0.22), (-0.18, 0.46), (-0.36, 0.50)], [0.05, 0.04, 0.03, 0.02]),
    "pom": ([(0.0, 0.0), (-0.06, -0.14), (-0.11, -0.28), (-0.13, -0.33)], [0.04, 0.04, 0.13, 0.12]),
    "stub": ([(0.0, 0.0), (-0.05, -0.05), (-0.09, -0.08), (-0.11, -0.10)], [0.07, 0.07, 0.07, 0.06]),
    "wave": ([(0.0, 0.0), (-0.24, -0.10), (-0.26, -0.46), (-0.46, -0.66)], [0.05, 0.05, 0.05, 0.04]),
    "whip": ([(0.0, 0.0), (-0.18, -0.02), (-0.36, -0.06), (-0.52, -0.16)], [0.06, 0.05, 0.03, 0.02]),
}

COATS = [  # black, white, grey, slate, cream, sand, gold, ginger, russet, brown, chocolate, lilac, moss, rose
    (52, 48, 54), (238, 232, 222), (150, 148, 150), (96, 108, 126), (232, 208, 168), (208, 172, 122), (222, 168, 82),
    (222, 126, 56), (170, 82, 46), (138, 98, 66), (92, 62, 48), (168, 148, 176), (128, 136, 98), (206, 148, 138),
]  # fmt: skip
COLLARS = [(214, 44, 52), (38, 104, 214), (250, 196, 40), (36, 160, 96), (186, 66, 190), (20, 190, 200)]


# --- geometry: every part is a tube, a smooth line through a few points with a radius at each -------------------------


@functools.cache
def _spline(knots: int, samples: int = 13) -> np.ndarray:
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


_CAP = np.exp(1j * np.linspace(-np.pi / 2, np.pi / 2, 7))  # half a circle, as complex x + iy


def _tube(points, radii, grow: float = 0.0) -> np.ndarray:
    """The outline [M, 2] of a tube through `points` [K, 2], K >= 2, with `radii` [K], made thicker by `grow`."""
    knots = np.empty((len(points), 3))
    knots[:, :2], knots[:, 2] = points, radii
    samples = _spline(len(points)) @ knots  # [2 * 13, (x, y, radius)]
    middle = len(samples) // 2
    axis = samples[:, 0] + 1j * samples[:, 1]
    ahead = axis[middle:] / np.abs(axis[middle:]) * (np.maximum(samples[:middle, 2], 0) + grow)
    line, side = axis[:middle], 1j * ahead
    outline = np.concatenate([line - side, line[-1] + ahead[-1] * _CAP, (line + side)[::-1], line[0] - ahead[0] * _CAP])
    return outline.view(float).reshape(-1, 2)


FACE = 6  # the group painted last, over the coat's pattern and without an outline


@dataclass(frozen=True)
class Part:
    """One tube of an animal. Parts of one group merge: the outline runs round the group."""

    points: np.ndarray  # [K, 2]
    radii: np.ndarray  # [K]
    group: int
    fill: str  # "coat", "far", "light", "ink", "eye", "collar"


def _dot(centre: np.ndarray, radius: float, fill: str, group: int = FACE) -> Part:
    return Part(np.stack([centre, centre + (1e-3, 0)]), np.array([radius, radius]), group, fill)


def _turn(points, angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.asarray(points, float) @ np.array([[cos, sin], [-sin, cos]])


def _leg(top, foot, bend: float, radius: float, group: int, fill: str) -> Part:
    top, foot = np.asarray(top, float), np.asarray(foot, float)
    knee = (top + foot) / 2 + (bend, 0)
    ankle = foot - (0, radius)
    return Part(
        np.stack([top, knee, ankle, ankle + (radius * 0.9, 0.1 * radius)]),
        radius * np.array([1.5, 1.05, 0.85, 0.85]),
        group,
        fill,
    )


def _trunk(breed: Breed, sitting: bool, rng) -> tuple[np.ndarray, np.ndarray, list[Part]]:
    """Hip, shoulder and the parts of trunk, legs and tail. Feet stand on y = 0; the animal looks to +x."""
    girth, paw = breed.girth, breed.paw
    if sitting:
        hip = np.array([0.0, -girth * 0.95])
        shoulder = hip + _turn([breed.body * 0.78, 0], -rng.uniform(0.85, 1.1))
        shoulder[1] = min(shoulder[1], -(breed.leg + girth))
        chest = shoulder + (0.25 * girth, 0.3 * girth)
        stance = [chest[0] + 0.02, chest[0] + rng.uniform(0.06, 0.12)]
        legs = [
            _leg(chest, (stance[1], 0), 0.0, paw, 0, "far"),
            _leg(hip + (0.3 * girth, 0.2 * girth), (1.35 * girth, 0), 0.1, paw * 1.1, 2, "coat"),
            _leg(chest, (stance[0], 0), 0.0, paw, 2, "coat"),
        ]
        spin = 0.9  # the tail lies lower when the trunk stands up
    else:
        height = breed.leg + 0.8 * girth
        lean = rng.uniform(-0.05, 0.05)
        hip, shoulder = np.array([-breed.body / 2, -height + lean]), np.array([breed.body / 2, -height - lean])
        stride = rng.uniform(0.0, 0.9) * (breed.leg + 0.3 * girth) * 0.5
        phase = rng.choice([-1.0, 1.0])
        drop = (0.0, 0.25 * girth)
        legs = [
            _leg(hip + drop, (hip[0] + 0.07 + phase * stride, 0), -0.04, paw, 0, "far"),
            _leg(shoulder + drop, (shoulder[0] + 0.05 - phase * stride, 0), 0.02, paw, 0, "far"),
            _leg(hip + drop, (hip[0] - phase * stride, 0), -0.05, paw * 1.08, 2, "coat"),
            _leg(shoulder + drop, (shoulder[0] + phase * stride, 0), 0.02, paw * 1.08, 2, "coat"),
        ]
        spin = 0.0
    line, radii = TAILS[breed.tail]
    back = _turn([-0.8 * girth, -0.35 * girth], -spin)
    wag = rng.uniform(-0.25, 0.25)
    tail = Part(hip + back + _turn(line, wag - 0.5 * spin), np.array(radii), 1, "coat")
    middle = (hip + shoulder) / 2 + (0, 0.04 * girth)
    trunk = Part(np.stack([hip, middle, shoulder]), girth * np.array([0.95, 0.92, 1.04]), 2, "coat")
    return hip, shoulder, [*legs[: len(legs) - 2], tail, trunk, *legs[-2:]]


def _head(breed: Breed, shoulder: np.ndarray, collar: bool, rng) -> list[Part]:
    """Neck, collar, skull, ears and face, from the shoulder up."""
    size, muzzle = breed.head, breed.muzzle
    reach = breed.neck + 0.6 * breed.girth
    centre = shoulder + _turn([reach, 0], -rng.uniform(0.65, 1.15))
    pitch = rng.uniform(-0.30, 0.30)

    def place(points) -> np.ndarray:
        return centre + _turn(points, pitch)

    tip = size * 0.62 + muzzle
    skull = [(-0.12 * size, 0.0), (0.30 * size, 0.04 * size), (tip, 0.30 * size)]
    line, radii = EARS[breed.ear]
    ear, ear_radii = np.array(line) * breed.ear_size, np.array(radii) * breed.ear_size
    hangs = breed.ear == "drop"
    root = np.array([-0.30 * size, -0.45 * size]) if hangs else np.array([-0.34 * size, -0.70 * size])
    spread = rng.uniform(0.38, 0.55) * size
    nape = shoulder + (-0.05, -0.2 * breed.girth)
    parts = [
        Part(np.stack([nape, (nape + centre) / 2, centre]), np.array([0.85, 0.62, 0.62]) * size, 2, "coat"),
        Part(place(ear + root + (spread, 0.04 * size)), ear_radii * 0.95, 1, "far"),
        Part(place(skull), np.array([size, 0.96 * size, breed.snout]), 4, "coat"),
        Part(place(ear + root), ear_radii, 5 if hangs else 4, "coat"),
        _dot(place([tip - 0.25 * breed.snout, 0.36 * size]), 0.95 * breed.snout, "light"),
        _dot(place([tip + 0.7 * breed.snout, 0.30 * size - 0.3 * breed.snout]), 0.035, "ink"),
        _dot(place([0.38 * size, -0.26 * size]), 0.050, "eye"),
        _dot(place([0.42 * size, -0.25 * size]), 0.032, "ink"),
    ]
    if collar:
        along = (centre - nape) / np.linalg.norm(centre - nape)
        across, at = along[::-1] * (-1, 1), nape + along * (0.45 * np.linalg.norm(centre - nape))
        width = 0.72 * size
        band = np.stack([at - across * width, at + across * width])
        parts += [Part(band, np.array([0.045, 0.045]), 3, "collar"), _dot(band[1] + across * 0.05, 0.05, "tag", 3)]
    return parts


def _vary(breed: Breed, rng, amount: float = 0.06) -> Breed:
    """An individual: every proportion a little off the breed's."""
    numbers = [f.name for f in fields(Breed) if f.type == "float"]
    factors = 1 + amount * rng.uniform(-1, 1, len(numbers))
    return replace(breed, **{name: getattr(breed, name) * k for name, k in zip(numbers, factors, strict=True)})


# --- painting ---------------------------------------------------------------------------------------------------------


class _Canvas:
    """A supersampled picture and the map of which animal owns each pixel, in units of the picture's side."""

    def __init__(self, scale: int):
        self.scale = scale
        self.image = Image.new("RGB", (scale, scale))
        self.owner = Image.new("L", (scale, scale))
        self.draw, self.own = ImageDraw.Draw(self.image), ImageDraw.Draw(self.owner)

    def polygon(self, points: np.ndarray, colour, owner: int | None = None):
        flat = (np.asarray(points) * self.scale).ravel().tolist()
        self.draw.polygon(flat, fill=colour)
        if owner is not None:
            self.own.polygon(flat, fill=owner)

    def gradient(self, box, top, bottom):
        """Vertical blend of two colours over the (left, top, right, bottom) box."""
        left, up, right, down = (round(v * self.scale) for v in box)
        if right > left and down > up:
            strip = Image.fromarray(np.array([[top], [bottom]], np.uint8))
            self.image.paste(strip.resize((right - left, down - up), Image.Resampling.BILINEAR), (left, up))

    def disc(self, centre, radius, colour, owner: int | None = None):
        x, y, r = (v * self.scale for v in (*centre, radius))
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        if owner is not None:
            self.own.ellipse((x - r, y - r, x + r, y + r), fill=owner)

    def tint(self, colour, mask: Image.Image):
        self.image.paste(colour, (0, 0), mask)


def _mix(a, b, t: float) -> tuple[int, int, int]:
    return tuple(round(x + (y - x) * t) for x, y in zip(a, b, strict=True))


def _jitter(colour, rng, amount: float = 18) -> tuple[int, int, int]:
    return tuple(min(max(int(v + d), 0), 255) for v, d in zip(colour, rng.uniform(-amount, amount, 3), strict=True))


def _ridge(rng, base: float, height: float, knots: int = 7) -> np.ndarray:
    """A hilly line across the picture, closed along the bottom."""
    x = np.linspace(-0.05, 1.05, knots)
    y = base - rng.uniform(0, height, knots)
    line = _spline(knots, 40)[:40] @ np.stack([x, y], 1)
    return np.concatenate([line, [(1.05, 1.05), (-0.05, 1.05)]])


def _tree(canvas: _Canvas, x: float, y: float, size: float, leaf, rng):
    trunk = _jitter((104, 76, 54), rng)
    canvas.polygon(_tube([(x, y), (x, y - size * 0.6)], [size * 0.07, size * 0.05]), trunk)
    if rng.random() < 0.5:
        for step in range(3):
            w, top = size * (0.34 - 0.08 * step), y - size * (0.55 + 0.22 * step)
            canvas.polygon([(x - w, top + 0.24 * size), (x + w, top + 0.24 * size), (x, top - 0.14 * size)], leaf)
    else:
        for _ in range(5):
            at = (x + rng.uniform(-0.2, 0.2) * size, y - size * rng.uniform(0.6, 1.0))
            canvas.disc(at, size * rng.uniform(0.16, 0.24), _jitter(leaf, rng, 10))


SKIES = [  # top and horizon: noon, dusk, overcast, dawn
    ((86, 152, 222), (206, 230, 244)),
    ((250, 160, 120), (252, 222, 160)),
    ((150, 170, 190), (214, 220, 224)),
    ((120, 110, 190), (240, 190, 200)),
]


def _sky(canvas: _Canvas, horizon: float, rng):
    top, low = SKIES[rng.integers(len(SKIES))]
    canvas.gradient((0, 0, 1, horizon + 0.02), _jitter(top, rng), _jitter(low, rng))
    if rng.random() < 0.6:
        canvas.disc(rng.uniform((0.05, 0.05), (0.95, 0.25)), rng.uniform(0.04, 0.08), (255, 244, 200))
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform((0, 0.04), (1, horizon * 0.6))
        for step in range(3):
            canvas.disc((x + 0.06 * (step - 1), y - 0.02 * (step == 1)), rng.uniform(0.035, 0.06), (246, 248, 250))


def _speckle(canvas: _Canvas, horizon: float, colours, count: int, rng):
    """Small strokes on the ground, larger the nearer: grass, pebbles, flowers."""
    x, depth, lean = rng.uniform((0, 0, -1), (1, 1, 1), (count, 3)).T
    y = horizon + 0.02 + (1 - horizon) * depth**0.8
    length = 0.012 + 0.03 * depth
    for i in range(count):
        canvas.polygon(
            [(x[i] - 0.006, y[i]), (x[i] + 0.006, y[i]), (x[i] + lean[i] * 0.02, y[i] - length[i])],
            colours[i % len(colours)],
        )


def _meadow(canvas: _Canvas, horizon: float, rng):
    _sky(canvas, horizon, rng)
    grass = _jitter([(112, 168, 74), (150, 170, 80), (70, 132, 84)][rng.integers(3)], rng)
    canvas.polygon(_ridge(rng, horizon, 0.22), _mix(grass, (120, 160, 200), 0.55))
    canvas.polygon(_ridge(rng, horizon + 0.01, 0.10), _mix(grass, (150, 190, 170), 0.3))
    for _ in range(rng.integers(0, 5)):
        _tree(canvas, rng.uniform(0, 1), horizon + 0.03, rng.uniform(0.15, 0.4), _jitter(grass, rng, 30), rng)
    canvas.gradient((0, horizon, 1, 1), grass, _mix(grass, (30, 60, 30), 0.35))
    flower = _jitter((240, 200, 210), rng, 60)
    _speckle(canvas, horizon, [_mix(grass, (20, 60, 20), 0.4), _mix(grass, (230, 240, 140), 0.4), flower], 45, rng)


def _desert(canvas: _Canvas, horizon: float, rng):
    _sky(canvas, horizon, rng)
    sand = _jitter([(232, 196, 132), (214, 150, 104), (240, 220, 180)][rng.integers(3)], rng)
    if rng.random() < 0.5:
        canvas.polygon(_ridge(rng, horizon, 0.25, 5), _mix(sand, (150, 80, 70), 0.4))
    else:
        canvas.gradient((0, horizon - 0.12, 1, horizon + 0.02), (40, 120, 190), (90, 190, 210))
    canvas.gradient((0, horizon, 1, 1), sand, _mix(sand, (120, 80, 50), 0.3))
    for _ in range(rng.integers(0, 4)):
        canvas.polygon(
            _ridge(rng, rng.uniform(horizon + 0.06, 1), 0.04), _mix(sand, (140, 100, 70), rng.uniform(0, 0.3))
        )
    for _ in range(rng.integers(0, 4)):
        x, size, green = rng.uniform(0, 1), rng.uniform(0.1, 0.25), _jitter((70, 140, 84), rng)
        canvas.polygon(_tube([(x, horizon + 0.04), (x, horizon - size)], [0.03, 0.03]), green)
        arm = [(x, horizon - 0.3 * size), (x + 0.07, horizon - 0.35 * size), (x + 0.07, horizon - 0.7 * size)]
        canvas.polygon(_tube(arm, [0.02] * 3), green)
    _speckle(canvas, horizon, [_mix(sand, (90, 60, 40), 0.4), _mix(sand, (255, 255, 255), 0.4)], 25, rng)


def _winter(canvas: _Canvas, horizon: float, rng):
    _sky(canvas, horizon, rng)
    for _ in range(rng.integers(1, 4)):
        x, w, h = rng.uniform(0, 1), rng.uniform(0.2, 0.4), rng.uniform(0.15, 0.35)
        rock = _jitter((112, 124, 150), rng)
        canvas.polygon([(x - w, horizon), (x, horizon - h), (x + w, horizon)], rock)
        canvas.polygon([(x - 0.3 * w, horizon - 0.7 * h), (x, horizon - h), (x + 0.3 * w, horizon - 0.7 * h),
                        (x + 0.1 * w, horizon - 0.6 * h), (x, horizon - 0.7 * h)], (244, 248, 252))  # fmt: skip
    for _ in range(rng.integers(0, 6)):
        _tree(canvas, rng.uniform(0, 1), horizon + 0.03, rng.uniform(0.15, 0.4), _jitter((52, 96, 88), rng), rng)
    snow = _jitter((232, 238, 248), rng, 10)
    canvas.gradient((0, horizon, 1, 1), snow, _mix(snow, (120, 150, 200), 0.3))
    _speckle(canvas, horizon, [_mix(snow, (120, 150, 190), 0.4), (255, 255, 255)], 25, rng)


def _room(canvas: _Canvas, horizon: float, rng):
    wall, floor = _jitter((200, 180, 170), rng, 50), _jitter((150, 108, 76), rng, 30)
    canvas.gradient((0, 0, 1, horizon + 0.01), wall, _mix(wall, (60, 50, 60), 0.15))
    stripe, step = _mix(wall, _jitter((128, 128, 128), rng, 120), 0.3), rng.uniform(0.06, 0.16)
    style = rng.integers(3)
    for i in range(int(1 / step) + 1):
        if style == 0:
            canvas.polygon(
                [(i * step, 0), (i * step + step / 2, 0), (i * step + step / 2, horizon), (i * step, horizon)], stripe
            )
        elif style == 1:
            for row in range(int(horizon / step) + 1):
                canvas.disc((i * step + step / 2 * (row % 2), row * step), 0.016, stripe)
    canvas.gradient((0, horizon, 1, 1), floor, _mix(floor, (40, 24, 16), 0.4))
    for x in np.linspace(-1, 2, 13):
        canvas.polygon([(x, 1), (x + 0.012, 1), (0.5 + (x - 0.5) * 0.6, horizon)], _mix(floor, (30, 20, 10), 0.35))
    canvas.gradient((0, horizon - 0.025, 1, horizon + 0.01), (240, 236, 228), (200, 192, 180))
    if rng.random() < 0.7:
        x, y, w, h = rng.uniform((0.05, 0.05, 0.2, 0.2), (0.6, 0.15, 0.4, 0.4))
        canvas.gradient((x - 0.02, y - 0.02, x + w + 0.02, y + h + 0.02), (250, 246, 238), (230, 224, 212))
        canvas.gradient((x, y, x + w, y + h), _jitter((120, 180, 230), rng, 40), _jitter((200, 226, 210), rng, 30))
    rug = _jitter((160, 90, 100), rng, 70)
    canvas.polygon(_tube([(0.25, 0.88), (0.5, 0.885), (0.75, 0.88)], [0.09, 0.1, 0.09]), rug)


def _street(canvas: _Canvas, horizon: float, rng):
    _sky(canvas, horizon, rng)
    x = -0.05
    while x < 1:
        w, h = rng.uniform(0.14, 0.3), rng.uniform(0.2, 0.6)
        house = _jitter((176, 150, 140), rng, 55)
        canvas.gradient(
            (max(x, 0), max(horizon - h, 0), min(x + w, 1), horizon + 0.01), house, _mix(house, (60, 60, 70), 0.2)
        )
        pane = _jitter((210, 220, 190), rng, 45)
        for column in np.arange(x + 0.03, x + w - 0.04, 0.06):
            for row in np.arange(horizon - h + 0.04, horizon - 0.06, 0.08):
                canvas.polygon(
                    [(column, row), (column + 0.03, row), (column + 0.03, row + 0.045), (column, row + 0.045)], pane
                )
        x += w
    road = _jitter((128, 126, 128), rng, 25)
    canvas.gradient((0, horizon, 1, 1), _mix(road, (230, 230, 230), 0.3), road)
    line = rng.uniform(horizon + 0.05, 0.95)
    for x in np.arange(rng.uniform(-0.2, 0), 1, 0.22):
        canvas.polygon([(x, line), (x + 0.12, line), (x + 0.11, line + 0.02), (x - 0.01, line + 0.02)], (238, 226, 190))
    _speckle(canvas, horizon, [_mix(road, (40, 40, 40), 0.4), _mix(road, (255, 255, 255), 0.3)], 20, rng)


BACKGROUNDS = [_meadow, _desert, _winter, _room, _street]


# --- things in front of the animal: they own their pixels as background -----------------------------------------------


def _post(canvas: _Canvas, x: float, ground: float, size: float, rng):
    wood = _jitter((128, 96, 70), rng, 30)
    width = size * rng.uniform(0.09, 0.14)
    canvas.polygon(
        _tube([(x, ground + 0.3 * size), (x, ground - 2 * size)], [width, width], 0.006), _mix(wood, (0, 0, 0), 0.5), 0
    )
    canvas.polygon(_tube([(x, ground + 0.3 * size), (x, ground - 2 * size)], [width, width]), wood, 0)
    for k in (-0.4, 0.3):
        canvas.polygon(
            _tube([(x + k * width, ground), (x + k * width, ground - 1.8 * size)], [0.004, 0.004]),
            _mix(wood, (0, 0, 0), 0.25),
            0,
        )


def _bush(canvas: _Canvas, x: float, ground: float, size: float, rng):
    leaf = _jitter((74, 128, 66), rng, 35)
    at = rng.uniform((-0.42, -0.28), (0.42, 0.1), (11, 2)) * size + (x, ground)
    radius = rng.uniform(0.12, 0.2, 11) * size
    for centre, r in zip(at, radius, strict=True):
        canvas.disc(centre, r + 0.006, _mix(leaf, (0, 20, 0), 0.5), 0)
    for centre, r in zip(at, radius, strict=True):
        canvas.disc(centre, r, _jitter(leaf, rng, 12), 0)


def _reeds(canvas: _Canvas, x: float, ground: float, size: float, rng):
    leaf = _jitter((110, 150, 70), rng, 35)
    for _ in range(26):
        foot = x + rng.uniform(-0.6, 0.6) * size
        height, lean = rng.uniform(0.25, 0.65) * size, rng.uniform(-0.12, 0.12)
        blade = _tube(
            [(foot, ground + 0.1), (foot + lean * 0.3, ground - height / 2), (foot + lean, ground - height)],
            [0.012, 0.01, 0.001],
        )
        canvas.polygon(blade, _jitter(leaf, rng, 22), 0)


OCCLUDERS = [_post, _bush, _reeds]


# --- one animal -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Animal:
    """One animal's place and looks; `x`, `ground` and `height` in picture sides."""

    label: int
    x: float
    ground: float
    height: float
    facing_left: bool
    sitting: bool
    collar: bool
    coat: str  # "plain", "spotted", "striped"


def _draw_animal(canvas: _Canvas, animal: _Animal, owner: int, rng) -> np.ndarray:
    """Paint one animal; returns its outer (left, top, right, bottom) in picture sides."""
    breed = _vary(BREEDS[CLASSES[animal.label]], rng)
    _, shoulder, parts = _trunk(breed, animal.sitting, rng)
    parts += _head(breed, shoulder, animal.collar, rng)
    parts.sort(key=lambda part: part.group)
    # Sizes differ between breeds in life; here the picture is filled alike, so that size gives nothing away.
    points, radii = np.concatenate([p.points for p in parts]), np.concatenate([p.radii for p in parts])[:, None]
    low, high = (points - radii).min(0), (points + radii).max(0)
    scale = animal.height / max(high[1] - low[1], 0.72 * (high[0] - low[0]))
    mirror = np.array([-1.0 if animal.facing_left else 1.0, 1.0])
    offset = np.array([animal.x, animal.ground])
    shift = np.array([(low[0] + high[0]) / 2, 0.0])
    place = [replace(p, points=(p.points - shift) * mirror * scale + offset, radii=p.radii * scale) for p in parts]
    half = (high[0] - low[0]) / 2 * scale
    box = np.array([animal.x - half, animal.ground + low[1] * scale, animal.x + half, animal.ground])

    coat = _jitter(COATS[rng.integers(len(COATS))], rng, 16)
    ink = _mix(coat, (16, 12, 18), 0.82)
    light = _mix(coat, (255, 250, 240), 0.6) if rng.random() < 0.6 else coat
    band = COLLARS[rng.integers(len(COLLARS))]
    fills = {"coat": coat, "far": _mix(coat, (0, 0, 0), 0.28), "light": light, "ink": (24, 20, 24),
             "eye": (250, 250, 244), "collar": band, "tag": (250, 214, 90)}  # fmt: skip
    side = canvas.scale
    shadow = Image.new("L", (side, side))
    floor = _tube([(box[0], box[3]), (box[2], box[3])], [0.03, 0.03]) * side
    ImageDraw.Draw(shadow).polygon(floor.ravel().tolist(), fill=90)
    canvas.tint((20, 20, 30), shadow)

    fur = Image.new("L", (side, side))
    fur_draw = ImageDraw.Draw(fur)
    for group in range(7):
        members = [p for p in place if p.group == group]
        if group == FACE:
            mark = _mix(coat, (30, 24, 28) if sum(coat) > 270 else (246, 240, 228), 0.62)
            _paint_coat(canvas, fur, box, animal.coat, mark, rng)
        else:
            for part in members:
                outline = _tube(part.points, part.radii, 0.018 * scale)
                canvas.polygon(outline, ink, owner)
        for part in members:
            inner = _tube(part.points, part.radii)
            canvas.polygon(inner, fills[part.fill], owner)
            furry = part.fill in ("coat", "far")
            fur_draw.polygon((inner * side).ravel().tolist(), fill=255 if furry else 0)
    return box


def _paint_coat(canvas: _Canvas, fur: Image.Image, box: np.ndarray, coat: str, colour, rng):
    """Spots or stripes, and light from above, on the pixels of `fur`."""
    side, size = canvas.scale, max(box[2] - box[0], box[3] - box[1])
    if coat != "plain":
        pattern = Image.new("L", (side, side))
        draw = ImageDraw.Draw(pattern)
        if coat == "spotted":
            for x, y, r in rng.uniform((box[0], box[1], 0.02), (box[2], box[3], 0.055), (26, 3)):
                draw.ellipse([v * side for v in (x - r * size, y - r * size, x + r * size, y + r * size)], fill=255)
        else:
            step, lean, wave = rng.uniform(0.07, 0.10) * size, rng.uniform(-0.06, 0.06), rng.uniform(-0.02, 0.02)
            for x in np.arange(box[0] - 0.05, box[2] + 0.05, step):
                middle = (box[1] + box[3]) / 2
                knots = [(x, box[1]), (x + lean / 2 + wave, middle), (x + lean, box[3])]
                draw.polygon((_tube(knots, [0.22 * step] * 3) * side).ravel().tolist(), fill=255)
        canvas.tint(colour, ImageChops.multiply(pattern, fur))
    column = np.interp(np.linspace(0, 1, 32), [0, box[1], box[3], 1], [0, 0, 100, 100]).astype(np.uint8)
    below = Image.fromarray(column[:, None]).resize((side, side), Image.Resampling.BILINEAR)
    canvas.tint((24, 16, 40), ImageChops.multiply(below, fur))


# --- the scene --------------------------------------------------------------------------------------------------------


def label_of(seed: int, index: int) -> int:
    """The main animal's class: every run of len(CLASSES) consecutive indices holds each class once, in seeded order."""
    block, position = divmod(index, len(CLASSES))
    return int(np.random.default_rng((seed, block, 1)).permutation(len(CLASSES))[position])


def _cast(label: int, number: int, horizon: float, rng) -> list[_Animal]:
    """The animals of a scene, farthest first; the last one is the main one."""
    animals = []
    slots = rng.permutation(number) if number > 1 else [0]
    for i in range(number):
        main = i == number - 1
        height = rng.uniform(0.50, 0.78) if number == 1 else rng.uniform(0.26, 0.36) + 0.10 * i / number
        ground = (
            rng.uniform(max(horizon + 0.08, height + 0.04), 0.97)
            if number == 1
            else horizon + (0.95 - horizon) * (i + rng.uniform(0.5, 1)) / number
        )
        middle = (slots[i] + 0.5) / number
        animals.append(
            _Animal(
                label=label if main else int(rng.integers(len(CLASSES))),
                x=middle + rng.uniform(-0.14, 0.14) / number,
                ground=ground,
                height=height,
                facing_left=bool(rng.random() < 0.5),
                sitting=bool(rng.random() < 0.35),
                collar=bool(rng.random() < 0.4),
                coat=["plain", "spotted", "striped"][rng.integers(3)],
            )
        )
    return animals


def _light(image: Image.Image, night: bool, snow: bool, rng) -> Image.Image:
    """Exposure, colour cast, night, snowfall, a soft lens and sensor noise, at the final size."""
    side = image.width
    gain = rng.uniform(0.75, 1.2) * (1 + rng.uniform(-0.08, 0.08, 3)) * ((0.36, 0.42, 0.62) if night else 1)
    gamma = rng.uniform(0.8, 1.25)
    ramp = np.linspace(0, 1, 256)[None] ** gamma * gain[:, None] * 255
    image = image.point(np.clip(ramp, 0, 255).astype(np.uint8).ravel().tolist())
    blur = rng.random() < 0.3
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.003, 0.007) * side))
    if snow:
        draw = ImageDraw.Draw(image)
        for x, y, r in rng.uniform((0, 0, 0.004), (1, 1, 0.012), (60, 3)) * side:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=(248, 250, 255))
    tile = (rng.standard_normal((side, side)) * rng.uniform(1, 8)).astype(np.float32)
    return Image.fromarray(np.clip(np.asarray(image) + tile[..., None], 0, 255).astype(np.uint8))


def render(seed: int, index: int, size: int = 96, animals: tuple[int, int] = (1, 1)) -> dict[str, np.ndarray]:
    """Draw scene `index` of the set `seed`: the same pixels for the same arguments, the same scene for every size.

    `animals` is the smallest and largest number of animals. Returns "image" uint8 [size, size, 3], "label" int32 (the
    main animal's class), "attributes" float32 [8] (0 or 1, see ATTRIBUTES), "boxes" float32 [N, 4] normalised yxyx,
    tight round the visible pixels, main animal first, "labels" int32 [N], "mask" uint8 [size, size] (0 background,
    class + 1 elsewhere) and "instances" uint8 [size, size] (0 background, i + 1 for the animal of boxes[i]).
    """
    rng = np.random.default_rng((seed, index, 0))
    canvas = _Canvas(size * max(2, -(-192 // size)))
    number = int(rng.integers(animals[0], animals[1] + 1))
    label = label_of(seed, index)
    horizon = rng.uniform(0.35, 0.6)
    night, snow, occluded = rng.random(3) < (0.25, 0.2, 0.35)
    cast = _cast(label, number, horizon, rng)
    BACKGROUNDS[rng.integers(len(BACKGROUNDS))](canvas, horizon, rng)
    for i, animal in enumerate(cast):
        box = _draw_animal(canvas, animal, number - i, rng)
    main = cast[-1]
    if occluded:
        width = box[2] - box[0]
        x = main.x + rng.uniform(-0.3, 0.12) * width * (-1 if main.facing_left else 1)
        OCCLUDERS[rng.integers(len(OCCLUDERS))](canvas, x, main.ground, main.height, rng)
    image = _light(canvas.image.reduce(canvas.scale // size), night, snow, rng)
    owner = np.asarray(canvas.owner.resize((size, size), Image.Resampling.NEAREST))
    scene = {"night": night, "snow": snow, "occluded": occluded}
    animal = {"spotted": main.coat == "spotted", "striped": main.coat == "striped"}
    values = {**vars(main), **animal, **scene}
    return {
        "image": np.asarray(image),
        "label": np.int32(label),
        "attributes": np.array([values[name] for name in ATTRIBUTES], np.float32),
        **_annotate(owner, [animal.label for animal in cast[::-1]]),
    }


def _annotate(owner: np.ndarray, labels: list[int]) -> dict[str, np.ndarray]:
    """Boxes, labels and masks from the map of owners (animal i owns value i + 1). Hidden animals drop out."""
    size = len(owner)
    instances, mask, boxes, kept = np.zeros_like(owner), np.zeros_like(owner), [], []
    for i, label in enumerate(labels):
        mine = owner == i + 1
        rows, columns = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
        if not len(rows):
            continue
        boxes.append([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
        kept.append(label)
        instances[mine], mask[mine] = len(kept), label + 1
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4) / size,
        "labels": np.array(kept, np.int32),
        "mask": mask,
        "instances": instances,
    }


# --- as a data set ----------------------------------------------------------------------------------------------------

CACHE_BYTES = 1 << 30  # drawn pictures a source keeps in memory; the rest are drawn again every epoch


def split_seed(seed: int, split: str) -> int:
    """The seed of one split's scenes: no two splits share one."""
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}. Received: split={split}")
    return len(SPLITS) * seed + SPLITS.index(split)


def source(split: str, count: int, size: int = 96, seed: int = 0, animals: tuple[int, int] = (1, 1)) -> Source:
    """`count` scenes of a split as a Source; pictures are drawn on first use and kept, so later epochs cost nothing.

    Raises UserError for an unknown split, count < 1, size < 16 or an impossible range of animals.
    """
    own = split_seed(seed, split)
    if count < 1:
        raise UserError(f"count must be at least 1. Received: count={count}")
    if size < 16:
        raise UserError(f"size must be at least 16 pixels. Received: size={size}")
    if not 1 <= animals[0] <= animals[1] <= 4:
        raise UserError(f"animals must be (least, most) within 1..4. Received: animals={tuple(animals)}")
    kinds = {
        "image": tf.uint8,
        "label": tf.int32,
        "attributes": tf.float32,
        "boxes": tf.float32,
        "labels": tf.int32,
        "mask": tf.uint8,
    }
    shapes = {
        "image": [size, size, 3],
        "label": [],
        "attributes": [len(ATTRIBUTES)],
        "boxes": [None, 4],
        "labels": [None],
        "mask": [size, size],
    }
    room = CACHE_BYTES // (4 * size * size)
    cache: dict[int, list[np.ndarray]] = {}

    def draw(index):
        index = int(index)
        values = cache.get(index)
        if values is None:
            scene = render(own, index, size, animals)
            values = [scene[key] for key in kinds]
            if len(cache) < room:
                cache[index] = values
        return values

    def load(record: Sample) -> Sample:
        values = tf.numpy_function(draw, [record["index"]], list(kinds.values()), stateful=False)
        sample = {key: tf.ensure_shape(v, shapes[key]) for key, v in zip(kinds, values, strict=True)}
        return {"id": record["id"], **sample}

    def record(index) -> Sample:
        return {
            "id": tf.strings.join([f"{split}-{seed}-", tf.strings.as_string(index, width=5, fill="0")]),
            "index": index,
        }

    return Source(tf.data.Dataset.range(count).map(record), load, count, list(CLASSES))


def write_folder(root: str | os.PathLike, counts: dict[str, int], size: int = 224, seed: int = 0) -> Path:
    """Write scenes of one animal as `root/split/class/00000.jpg`; `counts` maps split to number. Returns the root."""
    root = Path(root)
    for split, count in counts.items():
        own = split_seed(seed, split)
        for index in range(count):
            scene = render(own, index, size)
            path = root / split / CLASSES[scene["label"]] / f"{index:05d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part")
            Image.fromarray(scene["image"]).save(part, "JPEG", quality=92)
            os.replace(part, path)
    return root
