"""A JSON file in COCO's format from any tool: every field that is used gets its type here, or a line that names it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilenet_tf.data.coco_objects import identifier, number_in
from mobilenet_tf.data.images import MAX_PIXELS
from mobilenet_tf.utils.errors import UserError, short
from mobilenet_tf.utils.text_files import read_json

Id = int | str
LISTS = ("images", "categories", "annotations")
NO_PARENT = (None, "", "none")  # what a category at the root of a tree names as the one above it


@dataclass(frozen=True)
class Image:
    """An image of the file; `size` is (height, width) where the file says it."""

    id: Id
    file_name: str
    size: tuple[int, int] | None


@dataclass(frozen=True)
class Object:
    """An annotation: `where` names it, category None is one that the file does not have."""

    where: str
    category: Id | None
    segmentation: Any
    bbox: Any


@dataclass(frozen=True)
class Picture:
    """The one PNG file of a panoptic annotation; segments: {id in the file: category}."""

    where: str
    file_name: str
    segments: dict[int, Id | None]


@dataclass(frozen=True)
class CocoFile:
    """What a file holds.

    categories: {id: name}, by id; ids of one name are one class.
    objects: those of each image; pictures: the panoptic annotation of each. One of the two is empty.
    findings: what was left out, or cannot be meant.
    """

    path: Path
    images: Sequence[Image]
    categories: dict[Id, str]
    objects: dict[Id, list[Object]]
    pictures: dict[Id, Picture]
    findings: Sequence[str]


def read(path: Path, encoding: str) -> CocoFile:
    """Reads a file.

    Raises UserError: no JSON, no lists of COCO's format, a category without id or name, an image without id or file
    name. Annotations that cannot be used are left out and counted among the findings.
    """
    content = read_json(path, encoding)
    for key in LISTS:
        if not isinstance(content, dict) or not isinstance(content.get(key), list):
            received = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
            raise UserError(f"{path} must be COCO's JSON, with a list {key!r}. Received: {received[:200]}")
    faults = _Faults(path)
    images = _images(content["images"], path, faults)
    categories = _categories(content, path)
    entries = [(f"annotations[{i}]", entry) for i, entry in enumerate(content["annotations"])]
    ids = {image.id for image in images}
    objects: dict[Id, list[Object]] = {}
    pictures: dict[Id, Picture] = {}
    for place, entry in entries:
        named = isinstance(entry, dict) and entry.get("id") is not None
        where = f"annotation {short(entry['id'])}" if named else place
        image = _id_of(entry, "image_id") if isinstance(entry, dict) else None
        if image not in ids:
            reason = "no object" if not isinstance(entry, dict) else f"the image {short(entry.get('image_id'))}"
            faults.add("of no image that is listed are left out", f"{where} ({reason})")
        elif isinstance(entry.get("segments_info"), list):
            pictures[image] = _picture(entry, where, categories, faults)
        else:
            objects.setdefault(image, []).append(_object(entry, where, categories, faults))
    return CocoFile(path, images, categories, objects, pictures, faults.lines())


class _Faults:
    """Counts faults by kind, with the first of each."""

    def __init__(self, path: Path):
        self.path, self.counts, self.first = path, Counter(), {}

    def add(self, kind: str, where: str) -> None:
        self.counts[kind] += 1
        self.first.setdefault(kind, where)

    def lines(self) -> list[str]:
        return [f"{self.path}: {n} entries {kind}, such as {self.first[kind]}" for kind, n in self.counts.items()]


def _images(entries: list, path: Path, faults: _Faults) -> list[Image]:
    images: dict[Id, Image] = {}
    for index, entry in enumerate(entries):
        where = f"{path}: images[{index}]"
        number, name = (_id_of(entry, "id"), entry.get("file_name")) if isinstance(entry, dict) else (None, None)
        if number is None or not isinstance(name, str) or not name.strip() or "\0" in name:
            raise UserError(f"{where} must have an id and a file_name. Received: {short(entry)}")
        if number in images:
            faults.add("have the id of another image and are left out", f"images[{index}], {name}")
            continue
        images[number] = Image(number, name.strip(), _size(entry, where))
    if not images:
        raise UserError(f"{path} must list images. Received: none")
    return list(images.values())


def _size(entry: dict, where: str) -> tuple[int, int] | None:
    """(height, width) of an image; None where either is missing, null or 0."""
    sides = [entry.get(key) for key in ("height", "width")]
    if any(side in (None, "", 0, "0") for side in sides):
        return None
    height, width = (number_in(side) for side in sides)
    if not (height.is_integer() and width.is_integer() and min(height, width) > 0 and height * width <= MAX_PIXELS):
        raise UserError(f"{where} must have a height and a width in pixels. Received: {short(sides)}")
    return int(height), int(width)


def _categories(content: dict, path: Path) -> dict[Id, str]:
    """{id: name} by id, without the root of a tree that no annotation has."""
    found: dict[Id, str] = {}
    parents: dict[Id, Any] = {}
    for index, entry in enumerate(content["categories"]):
        number, name = (_id_of(entry, "id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        name = str(name).strip() if isinstance(name, str | int | float) and not isinstance(name, bool) else ""
        if number is None or not name or not name.isprintable():
            wanted = "an id and a name in one line"
            raise UserError(f"{path}: categories[{index}] must have {wanted}. Received: {short(entry)}")
        if found.setdefault(number, name) != name:
            raise UserError(f"{path} must have each category id once. Received: {number}: {found[number]} and {name}")
        parents[number] = entry.get("supercategory")
    used = {_id_of(part, "category_id") for entry in content["annotations"] for part in _parts(entry)}
    named = {parent for number, parent in parents.items() if parent != found[number] and isinstance(parent, str)}
    roots = {n for n, name in found.items() if name in named and parents[n] in NO_PARENT and n not in used}
    order = sorted(found, key=lambda number: (isinstance(number, str), number))
    return {number: found[number] for number in order if number not in roots}


def _parts(entry: Any) -> list[dict]:
    """What has a category in an annotation: itself, or its segments."""
    if not isinstance(entry, dict):
        return []
    segments = entry.get("segments_info")
    return [part for part in (segments if isinstance(segments, list) else [entry]) if isinstance(part, dict)]


def _object(entry: dict, where: str, categories: dict[Id, str], faults: _Faults) -> Object:
    category, segmentation = _id_of(entry, "category_id"), entry.get("segmentation")
    if category not in categories:
        faults.add(
            "are of no category that is listed: their pixels are ignored",
            f"{where} (the category {short(entry.get('category_id'))})",
        )
        category = None
    if not has_outline(segmentation):
        faults.add("have a box at most, but no outline: the pixels in their boxes are ignored", where)
        segmentation = None
    return Object(where, category, segmentation, entry.get("bbox"))


def has_outline(segmentation: Any) -> bool:
    """Whether a segmentation has more than a box: anything but null, nothing, or polygons of less than 3 points."""
    if not isinstance(segmentation, list):
        return segmentation not in (None, "", {})
    parts = segmentation if any(isinstance(part, list) for part in segmentation) else [segmentation]
    return any(not isinstance(part, list) or len(part) > 4 or any(isinstance(x, list) for x in part) for part in parts)


def _picture(entry: dict, where: str, categories: dict[Id, str], faults: _Faults) -> Picture:
    name = entry.get("file_name")
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise UserError(f"{faults.path}: {where} must have a file_name. Received: {short(name)}")
    segments: dict[int, Id | None] = {}
    for segment in entry["segments_info"]:
        number, category = _id_of(segment, "id"), _id_of(segment, "category_id")
        if not isinstance(number, int):
            faults.add("have a segment without a number and are ignored there", f"{where} ({short(segment)})")
            continue
        if category not in categories:
            faults.add("have a segment of no category that is listed, which is ignored", f"{where}, segment {number}")
        segments[number] = category if category in categories else None
    return Picture(where, name.strip(), segments)


def _id_of(entry: Any, key: str) -> Id | None:
    """An id as it is compared; None where there is none."""
    try:
        return identifier(entry.get(key))
    except (ValueError, AttributeError):
        return None


def box_of(value: Any) -> list[float] | None:
    """A box x, y, width, height in finite numbers; None for anything else."""
    numbers = [number_in(part) for part in value] if isinstance(value, list) and len(value) == 4 else []
    return numbers if numbers and not any(map(math.isnan, numbers)) else None
