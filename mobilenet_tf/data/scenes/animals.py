"""The animals: a table of breeds, a body of tubes, coats and the painting of one animal."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from PIL import Image, ImageChops

from mobilenet_tf.data.scenes.canvas import Canvas, Color, Layer, jitter, mix, tube, tubes


@dataclass(frozen=True)
class Breed:
    """Build and coat of one breed; lengths in body units (a medium dog is about 1 long). Colors belong to no breed."""

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
    coat: str  # a key of COATS


# fmt: off
BREEDS = {
    #                   body  girth leg   paw    neck  head   muzz  snout  ear      size  tail     coat
    "beagle":     Breed(0.80, 0.22, 0.36, 0.070, 0.24, 0.200, 0.15, 0.095, "drop",  0.26, "flag",  "saddle"),
    "bulldog":    Breed(0.68, 0.28, 0.22, 0.095, 0.17, 0.270, 0.02, 0.150, "fold",  0.13, "stub",  "patches"),
    "cat":        Breed(0.74, 0.17, 0.32, 0.055, 0.19, 0.200, 0.00, 0.080, "point", 0.19, "wave",  "stripes"),
    "corgi":      Breed(1.05, 0.23, 0.14, 0.075, 0.24, 0.210, 0.14, 0.080, "point", 0.30, "stub",  "bib"),
    "dachshund":  Breed(1.20, 0.17, 0.12, 0.060, 0.22, 0.170, 0.24, 0.070, "drop",  0.28, "whip",  "spots"),
    "fox":        Breed(0.80, 0.17, 0.32, 0.050, 0.20, 0.180, 0.21, 0.045, "point", 0.28, "brush", "blanket"),
    "greyhound":  Breed(0.85, 0.16, 0.66, 0.050, 0.34, 0.145, 0.26, 0.055, "fold",  0.15, "hook",  "bands"),
    "lynx":       Breed(0.75, 0.21, 0.46, 0.085, 0.19, 0.215, 0.00, 0.090, "tuft",  0.22, "stub",  "brindle"),
    "poodle":     Breed(0.62, 0.19, 0.50, 0.065, 0.34, 0.180, 0.19, 0.060, "drop",  0.30, "pom",   "curls"),
    "spitz":      Breed(0.64, 0.26, 0.30, 0.065, 0.21, 0.210, 0.13, 0.060, "point", 0.19, "curl",  "stockings"),
}

# Knots (x, y, radius) from the root; x backwards is negative, y down. Ears are in units of ear_size.
EARS = {
    "drop":  [(0.0, 0.0, 0.16), (-0.25, 0.45, 0.34), (-0.15, 1.0, 0.26)],
    "fold":  [(0.0, 0.0, 0.30), (-0.50, -0.25, 0.34), (-1.10, 0.15, 0.06)],
    "point": [(0.0, 0.2, 0.46), (-0.06, -0.45, 0.30), (-0.04, -1.0, 0.02)],
    "tuft":  [(0.0, 0.2, 0.48), (-0.06, -0.45, 0.34), (-0.10, -0.9, 0.07), (-0.12, -1.7, 0.05)],
}
TAILS = {
    "brush": [(0.0, 0.0, 0.06), (-0.20, 0.08, 0.12), (-0.46, 0.14, 0.15), (-0.76, 0.02, 0.02)],
    "curl":  [(0.0, 0.0, 0.09), (-0.12, -0.16, 0.12), (0.00, -0.36, 0.13), (0.20, -0.34, 0.08)],
    "flag":  [(0.0, 0.0, 0.06), (-0.10, -0.16, 0.06), (-0.12, -0.34, 0.05), (-0.06, -0.50, 0.03)],
    "hook":  [(0.0, 0.0, 0.05), (-0.10, 0.22, 0.04), (-0.18, 0.46, 0.03), (-0.36, 0.50, 0.02)],
    "pom":   [(0.0, 0.0, 0.04), (-0.06, -0.14, 0.04), (-0.11, -0.28, 0.13), (-0.13, -0.33, 0.12)],
    "stub":  [(0.0, 0.0, 0.07), (-0.05, -0.05, 0.07), (-0.09, -0.08, 0.07), (-0.11, -0.10, 0.06)],
    "wave":  [(0.0, 0.0, 0.05), (-0.24, -0.10, 0.05), (-0.26, -0.46, 0.05), (-0.46, -0.66, 0.04)],
    "whip":  [(0.0, 0.0, 0.06), (-0.18, -0.02, 0.05), (-0.36, -0.06, 0.03), (-0.52, -0.16, 0.02)],
}

HUES = [  # white, gray, silver, cream, sand, gold, ginger, russet, brown, hazel, lilac, moss, rose
    (238, 232, 222), (150, 148, 150), (138, 152, 172), (232, 208, 168), (208, 172, 122), (222, 168, 82),
    (222, 126, 56), (196, 104, 62), (162, 122, 86), (176, 128, 96), (168, 148, 176), (128, 136, 98), (206, 148, 138),
]
BRIGHT = [(214, 44, 52), (38, 104, 214), (250, 196, 40), (36, 160, 96), (186, 66, 190), (20, 190, 200)]
# fmt: on

# Parts of one group merge: the outline runs round the group. The face is painted last, over the coat, unlined.
FAR, BEHIND, BODY, COLLAR, HEAD, EAR, FACE = range(7)


@dataclass(frozen=True)
class Part:
    """One tube of an animal: knots [K, 3] as (x, y, radius), its group, and what it is filled with."""

    knots: np.ndarray
    group: int
    fill: str = "coat"  # or "far", "light", "ink", "eye", "collar", "tag"


def turn(points, angle: float) -> np.ndarray:
    """(x, y, ...) rotated about the origin; a positive angle turns +x towards +y, downwards."""
    cos, sin = np.cos(angle), np.sin(angle)
    points = np.array(points, float)
    points[..., :2] = points[..., :2] @ np.array([[cos, sin], [-sin, cos]])
    return points


def at(knots, offset) -> np.ndarray:
    """Knots moved by (x, y)."""
    return np.asarray(knots, float) + (*offset, 0.0)


def dot(x: float, y: float, radius: float) -> list[tuple[float, float, float]]:
    """A tube too short to be anything but a disc."""
    return [(x, y, radius), (x + 1e-3, y, radius)]


def leg(top, foot: float, bend: float, paw: float, group: int = BODY) -> Part:
    """From `top` down to the ground at x = foot."""
    x, y = top
    knots = [(x, y, 1.5 * paw), ((x + foot) / 2 + bend, y / 2, 1.05 * paw), (foot, -paw, 0.85 * paw),
             (foot + 0.9 * paw, -0.9 * paw, 0.85 * paw)]  # fmt: skip
    return Part(np.array(knots), group, "far" if group == FAR else "coat")


def standing(breed: Breed, rng) -> tuple[np.ndarray, np.ndarray, list[Part]]:
    """Hip, shoulder and legs of an animal that stands or walks on y = 0, looking to +x."""
    height, lean = breed.leg + 0.8 * breed.girth, rng.uniform(-0.05, 0.05)
    hip, shoulder = np.array([-breed.body / 2, lean - height]), np.array([breed.body / 2, -lean - height])
    step = rng.uniform(-0.45, 0.45) * (breed.leg + 0.3 * breed.girth)
    drop = np.array([0.0, 0.25 * breed.girth])
    legs = [
        leg(hip + drop, hip[0] + 0.07 + step, -0.04, breed.paw, FAR),
        leg(shoulder + drop, shoulder[0] + 0.05 - step, 0.02, breed.paw, FAR),
        leg(hip + drop, hip[0] - step, -0.05, 1.08 * breed.paw),
        leg(shoulder + drop, shoulder[0] + step, 0.02, 1.08 * breed.paw),
    ]
    return hip, shoulder, legs


def sitting(breed: Breed, rng) -> tuple[np.ndarray, np.ndarray, list[Part]]:
    """Hip, shoulder and legs of an animal that sits on y = 0, looking to +x."""
    girth, paw = breed.girth, breed.paw
    hip = np.array([0.0, -0.95 * girth])
    shoulder = hip + turn([0.78 * breed.body, 0], -rng.uniform(0.85, 1.1))
    shoulder[1] = min(shoulder[1], -(breed.leg + girth))
    chest = shoulder + (0.25 * girth, 0.3 * girth)
    legs = [
        leg(chest, chest[0] + rng.uniform(0.06, 0.12), 0.0, paw, FAR),
        leg(hip + (0.3 * girth, 0.2 * girth), 1.35 * girth, 0.1, 1.1 * paw),
        leg(chest, chest[0] + 0.02, 0.0, paw),
    ]
    return hip, shoulder, legs


def trunk(breed: Breed, hip, shoulder, spin: float, rng) -> list[Part]:
    """Trunk and tail; `spin` turns the tail's root down with the trunk."""
    middle = (hip + shoulder) / 2 + (0, 0.04 * breed.girth)
    radii = breed.girth * np.array([[0.95], [0.92], [1.04]])
    root = hip + turn([-0.8 * breed.girth, -0.35 * breed.girth], -spin)
    tail = turn(TAILS[breed.tail], rng.uniform(-0.25, 0.25) - 0.5 * spin)
    return [Part(np.hstack([[hip, middle, shoulder], radii]), BODY), Part(at(tail, root), BEHIND)]


def head(breed: Breed, shoulder, collar: bool, rng) -> list[Part]:
    """Neck, skull, ears, face and collar, from the shoulder up."""
    size, snout = breed.head, breed.snout
    nape = shoulder + (-0.05, -0.2 * breed.girth)
    center = shoulder + turn([breed.neck + 0.6 * breed.girth, 0], -rng.uniform(0.65, 1.15))
    pitch, spread = rng.uniform(-0.3, 0.3), rng.uniform(0.38, 0.55) * size
    tip = 0.62 * size + breed.muzzle
    hangs = breed.ear == "drop"
    root = (-0.30 * size, -0.45 * size) if hangs else (-0.34 * size, -0.70 * size)
    ear = at(np.array(EARS[breed.ear]) * breed.ear_size, root)
    features = [
        (at(ear, (spread, 0.04 * size)), BEHIND, "far"),
        ([(-0.12 * size, 0, size), (0.3 * size, 0.04 * size, 0.96 * size), (tip, 0.3 * size, snout)], HEAD, "coat"),
        (ear, EAR if hangs else HEAD, "coat"),
        (dot(tip - 0.25 * snout, 0.36 * size, 0.95 * snout), FACE, "light"),
        (dot(tip + 0.7 * snout, 0.3 * size - 0.3 * snout, 0.035), FACE, "ink"),
        (dot(0.38 * size, -0.26 * size, 0.05), FACE, "eye"),
        (dot(0.42 * size, -0.25 * size, 0.032), FACE, "ink"),
    ]
    parts = [Part(at(turn(knots, pitch), center), group, fill) for knots, group, fill in features]
    neck = np.hstack([[nape, (nape + center) / 2, center], size * np.array([[0.85], [0.62], [0.62]])])
    parts.append(Part(neck, BODY))
    if collar:
        along = center - nape
        across = along[::-1] * (-1, 1) / np.linalg.norm(along)
        low, high = (nape + 0.3 * along + across * side * 0.72 * size for side in (-1, 1))
        parts.append(Part(np.array([(*low, 0.045), (*high, 0.045)]), COLLAR, "collar"))
        x, y = high + 0.05 * across
        parts.append(Part(np.array(dot(x, y, 0.05)), COLLAR, "tag"))
    return parts


def vary(breed: Breed, rng, amount: float = 0.06) -> Breed:
    """An individual: every proportion a little off the breed's."""
    names = [field.name for field in fields(Breed) if field.type == "float"]
    factors = 1 + amount * rng.uniform(-1, 1, len(names))
    return replace(breed, **{name: getattr(breed, name) * k for name, k in zip(names, factors, strict=True)})


# --- coats: markings on a one-channel layer, inside box = (left, top, right, bottom) of the given size ----------------


def spots(layer: Layer, box, size, back, rng):
    """Draws many small discs."""
    for x, y, radius in rng.uniform((box[0], box[1], 0.032), (box[2], box[3], 0.05), (36, 3)):
        layer.disc(x, y, radius * size, 255)


def patches(layer: Layer, box, size, back, rng):
    """Draws a few large discs."""
    for x, y, radius in rng.uniform((box[0], box[1], 0.07), (box[2], box[3], 0.12), (10, 3)):
        layer.disc(x, y, radius * size, 255)


def curls(layer: Layer, box, size, back, rng):
    """Draws rings close to each other, in rows."""
    step = 0.1 * size
    for i, x in enumerate(np.arange(box[0], box[2], step)):
        for y in np.arange(box[1] + (i % 2) * step / 2, box[3], step):
            layer.ring(x, y, 0.5 * step, 0.2 * step, 255)


def stripes(layer: Layer, box, size, back, rng):
    """Draws upright stripes that lean a little."""
    step, lean, wave = rng.uniform((0.11 * size, -0.06, -0.02), (0.15 * size, 0.06, 0.02))
    middle, width = (box[1] + box[3]) / 2, 0.23 * step
    lines = [
        np.array([(x, box[1], width), (x + lean / 2 + wave, middle, width), (x + lean, box[3], width)])
        for x in np.arange(box[0] - 0.05, box[2] + 0.05, step)
    ]
    layer.polygons(tubes(lines), [255] * len(lines))


def bands(layer: Layer, box, size, back, rng):
    """Draws level bands."""
    step = rng.uniform(0.12, 0.15) * size
    for y in np.arange(box[1] + rng.uniform(0, step), box[3], step):
        layer.rectangle(box[0], y, box[2], y + 0.45 * step, 255)


def brindle(layer: Layer, box, size, back, rng):
    """Draws thin slanted lines."""
    step, width = rng.uniform(0.11, 0.14) * size, 0.025 * size
    lines = [
        np.array([(x, box[3], width), (x + box[3] - box[1], box[1], width)])
        for x in np.arange(box[0] - (box[3] - box[1]), box[2], 1.4 * step)
    ]
    layer.polygons(tubes(lines), [255] * len(lines))


def stockings(layer: Layer, box, size, back, rng):
    """Marks all that lies below the belly: the legs."""
    belly = back[0, 1] + 0.5 * back[0, 2]
    layer.rectangle(box[0], min(belly, box[3] - 0.35 * (box[3] - box[1])), box[2], box[3], 255)


def saddle(layer: Layer, box, size, back, rng):
    """Marks the upper part of the trunk."""
    layer.polygon(tubes([back * (1, 1, 0.75) - (0, 0.55 * back[0, 2], 0)])[0], 255)


def bib(layer: Layer, box, size, back, rng):
    """Marks the lower part of the trunk."""
    layer.polygon(tubes([back * (1, 1, 0.85) + (0, 0.7 * back[0, 2], 0)])[0], 255)


def blanket(layer: Layer, box, size, back, rng):
    """Marks the half of the body where the tail is."""
    middle, tail = back[1, 0], box[0] if back[0, 0] < back[2, 0] else box[2]
    layer.rectangle(min(middle, tail), box[1], max(middle, tail), box[3], 255)


COATS = {
    coat.__name__: coat for coat in (bands, bib, blanket, brindle, curls, patches, saddle, spots, stockings, stripes)
}
LIGHT_MARKS = {"bib", "patches"}  # on a darkened coat; all other marks are dark


# --- one animal -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Animal:
    """One animal's breed, position and pose; `x`, `ground` and `height` in image sides."""

    breed: str
    x: float
    ground: float
    height: float
    facing_left: bool
    sitting: bool
    collar: bool


def pose(animal: Animal, breed: Breed, rng) -> tuple[list[Part], np.ndarray, float]:
    """The parts in image units, their (left, top, right, bottom) and the scale from body units."""
    hip, shoulder, legs = (sitting if animal.sitting else standing)(breed, rng)
    parts = trunk(breed, hip, shoulder, 0.9 if animal.sitting else 0.0, rng) + legs
    parts += head(breed, shoulder, animal.collar, rng)
    knots = np.concatenate([part.knots for part in parts])
    low, high = (knots[:, :2] - knots[:, 2:]).min(0), (knots[:, :2] + knots[:, 2:]).max(0)
    # Breeds differ in size in life; here each fills the image alike, so that size gives nothing away.
    scale = animal.height / max(high[1] - low[1], 0.75 * (high[0] - low[0]))
    half = (high[0] - low[0]) / 2 * scale
    x = float(np.clip(animal.x, min(half - 0.03, 0.5), max(1.03 - half, 0.5)))  # inside the frame, but for an inch
    ground = max(animal.ground, 0.02 - low[1] * scale)
    flip = -1 if animal.facing_left else 1
    move = np.array([x - flip * scale * (low[0] + high[0]) / 2, ground, 0])
    parts = [Part(part.knots * (flip * scale, scale, scale) + move, part.group, part.fill) for part in parts]
    return parts, np.array([x - half, ground + low[1] * scale, x + half, ground + max(high[1], 0) * scale]), scale


def paint(canvas: Canvas, animal: Animal, owner: int, rng) -> np.ndarray:
    """Draw one animal and its shadow; returns its (left, top, right, bottom) before anything hides it."""
    breed = vary(BREEDS[animal.breed], rng)
    parts, box, scale = pose(animal, breed, rng)
    coat = jitter(HUES[rng.integers(len(HUES))], rng, 16)
    if breed.coat in LIGHT_MARKS:
        coat = mix(coat, (50, 40, 40), 0.45)
    ink = mix(coat, (16, 12, 18), 0.82)
    fills = {
        "coat": coat,
        "far": mix(coat, (0, 0, 0), 0.28),
        "light": mix(coat, (255, 250, 240), 0.6) if rng.random() < 0.6 else coat,
        "ink": (24, 20, 24),
        "eye": (250, 250, 244),
        "collar": BRIGHT[rng.integers(len(BRIGHT))],
        "tag": (250, 214, 90),
    }
    shadow, fur = Layer("L", canvas.picture.side), Layer("L", canvas.picture.side)
    shadow.polygon(tube((box[0], box[3], 0.03), (box[2], box[3], 0.03)), 90)
    canvas.picture.tint((20, 20, 30), shadow.image, (box[0] - 0.04, box[3] - 0.04, box[2] + 0.04, box[3] + 0.04))

    knots = [part.knots for part in parts]
    outlines, insides = tubes(knots, 0.018 * scale), tubes(knots)
    for group in range(FACE + 1):
        members = [i for i, part in enumerate(parts) if part.group == group]
        if group == FACE:
            dress(canvas, fur.image, breed.coat, coat, box, parts[0].knots, rng)
        else:
            canvas.polygons(outlines[members], [ink] * len(members), owner)
        canvas.polygons(insides[members], [fills[parts[i].fill] for i in members], owner)
        fur.polygons(insides[members], [255 if parts[i].fill in ("coat", "far") else 0 for i in members])
    return box


def dress(canvas: Canvas, fur: Image.Image, name: str, coat: Color, box, back, rng):
    """The coat's markings, and light from above, on the pixels of `fur`; `back` is the trunk's knots."""
    side = canvas.picture.side
    marks = Layer("L", side)
    COATS[name](marks, box, max(box[2] - box[0], box[3] - box[1]), back, rng)
    color = mix(coat, (250, 246, 238) if name in LIGHT_MARKS else (30, 24, 28), 0.88)
    canvas.picture.tint(color, ImageChops.multiply(marks.image, fur), box)
    column = np.interp(np.linspace(0, 1, 32), [0, box[1], box[3], 1], [0, 0, 100, 100]).astype(np.uint8)
    below = Image.fromarray(column[:, None]).resize((side, side), Image.Resampling.BILINEAR)
    canvas.picture.tint((24, 16, 40), ImageChops.multiply(below, fur), box)
