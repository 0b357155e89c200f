"""Label Studio's JSON exports: rectangles, polygons and ellipses in percent of the image, one file for all images."""

from __future__ import annotations

import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mobilenet_tf.config import Split
from mobilenet_tf.data.images import displayed_size
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data import named, tree, values
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.tasks.detection.data.named import NamedBox, NamedImage
from mobilenet_tf.utils import text_files
from mobilenet_tf.utils.errors import UserError

WANTED = "a JSON file that Label Studio exported (JSON or JSON_MIN), with the images in its folder or below it"
UPLOADED = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the name of a file
CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))

Corners = tuple[float, float, float, float]


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split, which is drawn: an export has no splits.

    `data.root` is the JSON file, or the folder that has exactly one. Images are found by their file names in the folder
    of the file and below it. Of several annotations of an image the first that was not canceled counts.
    """
    file = _file(data.path)
    tasks = text_files.read_json(file, data.encoding)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        received = ", ".join(map(str, tasks))[:100] if isinstance(tasks, dict) else type(tasks).__name__
        coco = "; that is COCO's format: data.reader=coco" if isinstance(tasks, dict) and "images" in tasks else ""
        raise UserError(f"{file} must be a list of Label Studio's tasks. Received: {received}{coco}")
    index, left_out = tree.Index.of_images(file.parent), Counter()
    images = [image for i, task in enumerate(tasks) if (image := _image(task, f"{file}: [{i}]", file, index, left_out))]
    named.warn_left_out(left_out, file)
    if images and len(images) < len(tasks):
        warnings.warn(f"{file}: {len(tasks) - len(images)} of {len(tasks)} tasks have no annotation; left out",
                      stacklevel=2)  # fmt: skip
    if not images:
        raise UserError(f"{file} must have tasks with annotations. Received: {len(tasks)} tasks, none with annotations")
    classes = named.class_names(images, file)
    _, drawn = tree.choose({"train": images}, split, data)
    annotations = named.annotation_set(images, classes, file)
    return divide(annotations, split, data, ["train"], seed) if drawn else annotations


def _file(root: Path) -> Path:
    if root.is_file():
        return root
    root = tree.dataset_root(root, WANTED)
    files = [entry for entry in sorted(root.glob("*.json")) if not entry.name.startswith(".")]
    if len(files) != 1:
        raise UserError(f"data.root must be {WANTED}. Received: {tree.contents(root, 'label_studio')}")
    return files[0]


def _image(task: dict, where: str, file: Path, index: tree.Index, left_out: Counter[str]) -> NamedImage | None:
    """The image of a task; None where nobody has annotated it."""
    regions = _regions(task, where)
    if regions is None:
        return None
    fields = values.mapping(task["data"], f"{where}: data") if "data" in task else task
    name = _image_name(fields, where)
    path = index.find(name, file) or index.find(UPLOADED.sub("", name, count=1), file) or file.parent / name
    boxes = []
    height = width = 0
    for i, (place, region) in enumerate(regions):
        values_of, labels, kind = _parts(region)
        if kind not in SHAPES:
            left_out[kind] += 1
            continue
        if not labels:
            left_out[f"{kind} without a label"] += 1
            continue
        if not i or not height:
            height, width = _size(region, path)
        if values_of.get("image_rotation") or region.get("image_rotation"):
            raise UserError(f"{place} must be of an image that is not turned. Received: image_rotation")
        x, y, w, h = SHAPES[kind](values_of, width / height, place)
        pixels = (x * width / 100, y * height / 100, w * width / 100, h * height / 100)
        boxes += [NamedBox(values.text(label, f"{place}: label"), *pixels, place) for label in labels]
    identity = task.get("id")
    return NamedImage(str(identity) if type(identity) in (int, str) else name, path, boxes=boxes)


def _regions(task: dict, where: str) -> list[tuple[str, dict]] | None:
    """(place, region) of what was drawn in a task: of JSON's "annotations", or JSON_MIN's own keys."""
    given = task.get("annotations", task.get("completions"))
    if given is None and "data" not in task:
        lists = {key: value for key, value in task.items() if _is_region_list(value)}
        return [
            (f"{where}: {key}[{i}]", region) for key, found in lists.items() for i, region in enumerate(found)
        ] or None
    for number, annotation in enumerate(values.sequence(given or [], f"{where}: annotations")):
        place = f"{where}: annotations[{number}]"
        annotation = values.mapping(annotation, place)
        if not values.flag(annotation.get("was_cancelled")):
            found = values.sequence(annotation.get("result"), f"{place}: result")
            places = [f"{place}: result[{i}]" for i in range(len(found))]
            regions = [(at, values.mapping(region, at)) for at, region in zip(places, found, strict=True)]
            return [(at, region) for at, region in regions if isinstance(region.get("value"), dict)]
    return None


def _is_region_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(region, dict) for region in value)


def _parts(region: dict) -> tuple[dict, list, str]:
    """(numbers, labels, kind) of a region; the kind is the part of "rectanglelabels" before the labels."""
    value = region.get("value", region)
    key = next((key for key in value if key.endswith("labels") and isinstance(value[key], list)), "")
    kind = str(region.get("type") or key).removesuffix("labels") or "region"
    return value, value.get(key, []), kind


def _size(region: dict, path: Path) -> tuple[int, int]:
    """(height, width) that the percentages are of: as the region says, else those of the image."""
    height, width = (values.side(region.get(f"original_{side}")) for side in ("height", "width"))
    if height and width:
        return height, width
    try:
        return displayed_size(path)
    except Exception:  # Pillow's plugins raise nearly any exception; the check that follows says why
        return 1, 1


def _image_name(fields: dict, where: str) -> str:
    """The file name in the first field that names an image: a path, a URL, or one with ?d=path of a local file."""
    for name in _texts(fields):
        parts = urlsplit(name) if "://" in name or name.startswith("/") else None
        query = parse_qs(parts.query).get("d") if parts else None
        plain = query[0] if query else unquote(parts.path) if parts else name
        if Path(plain).suffix.lower() in tree.EXTENSIONS:
            return tree.basename(plain)
    raise UserError(f"{where} must name an image, in data.image. Received: {', '.join(map(str, fields))[:100]}")


def _texts(fields: dict) -> Iterator[str]:
    return (value for value in fields.values() if isinstance(value, str) and "\0" not in value)


def _numbers(value: dict, keys: Sequence[str], where: str) -> list[float]:
    return [values.number(value.get(key), f"{where}: {key}") for key in keys]


def _rectangle(value: dict, aspect: float, where: str) -> Corners:
    """(x, y, width, height) in percent around a rectangle, which is turned about its corner; aspect: width / height."""
    x, y, width, height = _numbers(value, ("x", "y", "width", "height"), where)
    angle = math.radians(values.number(value.get("rotation") or 0, f"{where}: rotation"))
    points = []
    for across, down in CORNERS:
        right, below = across * width * aspect, down * height  # in percent of the height, where angles are right
        points.append((x + (right * math.cos(angle) - below * math.sin(angle)) / aspect,
                       y + right * math.sin(angle) + below * math.cos(angle)))  # fmt: skip
    return named.around(points) if angle else (x, y, width, height)


def _polygon(value: dict, aspect: float, where: str) -> Corners:
    pairs = [
        values.sequence(pair, f"{where}: points") for pair in values.sequence(value.get("points"), f"{where}: points")
    ]
    if len(pairs) < 2 or any(len(pair) != 2 for pair in pairs):
        raise UserError(f"{where}: points must be at least two pairs of numbers. Received: {str(pairs)[:60]}")
    return named.around(
        [(values.number(x, f"{where}: points"), values.number(y, f"{where}: points")) for x, y in pairs]
    )


def _ellipse(value: dict, aspect: float, where: str) -> Corners:
    """Around an ellipse that may be turned about its center."""
    x, y, rx, ry = _numbers(value, ("x", "y", "radiusX", "radiusY"), where)
    angle = math.radians(values.number(value.get("rotation") or 0, f"{where}: rotation"))
    across = math.hypot(rx * aspect * math.cos(angle), ry * math.sin(angle)) / aspect
    down = math.hypot(rx * aspect * math.sin(angle), ry * math.cos(angle))
    return x - across, y - down, 2 * across, 2 * down


SHAPES = {"rectangle": _rectangle, "polygon": _polygon, "ellipse": _ellipse}
