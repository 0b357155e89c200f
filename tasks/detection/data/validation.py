"""Checks an annotated set of images, one line a finding, and leaves out what cannot be used."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mobilenet_tf.data.images import displayed_size
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet
from mobilenet_tf.utils.errors import UserError

MAX_WARNINGS = 5  # of a kind of finding, before training
OVERHANG = 1.0  # pixels by which a box may reach over the edge before that is worth a line: rounding, 1-based corners
SAME_SHAPE = 0.02  # relative difference of aspect ratios that resizing an image explains

KINDS = {
    "missing image": "left out",
    "unreadable image": "left out",
    "duplicate image id": "left out",
    "other image size": "boxes are scaled",
    "other image shape": "left out",
    "unknown image": "left out",
    "duplicate annotation id": "left out",
    "unknown category": "left out",
    "not finite": "left out",
    "no area": "left out",
    "outside the image": "clipped",
    "one pixel": "kept",
    "no boxes": "kept as a negative",
    "class without boxes": "never learned",
}


@dataclass(frozen=True)
class Finding:
    """One remark; `where` names the file and the annotation or image id."""

    kind: str  # a key of KINDS
    where: str
    received: str = ""

    def __str__(self) -> str:
        received = f" ({self.received})" if self.received else ""
        return f"{self.where}: {self.kind}{received}, {KINDS[self.kind]}"


def checked(annotations: AnnotationSet, *, on_corrupt: str = "skip") -> tuple[AnnotationSet, list[Finding]]:
    """The set without what cannot be used, and all findings. A set without faults keeps its very annotations.

    Raises UserError: no image is there, or (on_corrupt="error") one is missing or unreadable.
    """
    findings: list[Finding] = []
    images, paths = _images(annotations, findings)
    left_out = [finding for finding in findings if finding.kind in ("missing image", "unreadable image")]
    if left_out and on_corrupt == "error":
        raise UserError(f"{left_out[0].where} must be an image that can be used. Received: {left_out[0].received}")
    if not images:
        received = f"{len(annotations.paths)} named, the first {left_out[0]}" if left_out else "none"
        raise UserError(f"{annotations.where} must name images that can be read. Received: {received}")
    entries = _entries(annotations, {image["id"]: image for image in images}, findings)
    findings += _unused(annotations, images, entries)
    coco = dict(annotations.coco)
    if len(images) < len(coco["images"]) or any(a is not b for a, b in zip(images, coco["images"], strict=False)):
        coco["images"] = images
    if len(entries) < len(coco["annotations"]):
        coco["annotations"] = entries
    return replace(annotations, coco=coco, paths=paths), findings


def warn(findings: Iterable[Finding], quiet: Sequence[str] = ("no boxes",)) -> None:
    """One warning a finding, the first few of each kind; kinds in `quiet`, which are no faults, are left out."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    for kind, of_kind in kinds.items():
        if kind in quiet:
            continue
        for finding in of_kind[:MAX_WARNINGS]:
            warnings.warn(str(finding), stacklevel=3)
        if len(of_kind) > MAX_WARNINGS:
            warnings.warn(f"{len(of_kind) - MAX_WARNINGS} more: {kind}; check-data lists them", stacklevel=3)


def _images(annotations: AnnotationSet, findings: list[Finding]) -> tuple[list[dict], list[Path]]:
    images, paths, seen = [], [], set()
    for image, path in zip(annotations.coco["images"], annotations.paths, strict=True):
        where = f"{path}, image {image['id']}"
        if image["id"] in seen:
            findings.append(Finding("duplicate image id", where))
            continue
        kind, received, size = _size(image, path)
        if kind:
            findings.append(Finding(kind, where, received))
        if kind and KINDS[kind] == "left out":
            continue
        seen.add(image["id"])
        images.append(image if size is None else {**image, "height": size[0], "width": size[1]})
        paths.append(path)
    return images, paths


def _size(image: dict, path: Path) -> tuple[str | None, str, tuple[int, int] | None]:
    """(kind of finding or None, what was received, the size where the annotations give none)."""
    try:
        height, width = displayed_size(path)
    except FileNotFoundError:
        return "missing image", "no such file", None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        return "unreadable image", str(error), None
    rows, columns = image.get("height"), image.get("width")
    if not rows or not columns:
        return None, "", (height, width)
    if (rows, columns) == (height, width):
        return None, "", None
    received = f"{width}x{height}, annotated as {columns}x{rows}"
    same = abs(width * rows / (height * columns) - 1) < SAME_SHAPE
    return ("other image size" if same else "other image shape"), received, None


def _entries(annotations: AnnotationSet, images: dict[Any, dict], findings: list[Finding]) -> list[dict]:
    """The annotations that can be used, of these images ({id: image})."""
    categories = {category["id"] for category in annotations.coco["categories"]}
    dropped = {image["id"] for image in annotations.coco["images"]} - set(images)
    usable, seen = [], set()
    for entry in annotations.coco["annotations"]:
        if entry["image_id"] in dropped:
            continue
        kind, received = _fault_of(entry, images.get(entry["image_id"]), categories, seen)
        if kind:
            where = entry.get("line") or f"{annotations.where}, annotation {entry['id']}"
            findings.append(Finding(kind, where, received))
        if kind is None or KINDS[kind] in ("clipped", "kept"):
            usable.append(entry)
        seen.add(entry["id"])
    return usable


def _fault_of(entry: dict, image: dict | None, categories: set, seen: set) -> tuple[str | None, str]:
    """(kind of finding or None, what was received)."""
    if image is None:
        return "unknown image", f"image {entry['image_id']}"
    if entry["id"] in seen:
        return "duplicate annotation id", str(entry["id"])
    if entry["category_id"] not in categories:
        return "unknown category", repr(entry["category_id"])
    box = entry["bbox"]
    if not isinstance(box, list | tuple) or len(box) != 4 or not np.isfinite(np.asarray(box, np.float64)).all():
        return "not finite", f"bbox {box}"
    x, y, width, height = box
    received = f"bbox {[round(float(v), 2) for v in box]} in {image['width']}x{image['height']}"
    seen_width = min(x + width, image["width"]) - max(x, 0)
    seen_height = min(y + height, image["height"]) - max(y, 0)
    if min(width, height, seen_width, seen_height) <= 0:
        return "no area", received
    if max(-x, -y, x + width - image["width"], y + height - image["height"]) > OVERHANG:
        return "outside the image", received
    if max(width, height) <= 1:
        return "one pixel", received
    return None, ""


def _unused(annotations: AnnotationSet, images: Sequence[dict], entries: Sequence[dict]) -> Iterator[Finding]:
    counts = Counter(entry["category_id"] for entry in entries)
    with_boxes = {entry["image_id"] for entry in entries}
    for image in images:
        if image["id"] not in with_boxes:
            yield Finding("no boxes", f"{image['file_name']}, image {image['id']}")
    for category in annotations.coco["categories"]:
        if not counts[category["id"]]:
            yield Finding("class without boxes", f"{annotations.where}, category {category['id']}", category["name"])
