"""labelme: one JSON file of shapes an image, beside it or in a folder of its own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data import named, tree, values
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.tasks.detection.data.named import Annotation, NamedBox
from mobilenet_tf.utils import text_files
from mobilenet_tf.utils.errors import UserError

WANTED = "labelme's JSON files, one an image: beside the images, or in annotations/ and images/, in train/ and val/ too"

Points = Sequence[tuple[float, float]]
Corners = tuple[float, float, float, float]


def _circle(points: Points) -> Corners:
    """(x, y, width, height) around a circle: its center and a point on it."""
    (x, y), edge = points[0], points[-1]
    radius = math.dist((x, y), edge)
    return x - radius, y - radius, 2 * radius, 2 * radius


SHAPES = {"rectangle": named.around, "polygon": named.around, "rotation": named.around, "mask": named.around,
          "circle": _circle}  # fmt: skip


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split.

    Boxes are rectangles, and those around polygons and circles; shapes of one label and group are one object. The
    splits are folders, under their usual names or those of `data.splits`; where there are none they are drawn.
    """
    root = tree.dataset_root(data.path, WANTED)
    given = named.by_folder(root, ".json", data.splits)
    files, drawn = tree.choose(given, split, data)
    left_out: Counter[str] = Counter()
    parsed = {file: _parse(file, data.encoding, left_out) for group in given.values() for file in group}
    if not parsed:
        raise UserError(f"data.root must be a folder with {WANTED}. Received: {tree.contents(root, 'labelme')}")
    named.warn_left_out(left_out, root)
    images = named.images_of(parsed, root)
    classes = named.class_names(images.values(), root)
    annotations = named.annotation_set([images[file] for file in files], classes, root)
    return divide(annotations, split, data, list(given), seed) if drawn else annotations


def _parse(file: Path, encoding: str, left_out: Counter[str]) -> Annotation:
    content = text_files.read_json(file, encoding)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        coco = isinstance(content, dict) and "images" in content
        hint = "; that is COCO's format: data.reader=coco" if coco else ""
        received = ", ".join(map(str, content))[:100] if isinstance(content, dict) else type(content).__name__
        raise UserError(f"{file} must be labelme's JSON, with a list 'shapes'. Received: {received or 'nothing'}{hint}")
    objects: dict[tuple, list[NamedBox]] = {}
    for index, shape in enumerate(content["shapes"]):
        where = f"{file}: shapes[{index}]"
        shape = values.mapping(shape, where)
        kind = str(shape.get("shape_type") or "polygon")  # early versions knew no other
        if kind not in SHAPES:
            left_out[kind] += 1
            continue
        group = shape.get("group_id")
        box = _box(shape, kind, where)
        key = (index,) if group in (None, "") else (box.name, str(group))
        objects.setdefault(key, []).append(box)
    name = content.get("imagePath")
    return Annotation(
        file_name=tree.basename(name) if isinstance(name, str) else "",
        height=values.side(content.get("imageHeight")),
        width=values.side(content.get("imageWidth")),
        boxes=[_joined(boxes) for boxes in objects.values()],
    )


def _box(shape: dict, kind: str, where: str) -> NamedBox:
    points = [_point(point, f"{where}: points[{i}]")
              for i, point in enumerate(values.sequence(shape.get("points"), f"{where}: points"))]  # fmt: skip
    if len(points) < 2:
        raise UserError(f"{where} must have at least two points. Received: {len(points)}")
    name = values.text(shape.get("label"), f"{where}: label")
    return NamedBox(name, *SHAPES[kind](points), where, crowd=values.flag(shape.get("difficult")))


def _point(point: object, where: str) -> tuple[float, float]:
    pair = values.sequence(point, where)
    if len(pair) != 2:
        raise UserError(f"{where} must be two numbers x, y. Received: {len(pair)}")
    return values.number(pair[0], where), values.number(pair[1], where)


def _joined(boxes: Sequence[NamedBox]) -> NamedBox:
    """The box around the shapes of one object."""
    first = boxes[0]
    if len(boxes) == 1:
        return first
    corners = [(box.x, box.y) for box in boxes] + [(box.x + box.width, box.y + box.height) for box in boxes]
    return NamedBox(first.name, *named.around(corners), first.where, first.crowd)
