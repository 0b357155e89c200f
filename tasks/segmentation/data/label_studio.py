"""Label Studio's JSON exports: brush strokes, polygons, rectangles and ellipses, one file for all images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from mobilenet_tf.config import Split
from mobilenet_tf.data import label_studio, tree
from mobilenet_tf.data.coco_objects import object_mask
from mobilenet_tf.data.images import MAX_PIXELS
from mobilenet_tf.data.label_studio import Region, Task
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data import areas, parts
from mobilenet_tf.tasks.segmentation.data.areas import Area, LabeledImage
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages

CHANNELS = 4  # of a brush stroke, whose last one says where it is


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """The images and masks of a split, which is drawn: an export has no splits. See `label_studio.read`.

    The classes are as `areas.masked_images` has them.
    """
    file, tasks, findings = label_studio.read(data.path, data.encoding)
    left_out: Counter[str] = Counter()
    images = [LabeledImage(task.image, _areas(task, left_out), _size(task)) for task in tasks]
    chosen = parts.part(lambda _: images, lambda image: image.path, ["train"], split, data, seed)
    labels = {label for image in images for area in image.areas for label in area.labels}
    return areas.masked_images(chosen, labels, data, [*findings, *tree.left_out(left_out, file, "have no area")])


def _areas(task: Task, left_out: Counter[str]) -> list[Area]:
    left_out.update(region.kind for region in task.regions if region.kind not in PIXELS)
    known = [region for region in task.regions if region.kind in PIXELS]
    left_out.update(f"{region.kind} without a label" for region in known if not region.labels)
    labeled = [region for region in known if region.labels]
    return [Area(region.labels, partial(PIXELS[region.kind], region), region.where) for region in labeled]


def _size(task: Task) -> tuple[int, int] | None:
    return next((region.size for region in task.regions if region.size), None)


def _rectangle(region: Region, height: int, width: int) -> np.ndarray:
    return _inside(label_studio.corners(region, width / height), height, width)


def _polygon(region: Region, height: int, width: int) -> np.ndarray:
    return _inside(label_studio.points(region), height, width)


def _ellipse(region: Region, height: int, width: int) -> np.ndarray:
    x, y, across, down, rotation = region.numbers("x", "y", "radiusX", "radiusY", "rotation")
    aspect = width / height  # in percent of the height angles are right
    points = areas.ellipse(x * aspect, y, across * aspect, down, rotation)
    return _inside([(x / aspect, y) for x, y in points], height, width)


def _inside(points: Sequence[tuple[float, float]], height: int, width: int) -> np.ndarray:
    outline = [value for x, y in points for value in (x * width / 100, y * height / 100)]
    return object_mask([outline], height, width)


def _brush(region: Region, height: int, width: int) -> np.ndarray:
    if region.value.get("format") != "rle":
        raise ValueError(f"a brush stroke of the format {str(region.value.get('format'))[:20]!r} in place of 'rle'")
    pixels = unpacked(region.value.get("rle"), height * width * CHANNELS)
    return pixels.reshape(height, width, CHANNELS)[..., -1] > 0


PIXELS = {"rectangle": _rectangle, "polygon": _polygon, "ellipse": _ellipse, "brush": _brush}


def unpacked(packed: Any, count: int) -> np.ndarray:
    """The values, uint8 [count], that a brush stroke packs into whole numbers from 0 to 255.

    Read as bits: 32 for the count of the values, 5 for the bits of one less 1, four times 4 for the bits of a length
    less 1. Then, again and again: one bit, whether a value repeats; two bits, which of the four lengths follows; the
    length less 1; and one value, or as many as that. Source: the format of npm's @thi.ng/rle-pack.
    Raises ValueError: something else, or another count.
    """
    try:
        stream = _Bits(bytes(list(packed)))
    except (TypeError, ValueError):  # of bytes, and of what is no list
        raise ValueError(f"{str(packed)[:40]} in place of the packed bytes of a brush stroke") from None
    given, word = stream.number(32), stream.number(5) + 1
    if given != count or word > 8 or count > MAX_PIXELS * CHANNELS:
        raise ValueError(f"a brush stroke of {given} values of {word} bits in place of {count} of 8")
    lengths = [stream.number(4) + 1 for _ in range(4)]
    values, done = np.zeros(count, np.uint8), 0
    while done < count:
        repeats = stream.number(1)
        length = stream.number(lengths[stream.number(2)]) + 1
        if length > count - done:
            raise ValueError("a brush stroke that is longer than its image")
        values[done : done + length] = stream.number(word) if repeats else stream.numbers(length, word)
        done += length
    return values


class _Bits:
    """Takes numbers off the front of bytes, of any number of bits each, the highest bit first."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0  # bits

    def number(self, width: int) -> int:
        """The next number of so many bits."""
        first, end = self._take(width)
        return int.from_bytes(self.data[first // 8 : -(-end // 8)], "big") >> -end % 8 & (1 << width) - 1

    def numbers(self, count: int, width: int) -> np.ndarray:
        """So many next numbers of so many bits, at most 8."""
        first, end = self._take(count * width)
        bits = np.unpackbits(np.frombuffer(self.data[first // 8 : -(-end // 8)], np.uint8))
        return np.packbits(bits[first % 8 :][: count * width].reshape(count, width), 1)[:, 0] >> 8 - width

    def _take(self, width: int) -> tuple[int, int]:
        """The places of the first of the next bits and of the one behind them."""
        first, self.at = self.at, self.at + width
        if self.at > 8 * len(self.data):
            raise ValueError("a brush stroke that ends in the middle")
        return first, self.at
