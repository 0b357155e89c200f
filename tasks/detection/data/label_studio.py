"""Label Studio's JSON exports: rectangles, polygons and ellipses in percent of the image, one file for all images."""

from __future__ import annotations

import math
import warnings
from collections import Counter

from mobilenet_tf.config import Split
from mobilenet_tf.data import label_studio, tree
from mobilenet_tf.data.label_studio import Region, Task
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data import named
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.tasks.detection.data.named import NamedBox, NamedImage

Corners = tuple[float, float, float, float]


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split, which is drawn: an export has no splits. See `label_studio.read`."""
    file, tasks, findings = label_studio.read(data.path, data.encoding)
    left_out: Counter[str] = Counter()
    images = [_image(task, left_out) for task in tasks]
    named.warn_left_out(left_out, file)
    for line in findings:
        warnings.warn(line, stacklevel=2)
    classes = named.class_names(images, file)
    _, drawn = tree.choose({"train": images}, split, data)
    annotations = named.annotation_set(images, classes, file)
    return divide(annotations, split, data, ["train"], seed) if drawn else annotations


def _image(task: Task, left_out: Counter[str]) -> NamedImage:
    boxes, (height, width) = [], task.size()
    for region in task.regions:
        if region.kind not in SHAPES:
            left_out[region.kind] += 1
            continue
        if not region.labels:
            left_out[f"{region.kind} without a label"] += 1
            continue
        x, y, w, h = SHAPES[region.kind](region, width / height)
        pixels = (x * width / 100, y * height / 100, w * width / 100, h * height / 100)
        boxes += [NamedBox(label, *pixels, region.where) for label in region.labels]
    return NamedImage(task.id, task.image, boxes=boxes)


def _rectangle(region: Region, aspect: float) -> Corners:
    """(x, y, width, height) in percent around a rectangle; aspect: width / height of the image."""
    if region.value.get("rotation"):
        return named.around(label_studio.corners(region, aspect))
    x, y, width, height = region.numbers("x", "y", "width", "height")
    return x, y, width, height


def _polygon(region: Region, aspect: float) -> Corners:
    return named.around(label_studio.points(region))


def _ellipse(region: Region, aspect: float) -> Corners:
    """Around an ellipse that may be turned about its center."""
    x, y, rx, ry, rotation = region.numbers("x", "y", "radiusX", "radiusY", "rotation")
    angle = math.radians(rotation)
    across = math.hypot(rx * aspect * math.cos(angle), ry * math.sin(angle)) / aspect
    down = math.hypot(rx * aspect * math.sin(angle), ry * math.cos(angle))
    return x - across, y - down, 2 * across, 2 * down


SHAPES = {"rectangle": _rectangle, "polygon": _polygon, "ellipse": _ellipse}
