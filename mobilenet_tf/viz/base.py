"""Colors, fonts and figures: what plots and images share."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import ImageDraw, ImageFont

from mobilenet_tf.utils.files import replacing

# Okabe and Ito, "Color Universal Design" (2008): distinguishable with every common kind of color blindness.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
INK, MUTED, FAINT, PAPER, BAND = "#1F2933", "#616E7C", "#E4E7EB", "#FFFFFF", "#1F2933"
CORRECT, INCORRECT = BLUE, VERMILION  # of the borders around right and wrong predictions

DPI = 130
# Families that draw what DejaVu Sans (shipped with matplotlib) does not; used where they are installed.
OTHER_SCRIPTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Noto Sans JP",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Arial Unicode MS",
    "Nirmala UI",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
)


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Writes a figure in the format of its suffix, in fonts that have its characters; returns the path."""
    texts: Any = figure.findobj(Text)  # the stubs lack the aliases of properties, such as set_family
    _warn_undrawable("".join(text.get_text() for text in texts))
    for text in texts:
        text.set_family(list(_families()))
        text.set_parse_math(False)  # a "$" in a class name is a dollar
    with warnings.catch_warnings(), replacing(path) as temporary:
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the warning above says it once, in one line
        figure.savefig(temporary, format=Path(path).suffix.lstrip(".").lower() or "png")
    return Path(path)


# --- text ---


def shorten(text: str, width: int) -> str:
    """At most `width` characters on one line; what is cut out of the middle becomes an ellipsis."""
    # Undecodable bytes of a file name arrive as lone surrogates, which no font library takes.
    text = " ".join(str(text).encode("utf-8", "replace").decode().split())
    if len(text) <= width:
        return text
    head = width // 2
    tail = width - 1 - head
    return f"{text[:head]}…{text[len(text) - tail :]}"


@cache
def _families() -> tuple[str, ...]:
    installed = set(font_manager.fontManager.get_font_names())
    return ("DejaVu Sans", *(family for family in OTHER_SCRIPTS if family in installed))


@cache
def _charset(family: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(font_manager.findfont(family)).get_charmap())


@cache
def drawable() -> frozenset[int]:
    """Returns the code points that the installed fonts can draw."""
    return frozenset().union(*map(_charset, _families()))


def _warn_undrawable(text: str) -> None:
    missing = sorted({char for char in text if ord(char) not in drawable() and char.isprintable()})
    if missing:
        sample = "".join(missing[:10])
        warnings.warn(f"no installed font can draw {sample!r}; install one, such as Noto Sans CJK", stacklevel=4)


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont:
    """The first family that draws most of `text`; Pillow, unlike matplotlib, does not mix fonts."""
    family = max(_families(), key=lambda family: sum(ord(char) in _charset(family) for char in text))
    return ImageFont.truetype(font_manager.findfont(family), size)


def write_text(
    draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, size: int, width: float, fill: str
) -> None:
    """Write `text` from its left end and vertical middle, cut in its middle to `width` pixels."""
    text = shorten(text, 400)
    _warn_undrawable(text)
    font = font_for(text, size)
    while font.getlength(text) > width and len(text) > 1:
        text = shorten(text, max(1, min(len(text) - 1, int(len(text) * width / font.getlength(text)))))
    draw.text(xy, text, fill=fill, font=font, anchor="lm")
