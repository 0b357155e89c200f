"""Objects as COCO's JSON has them, from whatever tool wrote it: checked before native code sees them.

pycocotools trusts its caller: a coordinate of 1e9 or a run length too many ends the process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mobilenet_tf.data.images import MAX_PIXELS
from mobilenet_tf.utils.errors import short

REACH = 2  # sides of the image by which a polygon may leave it
MAX_OUTLINE = 2**24  # steps of a fifth of a pixel that pycocotools walks along a polygon: 64 MiB of them
UNKNOWN_SIDE = 2**15  # px of an image of which nothing is known
MAX_SHOWN = 40  # characters of a value in a message
MAX_DIGITS = 7  # of five bits in a compressed run length: over the largest image


def identifier(value: Any) -> int | str:
    """Returns an id as it is compared: 1, 1.0 and "1" are the same. Raises ValueError for what is no id."""
    if isinstance(value, str) and value:
        return int(value) if value.isascii() and value.isdigit() and str(int(value[:18])) == value else value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError("an id must be a whole number or a text")


def object_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Returns the pixels inside an object, bool [H, W].

    Args:
        segmentation: what COCO's JSON has: a list of polygons [x1, y1, x2, y2, ...] in pixels (one polygon may stand
            without the list around it), or run lengths, plain or compressed. Polygons of less than three points have
            no area.

    Raises:
        ValueError: anything else, with what was wrong.
    """
    if not 0 < height * width <= MAX_PIXELS or height < 1:
        raise ValueError(f"an image of {width}x{height} pixels")
    if isinstance(segmentation, dict):
        return _from_run_lengths(run_lengths(segmentation, height, width), height, width)
    outlines = [outline for outline in polygons(segmentation, height, width) if len(outline) >= 6]
    if not outlines:
        return np.zeros((height, width), bool)
    from pycocotools import mask

    native: Any = mask  # the stubs know no lists of floats
    return native.decode(native.merge(native.frPyObjects(outlines, height, width))).astype(bool)


def outline_box(segmentation: Any, height: int | None, width: int | None) -> list[float]:
    """Returns the box x, y, width, height in pixels around an object.

    Args:
        segmentation: as `object_mask` has it.
        height, width: those of the image; None where they are not known.

    Raises:
        ValueError: as `object_mask`; an object without any pixel or point.
    """
    if isinstance(segmentation, dict):
        sides = segmentation.get("size")
        if height is None or width is None:
            height, width = (_whole(side) for side in sides) if isinstance(sides, list) and len(sides) == 2 else (0, 0)
        return _box_of_runs(run_lengths(segmentation, height, width), height)
    outlines = polygons(segmentation, height or UNKNOWN_SIDE, width or UNKNOWN_SIDE)
    points = np.array([value for outline in outlines for value in outline]).reshape(-1, 2)
    if not len(points):
        raise ValueError("no point")
    low, high = points.min(0), points.max(0)
    return [*low.tolist(), *(high - low).tolist()]


def _box_of_runs(runs: Sequence[int], height: int) -> list[float]:
    ends = np.cumsum(runs, dtype=np.int64)
    inside = (np.arange(len(runs)) % 2 == 1) & (np.asarray(runs) > 0)
    first, last = (ends - runs)[inside], ends[inside] - 1  # pixels, column by column
    if not len(first):
        raise ValueError("no pixel")
    left, right = first[0] // height, last[-1] // height
    crosses = bool((first // height != last // height).any())  # a run that goes on at the top of the next column
    top, bottom = (0, height - 1) if crosses else ((first % height).min(), (last % height).max())
    return [float(value) for value in (left, top, right - left + 1, bottom - top + 1)]


def polygons(segmentation: Any, height: int, width: int) -> list[list[float]]:
    """Returns the polygons [x1, y1, x2, y2, ...] of a segmentation. Raises ValueError as `object_mask` does."""
    if not isinstance(segmentation, list):
        raise ValueError(f"{_kind(segmentation)} in place of polygons")
    if segmentation and not any(isinstance(part, list | dict) for part in segmentation):
        segmentation = [segmentation]
    return [_outline(polygon, height, width) for polygon in segmentation]


def _outline(polygon: Any, height: int, width: int) -> list[float]:
    if not isinstance(polygon, list):
        raise ValueError(f"{_kind(polygon)} in place of a polygon")
    values = [_number(value) for value in polygon]
    if len(values) % 2:
        raise ValueError(f"a polygon of {len(values)} numbers, which are not pairs")
    side = REACH * max(height, width)
    for value, end in zip(values, [width, height] * (len(values) // 2), strict=True):
        if not -side <= value <= end + side:
            raise ValueError(f"the coordinate {value:g} in an image of {width}x{height}")
    points = np.array(values).reshape(-1, 2)
    if 5 * np.abs(points - np.roll(points, 1, 0)).max(1, initial=0).sum() > MAX_OUTLINE:
        raise ValueError(f"an outline of {len(points)} points that crosses the image too often")
    return values


def run_lengths(segmentation: dict, height: int, width: int) -> list[int]:
    """Returns the lengths of the runs, outside first, column by column. Raises ValueError as `object_mask` does."""
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if not isinstance(size, list | tuple) or [_whole(side) for side in size] != [height, width]:
        shown = short(size, MAX_SHOWN)
        raise ValueError(f"run lengths of the size {shown}, height first, in an image of {width}x{height}")
    if isinstance(counts, str | bytes):
        runs = _uncompressed(counts.encode("latin-1", "replace") if isinstance(counts, str) else counts)
    elif isinstance(counts, list):
        runs = [_whole(count) for count in counts]
    else:
        raise ValueError(f"{_kind(counts)} in place of run lengths")
    if min(runs, default=0) < 0 or sum(runs) != height * width:
        raise ValueError(f"run lengths of {sum(runs)} pixels in an image of {height * width}")
    return runs


def _uncompressed(text: bytes) -> list[int]:
    """Run lengths from COCO's text: digits of five bits from 48 on, differences to the run before the last.

    Source: rleFrString of cocoapi/common/maskApi.c.
    """
    runs: list[int] = []
    value = digits = 0
    for character in text:
        if not 48 <= character < 112 or digits == MAX_DIGITS:
            raise ValueError("compressed run lengths that are damaged")
        digit = character - 48
        value |= (digit & 31) << (5 * digits)
        digits += 1
        if digit & 32:
            continue
        if digit & 16:
            value -= 1 << (5 * digits)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = digits = 0
    if digits:
        raise ValueError("compressed run lengths that end in the middle")
    return runs


def compressed(mask: np.ndarray) -> dict[str, Any]:
    """Returns a mask, bool [H, W], as COCO's compressed run lengths: {"size": [H, W], "counts": text}.

    Source: rleEncode and rleToString of cocoapi/common/maskApi.c.
    """
    pixels = np.asarray(mask, bool).ravel(order="F")
    ends = [*(np.flatnonzero(pixels[1:] != pixels[:-1]) + 1).tolist(), pixels.size]
    if pixels[0]:
        ends.insert(0, 0)  # the first run is outside
    runs = np.diff(ends, prepend=0).tolist()
    return {"size": list(mask.shape), "counts": "".join(_digits(runs))}


def _digits(runs: Sequence[int]) -> Iterator[str]:
    """The opposite of `_uncompressed`."""
    for index, run in enumerate(runs):
        value = run - (runs[index - 2] if index > 2 else 0)
        while True:
            digit, value = value & 31, value >> 5
            if value == (-1 if digit & 16 else 0):
                yield chr(48 + digit)
                break
            yield chr(48 + (digit | 32))


def _from_run_lengths(runs: Sequence[int], height: int, width: int) -> np.ndarray:
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def number_in(value: Any) -> float:
    """Returns a finite number, also one that stands as text; NaN for anything else."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _number(value: Any) -> float:
    number = number_in(value)
    if math.isnan(number):
        raise ValueError(f"{short(value, MAX_SHOWN)} in place of a number")
    return number


def _whole(value: Any) -> int:
    number = _number(value)
    if not number.is_integer():
        raise ValueError(f"{short(value, MAX_SHOWN)} in place of a whole number")
    return int(number)


def _kind(value: Any) -> str:
    names = {type(None): "null", list: "a list", dict: "an object", str: "a text", bool: "true or false"}
    return names.get(type(value), "a number")
