"""The colors of the classes of masks. No matplotlib here."""

from __future__ import annotations

import colorsys

import numpy as np
from PIL import ImageColor

GOLDEN = (5**0.5 - 1) / 2  # steps of this share of a circle keep hues apart, however many there are
FIRST_COLORS = ("#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#F0E442", "#56B4E9")  # Okabe and Ito 2008
BACKGROUND_COLOR = "#9AA5B1"
SHADES = ((0.85, 0.95), (0.55, 0.95), (0.95, 0.65))  # saturation and value of the hues after FIRST_COLORS, in turn


def palette(count: int) -> np.ndarray:
    """uint8 [256, 3]: a color for each of `count` classes, gray for the first one; black for what is ignored.

    The first colors can be told apart with every common kind of color blindness; none is so dark or so pale that it
    looks like shadow or sky.
    """
    colors = np.zeros((256, 3), np.uint8)
    chosen = [ImageColor.getrgb(color) for color in (BACKGROUND_COLOR, *FIRST_COLORS)]
    for index in range(max(0, count - len(chosen))):
        saturation, value = SHADES[index % len(SHADES)]
        red, green, blue = colorsys.hsv_to_rgb((0.03 + index * GOLDEN) % 1, saturation, value)
        chosen.append((round(255 * red), round(255 * green), round(255 * blue)))
    colors[:count] = chosen[:count]
    return colors
