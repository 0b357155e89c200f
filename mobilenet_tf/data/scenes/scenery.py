"""Where the animals are: backgrounds, and the things that stand in front."""

from __future__ import annotations

import numpy as np

from mobilenet_tf.data.scenes.animals import BRIGHT
from mobilenet_tf.data.scenes.canvas import Canvas, Color, Layer, jitter, mix, ridge, tube, tubes

SKIES = [  # top and horizon: noon, dusk, overcast, dawn
    ((86, 152, 222), (206, 230, 244)),
    ((250, 160, 120), (252, 222, 160)),
    ((150, 170, 190), (214, 220, 224)),
    ((120, 110, 190), (240, 190, 200)),
]


def pick(options, rng):
    """Draws one of the options."""
    return options[rng.integers(len(options))]


def sky(layer: Layer, horizon: float, rng):
    """Sky, sun and clouds above the horizon."""
    top, low = pick(SKIES, rng)
    layer.gradient(0, 0, 1, horizon + 0.02, jitter(top, rng), jitter(low, rng))
    if rng.random() < 0.6:
        x, y, radius = rng.uniform((0.05, 0.05, 0.04), (0.95, 0.25, 0.08))
        layer.disc(x, y, radius, (255, 244, 200))
    for _ in range(rng.integers(0, 4)):
        x, y = rng.uniform((0, 0.04), (1, horizon * 0.6))
        for step in (-1, 0, 1):
            layer.disc(x + 0.06 * step, y - 0.02 * (step == 0), rng.uniform(0.035, 0.06), (246, 248, 250))


def tree(layer: Layer, x: float, y: float, size: float, leaf: Color, rng):
    """A fir or a round tree with its foot at (x, y)."""
    layer.polygon(tube((x, y, 0.07 * size), (x, y - 0.6 * size, 0.05 * size)), jitter((104, 76, 54), rng))
    if rng.random() < 0.5:
        for step in range(3):
            w, top = size * (0.34 - 0.08 * step), y - size * (0.55 + 0.22 * step)
            layer.polygon([(x - w, top + 0.24 * size), (x + w, top + 0.24 * size), (x, top - 0.14 * size)], leaf)
    else:
        for dx, dy, radius in rng.uniform((-0.2, -1.0, 0.16), (0.2, -0.6, 0.24), (5, 3)) * size:
            layer.disc(x + dx, y + dy, radius, jitter(leaf, rng, 10))


def trees(layer: Layer, most: int, horizon: float, leaf: Color, rng):
    """Draws up to so many trees along the horizon."""
    for _ in range(rng.integers(0, most + 1)):
        x, size = rng.uniform((0, 0.15), (1, 0.4))
        tree(layer, x, horizon + 0.03, size, jitter(leaf, rng, 25), rng)


def speckle(layer: Layer, horizon: float, colors: list[Color], count: int, rng):
    """Small strokes on the ground, larger the nearer: grass, pebbles, flowers."""
    x, depth, lean = rng.uniform((0, 0, -0.02), (1, 1, 0.02), (count, 3)).T
    y, length = horizon + 0.02 + (1 - horizon) * depth**0.8, 0.012 + 0.03 * depth
    strokes = np.stack([x - 0.006, y, x + 0.006, y, x + lean, y - length], 1).reshape(-1, 3, 2)
    layer.polygons(strokes, [colors[i % len(colors)] for i in range(count)])


def meadow(layer: Layer, horizon: float, rng):
    """A meadow with hills, trees and flowers."""
    sky(layer, horizon, rng)
    grass = jitter(pick([(112, 168, 74), (150, 170, 80), (70, 132, 84)], rng), rng)
    layer.polygon(ridge(horizon, 0.22, rng), mix(grass, (120, 160, 200), 0.55))
    layer.polygon(ridge(horizon + 0.01, 0.10, rng), mix(grass, (150, 190, 170), 0.3))
    trees(layer, 4, horizon, grass, rng)
    layer.gradient(0, horizon, 1, 1, grass, mix(grass, (30, 60, 30), 0.35))
    flower = jitter((240, 200, 210), rng, 60)
    speckle(layer, horizon, [mix(grass, (20, 60, 20), 0.4), mix(grass, (230, 240, 140), 0.4), flower], 45, rng)


def desert(layer: Layer, horizon: float, rng):
    """A desert with dunes or water behind it, and cacti."""
    sky(layer, horizon, rng)
    sand = jitter(pick([(232, 196, 132), (214, 150, 104), (240, 220, 180)], rng), rng)
    if rng.random() < 0.5:
        layer.polygon(ridge(horizon, 0.25, rng, 5), mix(sand, (150, 80, 70), 0.4))
    else:
        layer.gradient(0, horizon - 0.12, 1, horizon + 0.02, (40, 120, 190), (90, 190, 210))
    layer.gradient(0, horizon, 1, 1, sand, mix(sand, (120, 80, 50), 0.3))
    for y in np.sort(rng.uniform(horizon + 0.06, 1, rng.integers(0, 4))):
        layer.polygon(ridge(y, 0.04, rng), mix(sand, (140, 100, 70), rng.uniform(0, 0.3)))
    for _ in range(rng.integers(0, 4)):
        x, size = rng.uniform((0, 0.1), (1, 0.25))
        green, y = jitter((70, 140, 84), rng), horizon
        layer.polygon(tube((x, y + 0.04, 0.03), (x, y - size, 0.03)), green)
        arm = (x, y - 0.3 * size, 0.02), (x + 0.07, y - 0.35 * size, 0.02), (x + 0.07, y - 0.7 * size, 0.02)
        layer.polygon(tube(*arm), green)
    speckle(layer, horizon, [mix(sand, (90, 60, 40), 0.4), mix(sand, (255, 255, 255), 0.4)], 25, rng)


def winter(layer: Layer, horizon: float, rng):
    """A plain of snow with mountains and trees."""
    sky(layer, horizon, rng)
    for x, w, h in rng.uniform((0, 0.2, 0.15), (1, 0.4, 0.35), (rng.integers(1, 4), 3)):
        layer.polygon([(x - w, horizon), (x, horizon - h), (x + w, horizon)], jitter((112, 124, 150), rng))
        cap = [(-0.3, 0.7), (0, 1), (0.3, 0.7), (0.1, 0.6), (0, 0.7)]
        layer.polygon(np.array(cap) * (w, -h) + (x, horizon), (244, 248, 252))
    trees(layer, 5, horizon, (52, 96, 88), rng)
    snow = jitter((232, 238, 248), rng, 10)
    layer.gradient(0, horizon, 1, 1, snow, mix(snow, (120, 150, 200), 0.3))
    speckle(layer, horizon, [mix(snow, (120, 150, 190), 0.4), (255, 255, 255)], 25, rng)


def room(layer: Layer, horizon: float, rng):
    """A room with wallpaper, a floor of boards, perhaps a window, and a carpet."""
    wall, floor = jitter((200, 180, 170), rng, 50), jitter((150, 108, 76), rng, 30)
    layer.gradient(0, 0, 1, horizon + 0.01, wall, mix(wall, (60, 50, 60), 0.15))
    pattern, step, style = mix(wall, jitter((128, 128, 128), rng, 120), 0.3), rng.uniform(0.06, 0.16), rng.integers(3)
    for x in np.arange(0, 1, step):
        if style == 0:
            layer.rectangle(x, 0, x + step / 2, horizon, pattern)
        elif style == 1:
            for row, y in enumerate(np.arange(0, horizon, step)):
                layer.disc(x + step / 2 * (row % 2), y, 0.016, pattern)
    layer.gradient(0, horizon, 1, 1, floor, mix(floor, (40, 24, 16), 0.4))
    for x in np.linspace(-1, 2, 13):
        layer.polygon([(x, 1), (x + 0.012, 1), (0.5 + (x - 0.5) * 0.6, horizon)], mix(floor, (30, 20, 10), 0.35))
    layer.gradient(0, horizon - 0.025, 1, horizon + 0.01, (240, 236, 228), (200, 192, 180))
    if rng.random() < 0.7:
        x, y, w, h = rng.uniform((0.05, 0.05, 0.2, 0.2), (0.6, 0.15, 0.4, 0.4))
        layer.gradient(x - 0.02, y - 0.02, x + w + 0.02, y + h + 0.02, (250, 246, 238), (230, 224, 212))
        view = jitter((120, 180, 230), rng, 40), jitter((200, 226, 210), rng, 30)
        layer.gradient(x, y, x + w, y + h, *view)
    layer.polygon(tube((0.25, 0.88, 0.09), (0.5, 0.885, 0.1), (0.75, 0.88, 0.09)), jitter((160, 90, 100), rng, 70))


def street(layer: Layer, horizon: float, rng):
    """A street with houses."""
    sky(layer, horizon, rng)
    x = -0.05
    while x < 1:
        w, h = rng.uniform((0.14, 0.2), (0.3, 0.6))
        house, pane = jitter((176, 150, 140), rng, 55), jitter((210, 220, 190), rng, 45)
        layer.gradient(x, horizon - h, x + w, horizon + 0.01, house, mix(house, (60, 60, 70), 0.2))
        for column in np.arange(x + 0.03, x + w - 0.04, 0.06):
            for row in np.arange(horizon - h + 0.04, horizon - 0.06, 0.08):
                layer.rectangle(column, row, column + 0.03, row + 0.045, pane)
        x += w
    road = jitter((128, 126, 128), rng, 25)
    layer.gradient(0, horizon, 1, 1, mix(road, (230, 230, 230), 0.3), road)
    y = rng.uniform(horizon + 0.05, 0.95)
    for x in np.arange(rng.uniform(-0.2, 0), 1, 0.22):
        layer.polygon([(x, y), (x + 0.12, y), (x + 0.11, y + 0.02), (x - 0.01, y + 0.02)], (238, 226, 190))
    speckle(layer, horizon, [mix(road, (40, 40, 40), 0.4), mix(road, (255, 255, 255), 0.3)], 20, rng)


BACKGROUNDS = [meadow, desert, winter, room, street]


# --- in front of the animal, at (x, ground), for an animal of the given size; nobody's pixels -------------------------


def post(canvas: Canvas, x: float, ground: float, size: float, rng):
    """A wooden post."""
    wood, width = jitter((128, 96, 70), rng, 30), size * rng.uniform(0.09, 0.14)
    beam = (x, ground + 0.3 * size, width), (x, ground - 2 * size, width)
    canvas.polygon(tube(*beam, grow=0.006), mix(wood, (0, 0, 0), 0.5))
    canvas.polygon(tube(*beam), wood)
    for k in (x - 0.4 * width, x + 0.3 * width):
        canvas.polygon(tube((k, ground, 0.004), (k, ground - 1.8 * size, 0.004)), mix(wood, (0, 0, 0), 0.25))


def bush(canvas: Canvas, x: float, ground: float, size: float, rng):
    """A round bush."""
    leaf = jitter((74, 128, 66), rng, 35)
    balls = rng.uniform((-0.42, -0.28, 0.12), (0.42, 0.1, 0.2), (11, 3)) * size + (x, ground, 0)
    for left, top, radius in balls:
        canvas.disc(left, top, radius + 0.006, mix(leaf, (0, 20, 0), 0.5))
    for left, top, radius in balls:
        canvas.disc(left, top, radius, jitter(leaf, rng, 12))


def reeds(canvas: Canvas, x: float, ground: float, size: float, rng):
    """A tuft of long leaves."""
    leaf = jitter((110, 150, 70), rng, 35)
    blades = [
        np.array([(0, 0.1, 0.012), (0.3 * lean, -height * size / 2, 0.01), (lean, -height * size, 0.001)])
        + (x + foot * size, ground, 0)
        for foot, height, lean in rng.uniform((-0.6, 0.25, -0.12), (0.6, 0.65, 0.12), (26, 3))
    ]
    canvas.polygons(tubes(blades), [jitter(leaf, rng, 22) for _ in blades])


OCCLUDERS = [post, bush, reeds]


def ball(canvas: Canvas, x: float, ground: float, radius: float, rng):
    """A toy ball on the ground, inside the frame."""
    x, y, color = float(np.clip(x, radius, 1 - radius)), ground - 0.7 * radius, pick(BRIGHT, rng)
    canvas.disc(x, y, 1.12 * radius, mix(color, (0, 0, 0), 0.6))
    canvas.disc(x, y, radius, color)
    band = (
        (x - 0.75 * radius, y, 0.2 * radius),
        (x, y - 0.3 * radius, 0.2 * radius),
        (x + 0.75 * radius, y, 0.2 * radius),
    )
    canvas.polygon(tube(*band), (250, 250, 250))
