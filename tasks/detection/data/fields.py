"""Every field of annotations in COCO's structure is checked here, whatever tool wrote it, before anything reads it.

What has one meaning gets its type: numbers that stand as text, ids of two kinds, "iscrowd": "false", "area": null, an
outline without a box. What has none is left out, with a line that names it. Entries without faults stay as they are.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from mobilenet_tf.data.coco_objects import identifier, outline_box
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, label_order
from mobilenet_tf.tasks.detection.data.findings import Finding, none_left, warn
from mobilenet_tf.utils.errors import UserError, short
from mobilenet_tf.utils.text_files import read_json

LISTS = ("images", "annotations", "categories")
MAX_SIDE = 2**20  # px of an image
LIMIT = 1e7  # px from the origin to which a box may reach
CROWDS = {0: 0, 1: 1, "": 0, "0": 0, "1": 1, "false": 0, "true": 1, "no": 0, "yes": 1}
NO_PARENT = (None, "", "none")  # what a category at the root of a tree names as the one above it

Lines = list[Finding]


def checked_fields(annotations: AnnotationSet, used_elsewhere: Callable[[], Collection] = tuple) -> AnnotationSet:
    """The set with fields of the right types, and `findings` of what had to be left out or cannot be meant.

    annotations: its `paths` may be empty where they follow from the file names of the images that are left.
    used_elsewhere: gives the category ids that boxes of the other splits have.
    Raises UserError: no lists of COCO's format, a category without id or name, categories that cannot be told apart;
    no box at all can be used.
    """
    if annotations.findings is not None:
        return annotations
    coco, where = annotations.coco, annotations.where
    _check_lists(coco, where)
    findings: Lines = []
    categories = _categories(coco, where, used_elsewhere, findings)
    rows, images = _images(coco["images"], where, findings)
    entries = _entries(coco["annotations"], where, images, categories, findings)
    return replace(
        annotations,
        coco={**coco, "images": images, "annotations": entries, "categories": categories},
        paths=[annotations.paths[row] for row in rows] if annotations.paths else [],
        classes=annotations.classes or label_order(categories),
        findings=findings,
    )


def read_fields(path: Path) -> dict:
    """The annotations in a JSON file of COCO's format, checked; faults become warnings. Raises UserError."""
    annotations = checked_fields(AnnotationSet(read_json(path), [], [], path))
    warn(annotations.findings or [])
    return annotations.coco


def _check_lists(coco: Any, where: Path) -> None:
    for key in LISTS:
        if not isinstance(coco, dict) or not isinstance(coco.get(key), list):
            received = ", ".join(map(str, coco)) if isinstance(coco, dict) else type(coco).__name__
            raise UserError(f"{where} must be in COCO's format, with a list {key!r}. Received: {received[:200]}")


# Categories


def _categories(coco: dict, where: Path, used_elsewhere: Callable, findings: Lines) -> list[dict]:
    categories = [_category(entry, f"{where}: categories[{i}]") for i, entry in enumerate(coco["categories"])]
    keys = [identifier(category["id"]) for category in categories]
    _check_once(keys, where, "id")
    names = Counter(category["name"] for category in categories)
    parents = {name for category in categories if (name := _parent(category)) not in (None, category["name"])}
    roots = [c for c in categories if _parent(c) is None and c["name"] in parents]
    twice = sorted((c for c in categories if names[c["name"]] > 1), key=lambda c: _parent(c) is not None)
    used = used_categories(coco["annotations"]) | set(used_elsewhere()) if roots or twice else set()
    for kind, candidates in (("root category", roots), ("category twice", twice)):
        for category in candidates:
            is_needed = category not in categories or (kind == "category twice" and names[category["name"]] == 1)
            if is_needed or identifier(category["id"]) in used:
                continue
            names[category["name"]] -= 1
            received = f"{category['name']}, which no box has"
            findings.append(Finding(kind, f"{where}, category {category['id']}", received))
            categories = [other for other in categories if other is not category]
    _check_once([category["name"] for category in categories], where, "name")
    return categories


def _check_once(values: list, where: Path, what: str) -> None:
    twice = next((value for value, count in Counter(values).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{where} must have each category {what} once. Received: {twice} more than once")


def _category(entry: Any, where: str) -> dict:
    entry = entry if isinstance(entry, dict) else {}
    name = entry.get("name")
    if type(name) in (int, float):
        name = str(name)
    try:
        number = _id(entry.get("id"))
        usable = isinstance(name, str) and bool(name.strip()) and name.strip().isprintable()
    except ValueError:
        usable = False
        number = None
    if not usable:
        raise UserError(f"{where} must have an id and a name in one line. Received: {short(entry)}")
    assert isinstance(name, str)
    return _changed(entry, {"id": number, "name": name.strip()})


def _parent(category: dict) -> str | None:
    """The name of the category above one; None at the root."""
    name = category.get("supercategory")
    return name if isinstance(name, str) and name not in NO_PARENT else None


def used_categories(entries: Any) -> set:
    """The keys of the categories that annotations have, of a list that nobody has checked."""
    entries = entries if isinstance(entries, list) else []
    return {key for entry in entries if (key := _category_key(entry)) is not None}


def _category_key(entry: Any) -> int | str | None:
    try:
        return identifier(entry.get("category_id"))
    except (ValueError, AttributeError):
        return None


# Images


def _images(entries: list, where: Path, findings: Lines) -> tuple[list[int], list[dict]]:
    """(the places of the images that are left, the images)."""
    rows, images, seen = [], [], set()
    for row, entry in enumerate(entries):
        place = f"{where}, images[{row}]"
        if not isinstance(entry, dict):
            findings.append(Finding("not an image", place, short(entry)))
            continue
        try:
            number = _id(entry.get("id"))
        except ValueError:
            findings.append(Finding("no image id", place, short(entry.get("id"))))
            continue
        name, place = entry.get("file_name"), f"{where}, image {number}"
        if not _is_file_name(name):
            findings.append(Finding("no file name", place, short(name)))
        elif identifier(number) in seen:
            findings.append(Finding("duplicate image id", f"{where}, {name}, image {number}"))
        else:
            seen.add(identifier(number))
            rows.append(row)
            images.append(_changed(entry, {"id": number} | _sides(entry, place, findings)))
    return rows, images


def _is_file_name(name: Any) -> bool:
    try:
        return isinstance(name, str) and bool(name.strip()) and "\0" not in name and bool(os.fsencode(name))
    except UnicodeEncodeError:  # half of a surrogate pair, which is no byte of a file name either
        return False


def _sides(entry: dict, place: str, findings: Lines) -> dict:
    """Height and width; None for both, which are then read from the file, where they are not given or nonsense."""
    given = [entry.get(key) for key in ("height", "width")]
    sides = [_number(value) for value in given]
    if all(side is not None and 0 < side <= MAX_SIDE for side in sides):
        return dict(zip(("height", "width"), sides, strict=True))
    if any(value not in (None, 0) for value in given):
        findings.append(Finding("no usable size", place, f"height {short(given[0])}, width {short(given[1])}"))
    return {"height": None, "width": None}


# Boxes


def _entries(entries: list, where: Path, images: list[dict], categories: list[dict], findings: Lines) -> list[dict]:
    own_images = {identifier(image["id"]): image["id"] for image in images}
    own_categories = {identifier(category["id"]): category["id"] for category in categories}
    sizes = {image["id"]: (image.get("height"), image.get("width")) for image in images}
    usable, outlines, before = [], 0, len(findings)
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            findings.append(Finding("not an annotation", f"{where}, annotations[{index}]", short(entry)))
            continue
        image, category = _own(own_images, entry.get("image_id")), _own(own_categories, entry.get("category_id"))
        fault = None
        box: Any = None
        if image is None:
            fault = "unknown image", f"image {short(entry.get('image_id'))}"
        elif category is None:
            fault = "unknown category", short(entry.get("category_id"))
        else:
            try:
                box, from_outline = _box(entry, sizes[image])
                outlines += from_outline
            except _FaultError as error:
                fault = error.args
        if fault:
            findings.append(Finding(fault[0], _place(entry, index, where), fault[1]))
            continue
        crowd, area = entry.get("iscrowd", 0), entry.get("area", 1)
        changes = {}
        for key, own in (("image_id", image), ("category_id", category)):
            if own is not entry[key] and (own != entry[key] or type(own) is not type(entry[key])):
                changes[key] = own
        if box is not entry.get("bbox"):
            changes["bbox"] = box
        if type(crowd) is not int or not 0 <= crowd <= 1:
            changes["iscrowd"] = _crowd(crowd, _place(entry, index, where), findings)
        if type(area) not in (int, float) or not 0 < area <= 1.01 * box[2] * box[3] + 1:
            changes["area"] = _area(area, box)
        usable.append(_changed(entry, changes) if changes else entry)
    if outlines:
        findings.append(Finding("boxes from outlines", str(where), f"{outlines} annotations have no bbox"))
    findings += _shifted(own_categories, entries, where)
    if entries and not usable:
        ids = f"; images have the ids {_some(own_images)}, categories {_some(own_categories)}"
        raise none_left("boxes", where, findings[before:], ids)
    return usable


class _FaultError(ValueError):
    """Why a box cannot be used: (kind of finding, what was received)."""


def _shifted(own: dict, entries: list, where: Path) -> Lines:
    """Whether boxes count their categories from one number lower than the list of categories."""
    numbers = sorted(key for key in own if isinstance(key, int))
    if len(numbers) < 2 or numbers != list(range(numbers[0], numbers[0] + len(own))):
        return []
    used = used_categories(entries)
    if numbers[0] - 1 not in used or numbers[-1] in used or any(key not in own for key in used - {numbers[0] - 1}):
        return []
    received = f"boxes have the ids {numbers[0] - 1} to {numbers[-2]}, categories {numbers[0]} to {numbers[-1]}"
    return [Finding("shifted categories", str(where), received)]


def _own(ids: dict, value: Any) -> Any:
    """The id of the set that is meant by a value; None where there is none."""
    own = ids.get(value) if type(value) is int else None
    if type(own) is int:
        return value if own == value else own
    try:
        return ids.get(identifier(value))
    except ValueError:
        return None


def _box(entry: dict, size: tuple) -> tuple[list | tuple, bool]:
    """(the four numbers, whether they are those around an outline). Raises _FaultError."""
    box, from_outline = entry.get("bbox"), False
    is_missing = not box and not isinstance(box, int | float)  # null, an empty list, or none at all
    if is_missing or (box == [0, 0, 0, 0] and entry.get("segmentation")):
        box, from_outline = _around_outline(entry, size), True
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise _FaultError("not a box", f"bbox {short(box)}, which must be x, y, width, height")
    for value in box:
        if type(value) is not float and type(value) is not int:
            box = [_number(value) if isinstance(value, str) else value for value in box]
            break
    for value in box:
        if type(value) is not float and type(value) is not int:
            raise _FaultError("not a box", f"bbox {short(entry.get('bbox'))}, which must be four numbers")
        if not -LIMIT <= value <= LIMIT:
            raise _FaultError("not finite", f"bbox {short(box)}")
    return box, from_outline


def _around_outline(entry: dict, size: tuple) -> list[float]:
    segmentation = entry.get("segmentation")
    if not segmentation:
        if entry.get("keypoints"):
            raise _FaultError("key points only", "neither bbox nor segmentation")
        raise _FaultError("no box", "neither bbox nor segmentation")
    try:
        return outline_box(segmentation, *size)
    except ValueError as error:
        raise _FaultError("no box", f"segmentation: {error}") from None


def _crowd(value: Any, place: str, findings: Lines) -> int:
    key = value.strip().lower() if isinstance(value, str) else value
    if value is None:
        return 0
    if isinstance(key, str | int | float) and key in CROWDS:
        return CROWDS[key]
    findings.append(Finding("no usable iscrowd", place, short(value)))
    return 0


def _area(value: Any, box: Any) -> float:
    """The area of an object: as given where it fits into its box, else that of the box."""
    number, most = _number(value), box[2] * box[3]
    return number if number is not None and 0 < number <= 1.01 * most + 1 else most


def _place(entry: dict, index: int, where: Path) -> str:
    number = entry.get("id")
    named = f"annotation {number}" if type(number) in (int, str) else f"annotations[{index}]"
    return entry.get("line") or f"{where}, {named}"


def _some(ids: dict) -> str:
    values = [short(value) for value in list(ids.values())[:3]]
    return ", ".join(values) + (", ..." if len(ids) > 3 else "") if values else "none"


# Values


def _id(value: Any) -> int | str:
    """An id as it stands; whole floats become numbers. Raises ValueError for what is no id."""
    number = identifier(value)
    if isinstance(value, str):
        os.fsencode(value)  # half of a surrogate pair is a ValueError too
    return number if isinstance(value, float) else value


def _number(value: Any) -> int | float | None:
    """A finite number, also one that stands as text; None for anything else."""
    if type(value) is int:
        return value if abs(value) < 2**62 else None
    if type(value) is not float and not isinstance(value, str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() else number


def _changed(entry: dict, changes: dict) -> dict:
    """The entry with these values; the very entry where they are its own."""
    same = all(type(entry.get(key)) is type(value) and entry.get(key) == value for key, value in changes.items())
    return entry if same else {**entry, **changes}
