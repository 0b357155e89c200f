"""Label Studio's JSON, one file of tasks: what the readers of boxes and of masks share. No TensorFlow."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from mobilenet_tf.data import tree, values
from mobilenet_tf.data.images import displayed_size
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import read_json

WANTED = "a JSON file that Label Studio exported (JSON or JSON_MIN), with the images in its folder or below it"
UPLOADED = re.compile(r"[0-9a-f]{8}-")  # what Label Studio puts before the name of a file
CORNERS = ((0, 0), (1, 0), (1, 1), (0, 1))


@dataclass(frozen=True)
class Region:
    """What was drawn with a tool: its kind, such as rectangle, its labels, what says where it is, and where it stands.

    size: (height, width) of the image, as the region says it; None where it does not.
    """

    kind: str
    labels: list[str]
    value: dict
    size: tuple[int, int] | None
    where: str

    def numbers(self, *keys: str) -> list[float]:
        """Numbers of `value`; a missing rotation is 0."""
        found = {"rotation": 0} | {key: value for key, value in self.value.items() if value or key != "rotation"}
        return [values.number(found.get(key), f"{self.where}: {key}") for key in keys]


@dataclass(frozen=True)
class Task:
    """An image and what was drawn in it."""

    id: str
    image: Path
    regions: list[Region]

    def size(self) -> tuple[int, int]:
        """(height, width) that percentages are of: as a region says, else those of the image; (1, 1): unreadable."""
        given = next((region.size for region in self.regions if region.size), None)
        try:
            return given or displayed_size(self.image)
        except Exception:  # Pillow's plugins raise nearly any exception; who reads the image says why
            return 1, 1


def read(path: Path, encoding: str) -> tuple[Path, list[Task], list[str]]:
    """(the file, its tasks that somebody has annotated, what is worth a line).

    path: the JSON file, or the folder that has exactly one. Images are found by their file names in the folder of the
    file and below it. Of several annotations of an image the first that was not canceled counts.
    Raises UserError: no such file, other JSON, no annotation, a damaged one.
    """
    file = _file(path)
    content = read_json(file, encoding)
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        received = ", ".join(map(str, content))[:100] if isinstance(content, dict) else type(content).__name__
        coco = "; that is COCO's format: data.reader=coco" if isinstance(content, dict) and "images" in content else ""
        raise UserError(f"{file} must be a list of Label Studio's tasks. Received: {received}{coco}")
    index = tree.Index.of_images(file.parent)
    found = [_task(task, f"{file}: [{i}]", file, index) for i, task in enumerate(content)]
    tasks = [task for task in found if task is not None]
    if not tasks:
        raise UserError(f"{file} must have tasks with annotations. Received: {len(found)} tasks, none with annotations")
    missing = len(found) - len(tasks)
    lines = [f"{file}: {missing} of {len(found)} tasks have no annotation; left out"] if missing else []
    return file, tasks, lines


def _file(root: Path) -> Path:
    if root.is_file():
        return root
    root = tree.dataset_root(root, WANTED)
    files = [entry for entry in sorted(root.glob("*.json")) if not entry.name.startswith(".")]
    if len(files) != 1:
        raise UserError(f"data.root must be {WANTED}. Received: {tree.contents(root)}")
    return files[0]


def _task(task: dict, where: str, file: Path, index: tree.Index) -> Task | None:
    """A task with its image; None where nobody has annotated it."""
    regions = _regions(task, where)
    if regions is None:
        return None
    fields = values.mapping(task["data"], f"{where}: data") if "data" in task else task
    name = _image_name(fields, where)
    path = index.find(name, file) or index.find(UPLOADED.sub("", name, count=1), file) or file.parent / name
    identity = task.get("id")
    return Task(str(identity) if type(identity) in (int, str) else name, path, [_region(*found) for found in regions])


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


def _region(where: str, region: dict) -> Region:
    value = region["value"] if isinstance(region.get("value"), dict) else region
    key = next((key for key in value if key.endswith("labels") and isinstance(value[key], list)), "")
    kind = str(region.get("type") or key).removesuffix("labels") or "region"
    labels = [values.text(label, f"{where}: label") for label in value.get(key, [])]
    if labels and (value.get("image_rotation") or region.get("image_rotation")):
        raise UserError(f"{where} must be of an image that is not turned. Received: image_rotation")
    height, width = (values.side(region.get(f"original_{side}")) for side in ("height", "width"))
    return Region(kind, labels, value, (height, width) if height and width else None, where)


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


def corners(region: Region, aspect: float) -> list[tuple[float, float]]:
    """The corners (x, y) in percent of a rectangle, which is turned about the first; aspect: width / height."""
    x, y, width, height, rotation = region.numbers("x", "y", "width", "height", "rotation")
    angle, points = math.radians(rotation), []
    for across, down in CORNERS:
        right, below = across * width * aspect, down * height  # in percent of the height, where angles are right
        points.append((x + (right * math.cos(angle) - below * math.sin(angle)) / aspect,
                       y + right * math.sin(angle) + below * math.cos(angle)))  # fmt: skip
    return points


def points(region: Region) -> list[tuple[float, float]]:
    """The points (x, y) in percent of a polygon, two or more. Raises UserError for anything else."""
    given = values.sequence(region.value.get("points"), f"{region.where}: points")
    if len(given) < 2:
        raise UserError(f"{region.where}: points must be two or more. Received: {len(given)}")
    return [values.pair(point, f"{region.where}: points[{i}]") for i, point in enumerate(given)]
