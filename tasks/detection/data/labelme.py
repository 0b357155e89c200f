"""labelme: one JSON file of shapes an image, beside it or in a folder of its own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

from mobilenet_tf.config import Split
from mobilenet_tf.data import labelme, tree, values
from mobilenet_tf.data.labelme import LabelmeFile, Points, Shape
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data import named
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.tasks.detection.data.named import Annotation, NamedBox


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split.

    Boxes are rectangles, and those around polygons and circles; shapes of one label and group are one object. The
    splits are folders, under their usual names or those of `data.splits`; where there are none they are drawn.
    """
    found = labelme.read(data.path, data.splits, data.encoding)
    for line in found.findings:
        warnings.warn(line, stacklevel=2)
    named.warn_left_out(found.left_out, found.root)
    files, drawn = tree.choose(found.splits, split, data)
    images = named.images_of({path: _annotation(file) for path, file in found.files.items()}, found.root)
    classes = named.class_names(images.values(), found.root)
    annotations = named.annotation_set([images[file] for file in files], classes, found.root)
    return divide(annotations, split, data, list(found.splits), seed) if drawn else annotations


def _annotation(file: LabelmeFile) -> Annotation:
    objects: dict[tuple, list[NamedBox]] = {}
    for index, shape in enumerate(file.shapes):
        group = shape.fields.get("group_id")
        key = (index,) if group in (None, "") else (shape.label, str(group))
        objects.setdefault(key, []).append(_box(shape))
    return Annotation(file.image_name, file.height, file.width, [_joined(boxes) for boxes in objects.values()])


def _box(shape: Shape) -> NamedBox:
    corners = _circle(shape.points) if shape.kind == "circle" else named.around(shape.points)
    return NamedBox(shape.label, *corners, shape.where, crowd=values.flag(shape.fields.get("difficult")))


def _circle(points: Points) -> tuple[float, float, float, float]:
    """(x, y, width, height) around a circle: its center and a point on it."""
    (x, y), edge, *_ = points
    radius = math.dist((x, y), edge)
    return x - radius, y - radius, 2 * radius, 2 * radius


def _joined(boxes: Sequence[NamedBox]) -> NamedBox:
    """The box around the shapes of one object."""
    first = boxes[0]
    if len(boxes) == 1:
        return first
    corners = [(box.x, box.y) for box in boxes] + [(box.x + box.width, box.y + box.height) for box in boxes]
    return NamedBox(first.name, *named.around(corners), first.where, first.crowd)
