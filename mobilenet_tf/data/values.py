"""Values of JSON files as annotation tools write them: of the right type, or one line with their place."""

from __future__ import annotations

import math
from typing import Any

from mobilenet_tf.utils.errors import UserError, short

LIMIT = 1e7  # no coordinate is beyond it


def mapping(value: Any, where: str) -> dict:
    """The value as a dict."""
    return value if isinstance(value, dict) else _refuse(value, where, "an object {...}")


def sequence(value: Any, where: str) -> list:
    """The value as a list."""
    return value if isinstance(value, list) else _refuse(value, where, "a list")


def number(value: Any, where: str) -> float:
    """The value as a finite number; text that is one counts."""
    try:
        found = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    return found if abs(found) <= LIMIT else _refuse(value, where, "a number")  # of NaN no comparison holds


def pair(value: Any, where: str) -> tuple[float, float]:
    """The value as a point x, y."""
    numbers = sequence(value, where)
    if len(numbers) != 2:
        raise UserError(f"{where} must be two numbers x, y. Received: {len(numbers)}")
    return number(numbers[0], where), number(numbers[1], where)


def text(value: Any, where: str) -> str:
    """The value as text that is not empty, on one line; a number counts."""
    found = " ".join(str(value).split()) if type(value) in (str, int, float) else ""
    return found or _refuse(value, where, "text")


def side(value: Any) -> int:
    """A side of an image in pixels; 0 where the value says none."""
    return int(value) if isinstance(value, int | float) and 0 < value < LIMIT else 0


def flag(value: Any) -> bool:
    """Whether a value says yes, as a number, as text or as itself."""
    return str(value).strip().casefold() in ("1", "1.0", "true", "yes")


def _refuse(value: Any, where: str, wanted: str) -> Any:
    raise UserError(f"{where} must be {wanted}. Received: {short(value)}")
