"""labelme: one JSON file of shapes an image, beside it or in a folder of its own."""

from __future__ import annotations

import base64
import io
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from mobilenet_tf.config import Split
from mobilenet_tf.data.coco_objects import object_mask
from mobilenet_tf.data.images import EXTENSIONS, MAX_PIXELS, displayed_size
from mobilenet_tf.data.label_files import check_class_count
from mobilenet_tf.data.splits import SPLIT_NAMES
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.data.walk import files_with
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data import parts
from mobilenet_tf.tasks.segmentation.data.layout import check_folder, read_classes
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import read_json

BACKGROUND = ("background", "_background_")  # labels of what is no object
IGNORED = ("__ignore__", "ignore", "ignored")
CIRCLE = 64  # points of the polygon that stands for a circle


@dataclass(frozen=True)
class Annotation:
    """A file of labelme, the image that it is about, and its shapes with where they stand."""

    file: Path
    image: Path | None
    shapes: list[tuple[str, dict]]


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """The images and masks of a split: folders of the usual names, or drawn.

    Classes are "background" and all labels, or those that `data.classes` names, the rest being background. As in
    labelme's own converter, later shapes lie over earlier ones, and the label __ignore__ leaves pixels out.
    """
    root = check_folder(data.path)
    found = [_parse(path, data.encoding) for path in files_with(root, (".json",))]
    files = [file for file in found if file is not None]
    if not files:
        raise UserError(f"{root} must have labelme's JSON files, with a list 'shapes'. Received: {len(found)} others")
    with_image = [file for file in files if file.image is not None]
    if not with_image:
        raise UserError(f"{files[0].file} must lie beside its image. Received: no image for any of {len(files)} files")
    given: dict[Split, list[Annotation]] = {}
    for file in with_image:
        folders = file.file.relative_to(root).parts[:-1]
        named: list[Split] = [SPLIT_NAMES[part.lower()] for part in folders if part.lower() in SPLIT_NAMES]
        given.setdefault(named[0] if named else "train", []).append(file)
    chosen = parts.part(lambda origin: given[origin], _image_of, given, split, data, seed)
    labels = sorted({str(shape["label"]) for file in files for _, shape in file.shapes})
    labels = [label for label in labels if label.lower() not in (*BACKGROUND, *IGNORED)]
    names = read_classes(data.classes, data.encoding) if data.classes else labels
    names = [BACKGROUND[0], *(name for name in names if name.lower() not in BACKGROUND)]
    check_class_count(names, data.path, most=IGNORE)
    read_mask = ShapeMasks(chosen, {name: i for i, name in enumerate(names)})
    keys = [str(i) for i in range(len(chosen))]
    return MaskedImages(
        list(map(_image_of, chosen)), keys, names, read_mask, _findings(files, found, root), as_stored=False
    )


def _image_of(file: Annotation) -> Path:
    assert file.image is not None
    return file.image


def _findings(files: Sequence[Annotation], found: Sequence[Annotation | None], root: Path) -> list[str]:
    lines = []
    lost = [file.file for file in files if file.image is None]
    if lost:
        lines.append(f"{len(lost)} files of labelme have no image and are left out, such as {lost[0]}")
    if strange := found.count(None):
        lines.append(f"{strange} JSON files in {root} are not labelme's and are left out")
    kinds = Counter(shape["shape_type"] for file in files for _, shape in file.shapes)
    others = {kind[:40]: count for kind, count in kinds.items() if kind not in SHAPES}
    lines += [f"{count} shapes of the kind {kind!r} have no area and are left out" for kind, count in others.items()]
    return lines


def _parse(path: Path, encoding: str) -> Annotation | None:
    """The annotation in a file; None where it is something else than labelme's."""
    content = read_json(path, encoding)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        return None
    shapes = []
    for index, shape in enumerate(content["shapes"]):
        where = f"{path}: shapes[{index}]"
        label = shape.get("label") if isinstance(shape, dict) else None
        label = str(label).strip() if isinstance(label, str | int) and not isinstance(label, bool) else ""
        if not isinstance(shape, dict) or not label or not label.isprintable():
            raise UserError(f"{where} must have a label in one line. Received: {repr(shape)[:60]}")
        kind = shape.get("shape_type") or "polygon"  # early versions knew no other
        shapes.append((where, {**shape, "label": label, "shape_type": str(kind)}))
    return Annotation(path, _image(path, content.get("imagePath")), shapes)


def _image(path: Path, name: Any) -> Path | None:
    """The image that a file names, or one of its own name beside it."""
    named = PureWindowsPath(name) if isinstance(name, str) and "\0" not in name else PureWindowsPath(path.name)
    beside = [path.with_suffix(suffix) for suffix in EXTENSIONS] + [path.with_suffix(s.upper()) for s in EXTENSIONS]
    for candidate in (path.parent.joinpath(*named.parts), path.parent / named.name, *beside):
        if candidate.suffix.lower() in EXTENSIONS and os.path.isfile(candidate):
            return candidate
    return None


@dataclass(frozen=True)
class ShapeMasks:
    """Paints the shapes of an image, named by its place in `files`, over background 0. labels: {label: class id}."""

    files: Sequence[Annotation]
    labels: dict[str, int]

    def __call__(self, key: str) -> np.ndarray:
        """The mask of an image, uint8 [H, W]. Raises UserError for a shape without usable points."""
        file = self.files[int(key)]
        path = _image_of(file)
        try:
            height, width = displayed_size(path)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{path} must be an image that can be read. Received: {reason}") from None
        mask = np.zeros((height, width), np.uint8)
        for where, shape in file.shapes:
            label = IGNORE if shape["label"].lower() in IGNORED else self.labels.get(shape["label"], 0)
            if shape["shape_type"] not in SHAPES:
                continue
            try:
                inside = SHAPES[shape["shape_type"]](shape, height, width)
            except ValueError as error:
                raise UserError(f"{where} must have points in its image. Received: {error}") from None
            mask[inside] = label
        return mask


def _polygon(shape: dict, height: int, width: int) -> np.ndarray:
    points = _points(shape, 3)
    return object_mask([[value for point in points for value in point]], height, width)


def _rectangle(shape: dict, height: int, width: int) -> np.ndarray:
    (left, top), *_, (right, bottom) = _points(shape, 2)
    return object_mask([[left, top, right, top, right, bottom, left, bottom]], height, width)


def _circle(shape: dict, height: int, width: int) -> np.ndarray:
    (x, y), edge, *_ = _points(shape, 2)
    radius = math.dist((x, y), edge)
    angles = (2 * math.pi * i / CIRCLE for i in range(CIRCLE))
    outline = [value for a in angles for value in (x + radius * math.cos(a), y + radius * math.sin(a))]
    return object_mask([outline], height, width)


def _painted(shape: dict, height: int, width: int) -> np.ndarray:
    """A shape that was painted: a PNG file, as text, whose first corner is the first point."""
    (left, top), *_ = _points(shape, 1)
    try:
        with Image.open(io.BytesIO(base64.b64decode(str(shape.get("mask")), validate=True)), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError("too large a mask")
            part = np.asarray(image.convert("L")) > 0
    except Exception as error:  # Pillow's plugins raise nearly any exception on damaged files
        raise ValueError(f"a mask that cannot be read ({type(error).__name__})") from None
    row, column = round(top), round(left)
    whole = np.zeros((height, width), bool)
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"the corner {left:g}, {top:g}")
    part = part[: height - row, : width - column]
    whole[row : row + part.shape[0], column : column + part.shape[1]] = part
    return whole


SHAPES = {"polygon": _polygon, "rectangle": _rectangle, "rotation": _polygon, "circle": _circle, "mask": _painted}


def _points(shape: dict, least: int) -> list[tuple[float, float]]:
    points = shape.get("points")
    if not isinstance(points, list) or len(points) < least:
        raise ValueError(f"{repr(points)[:40]} in place of {least} points or more")
    found = []
    for point in points:
        try:
            x, y = (float(value) for value in point)
        except (TypeError, ValueError, OverflowError):
            x = y = math.nan
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"{repr(point)[:40]} in place of x and y")
        found.append((x, y))
    return found
