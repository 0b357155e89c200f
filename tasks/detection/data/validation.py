"""Checks an annotated set of images, one line a finding, and leaves out what cannot be used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mobilenet_tf.data.images import TURNED, header
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet
from mobilenet_tf.tasks.detection.data.fields import checked_fields
from mobilenet_tf.tasks.detection.data.findings import KINDS, UNNAMED, Finding, none_left
from mobilenet_tf.utils.errors import UserError

OVERHANG = 1.0  # pixels by which a box may reach over the edge before that is worth a line: rounding, 1-based corners
MIN_SURE = 3  # boxes that show that all of a set are laid out in another way
SAME_SHAPE = 0.02  # relative difference of aspect ratios that resizing an image explains
# Of the EXIF orientations: whether x, whether y is mirrored, and whether both are then exchanged
TURNS = {
    2: (True, False, False), 3: (True, True, False), 4: (False, True, False), 5: (False, False, True),
    6: (False, True, True), 7: (True, True, True), 8: (True, False, True),
}  # fmt: skip

Lines = list[Finding]


def checked(annotations: AnnotationSet, *, on_corrupt: str = "skip") -> tuple[AnnotationSet, Lines]:
    """The set without what cannot be used, and all findings. A set without faults keeps its very annotations.

    Raises UserError: no image is there, no box can be used, or (on_corrupt="error") an image is missing or unreadable.
    """
    annotations = checked_fields(annotations)
    findings = list(annotations.findings or [])
    images, paths, orientations = _images(annotations, findings, on_corrupt)
    entries = _entries(annotations, images, orientations, findings)
    findings += _unused(annotations, images, entries)
    images = [_turned_image(image, turn) for image, turn in zip(images, orientations, strict=True)]
    coco = dict(annotations.coco)
    for key, left in (("images", images), ("annotations", entries)):
        if len(left) < len(coco[key]) or any(a is not b for a, b in zip(left, coco[key], strict=True)):
            coco[key] = left
    return replace(annotations, coco=coco, paths=paths), findings


# Images


@dataclass(frozen=True)
class _File:
    """An image of a set and what its file says: (height, width) as it is shown, and the EXIF orientation."""

    image: dict
    path: Path
    where: str
    shown: tuple[int, int]
    orientation: int

    @property
    def stored(self) -> tuple[int, int]:
        height, width = self.shown
        return (width, height) if self.orientation in TURNED else self.shown

    @property
    def annotated(self) -> tuple[int, int] | None:
        height, width = self.image.get("height"), self.image.get("width")
        return (height, width) if height and width else None

    @property
    def boxes_as_stored(self) -> bool | None:
        """Whether the annotated size is that of the stored image and not of the one that is shown; None: unclear."""
        if not self.annotated or self.orientation not in TURNED:
            return None
        of_stored, of_shown = (_same_shape(self.annotated, size) for size in (self.stored, self.shown))
        return of_stored if of_stored != of_shown else None


def _images(annotations: AnnotationSet, findings: Lines, on_corrupt: str) -> tuple[list[dict], list[Path], list[int]]:
    """(the images that can be used, their files, the EXIF orientation of each that its boxes are to be turned by)."""
    unnamed, given = [finding for finding in findings if finding.kind in UNNAMED], len(findings)
    if unnamed and on_corrupt == "error":
        raise UserError(f"{unnamed[0].where} must be an image that can be used. Received: {unnamed[0].kind}")
    files = list(_files(annotations, findings, on_corrupt))
    sure = [file.boxes_as_stored for file in files]
    others_are_stored = True in sure and False not in sure  # one tool has treated all images alike
    images, paths, turns, seen = [], [], [], set()
    for file, as_stored in zip(files, sure, strict=True):
        if as_stored is None:
            as_stored = others_are_stored
            if not as_stored and file.orientation != 1 and False not in sure:
                findings.append(Finding("unclear orientation", file.where, f"EXIF orientation {file.orientation}"))
        size = file.stored if as_stored else file.shown
        annotated = file.annotated or size
        if annotated != size:
            kind = "other image size" if _same_shape(annotated, size) else "other image shape"
            received = "{1}x{0}, annotated as {3}x{2}".format(*size, *annotated)
            findings.append(Finding(kind, file.where, received))
            if kind == "other image shape":
                continue
        if as_stored and file.orientation != 1:
            findings.append(Finding("stored sideways", file.where, f"EXIF orientation {file.orientation}"))
        if file.path in seen:
            findings.append(Finding("same file twice", file.where, str(file.image["file_name"])))
        seen.add(file.path)
        images.append(file.image if file.annotated else {**file.image, "height": size[0], "width": size[1]})
        paths.append(file.path)
        turns.append(file.orientation if as_stored else 1)
    if not images:
        lost = [finding for finding in findings[given:] if finding.left_out] + unnamed
        if lost:
            raise none_left("images", annotations.where, lost)
        raise UserError(f"{annotations.where} must name images that can be read. Received: none")
    return images, paths, turns


def _files(annotations: AnnotationSet, findings: Lines, on_corrupt: str) -> Iterator[_File]:
    for image, path in zip(annotations.coco["images"], annotations.paths, strict=True):
        where = f"{path}, image {image['id']}"
        try:
            size, orientation = header(path)
            yield _File(image, path, where, size, orientation if orientation in TURNS else 1)
        except FileNotFoundError:
            finding = Finding("missing image", where, "no such file" if path.parent.is_dir() else "no such folder")
        except (OSError, ValueError) as error:
            finding = Finding("unreadable image", where, getattr(error, "strerror", None) or str(error))
        else:
            continue
        if on_corrupt == "error":
            raise UserError(f"{where} must be an image that can be used. Received: {finding.received}")
        findings.append(finding)


def _same_shape(first: tuple[float, float], second: tuple[float, float]) -> bool:
    return abs(first[1] * second[0] / (first[0] * second[1]) - 1) < SAME_SHAPE


def _turned_image(image: dict, orientation: int) -> dict:
    return {**image, "height": image["width"], "width": image["height"]} if orientation in TURNED else image


# Boxes


def _entries(annotations: AnnotationSet, images: list[dict], orientations: list[int], findings: Lines) -> list[dict]:
    """The annotations of these images that can be used, with boxes in the images as they are shown."""
    row_of = {image["id"]: row for row, image in enumerate(images)}
    label_of = {category["id"]: label for label, category in enumerate(annotations.coco["categories"])}
    entries = [entry for entry in annotations.coco["annotations"] if entry["image_id"] in row_of]
    if not entries:
        return []
    rows = np.array([row_of[entry["image_id"]] for entry in entries])
    labels = np.array([label_of[entry["category_id"]] for entry in entries])
    sizes = np.array([[image["width"], image["height"]] for image in images], np.float64)[rows]
    boxes = np.array([entry["bbox"] for entry in entries], np.float64).reshape(-1, 4)
    boxes, sizes = turned(boxes, sizes, np.array(orientations)[rows])
    _check_layout(boxes, sizes, annotations.where, findings)
    kinds = _faults(boxes, sizes)
    kinds[_copies(entries, np.column_stack([rows, labels, boxes]), kinds)] = "copied annotation"
    before = len(findings)
    for index in np.flatnonzero(kinds != ""):
        entry = entries[index]
        where = entry.get("line") or f"{annotations.where}, annotation {entry.get('id', 'without id')}"
        box = [round(value, 2) for value in boxes[index].tolist()]
        received = f"bbox {box} in {sizes[index, 0]:g}x{sizes[index, 1]:g}"
        findings.append(Finding(str(kinds[index]), where, received))
    usable = [index for index in range(len(entries)) if KINDS.get(str(kinds[index])) != "left out"]
    if not usable:
        raise none_left("boxes", annotations.where, findings[before:])
    moved = np.array(orientations)[rows] != 1
    for index in np.flatnonzero(moved | (kinds == "outside the image")):
        entries[index] = _with_box(entries[index], boxes[index], sizes[index], clip=kinds[index] == "outside the image")
    return [entries[index] for index in usable]


def turned(boxes: np.ndarray, sizes: np.ndarray, orientations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of stored images -> of the images as their EXIF orientations show them.

    boxes: [N, 4] x, y, width, height; sizes: [N, 2] width, height of the stored images; orientations: [N].
    Returns the boxes, and the sizes of the images as they are shown.
    """
    boxes, sizes = boxes.copy(), sizes.copy()
    for orientation, (mirror_x, mirror_y, exchange) in TURNS.items():
        those = orientations == orientation
        for axis, mirror in enumerate((mirror_x, mirror_y)):
            if mirror:
                boxes[those, axis] = sizes[those, axis] - boxes[those, axis] - boxes[those, 2 + axis]
        if exchange:
            boxes[those] = boxes[those][:, [1, 0, 3, 2]]
            sizes[those] = sizes[those][:, ::-1]
    return boxes, sizes


def _check_layout(boxes: np.ndarray, sizes: np.ndarray, where: Path, findings: Lines) -> None:
    """Finds out whether boxes are no x, y, width, height in pixels but shares of the image, or two corners.

    Raises UserError for shares.
    """
    if boxes.max() <= 1 and len(boxes) >= MIN_SURE:
        box = [round(value, 4) for value in boxes[0].tolist()]
        raise UserError(f"{where} must have boxes in pixels. Received: shares of the image, the first {box}")
    outside = (boxes[:, :2] + boxes[:, 2:] - sizes).max(1) > OVERHANG
    corners_fit = (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2:] <= sizes + OVERHANG).all()
    if corners_fit and outside.sum() >= MIN_SURE:
        received = f"{outside.sum()} of {len(boxes)} reach over the edge; as two corners, all lie within"
        findings.append(Finding("boxes like corners", str(where), received))


def _faults(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The kind of finding for each box [N, 4] in an image of `sizes` [N, 2], "" for none."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    seen = np.minimum(high, sizes) - np.maximum(low, 0)
    kinds = np.full(len(boxes), "", dtype="U20")
    kinds[boxes[:, 2:].max(1) <= 1] = "one pixel"
    kinds[np.maximum(-low, high - sizes).max(1) > OVERHANG] = "outside the image"
    kinds[np.minimum(boxes[:, 2:], seen).min(1) <= 0] = "no area"
    return kinds


def _copies(entries: list[dict], columns: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Which annotations repeat an earlier one with its id; other repeated boxes are marked in `kinds`.

    columns: [N, 6] image, category and box.
    """
    copies = np.zeros(len(entries), bool)
    order = np.lexsort(columns.T)
    same = (columns[order][1:] == columns[order][:-1]).all(1)
    for place in np.flatnonzero(same):
        first, second = order[place], order[place + 1]
        if entries[first].get("id") == entries[second].get("id"):
            copies[second] = True
        elif not kinds[second]:
            kinds[second] = "same box twice"
    return copies


def _with_box(entry: dict, box: np.ndarray, size: np.ndarray, *, clip: bool) -> dict:
    low, high = box[:2], box[:2] + box[2:]
    if clip:
        low, high = np.maximum(low, 0), np.minimum(high, size)
    area = float(np.prod(high - low))
    given = {"area": min(entry["area"], area)} if "area" in entry else {}
    return {**entry, "bbox": [*low.tolist(), *(high - low).tolist()], **given}


def _unused(annotations: AnnotationSet, images: Sequence[dict], entries: Sequence[dict]) -> Iterator[Finding]:
    counts = Counter(entry["category_id"] for entry in entries)
    with_boxes = {entry["image_id"] for entry in entries}
    for image in images:
        if image["id"] not in with_boxes:
            yield Finding("no boxes", f"{image['file_name']}, image {image['id']}")
    for category in annotations.coco["categories"]:
        if not counts[category["id"]]:
            yield Finding("class without boxes", f"{annotations.where}, category {category['id']}", category["name"])
