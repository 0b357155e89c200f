"""YOLO labels: one text file of boxes, polygons or key points for each image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.data import tree
from mobilenet_tf.data.images import displayed_size
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data import yolo_table
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.tasks.detection.data.named import around
from mobilenet_tf.tasks.detection.data.yolo_table import Table
from mobilenet_tf.utils import text_files
from mobilenet_tf.utils.errors import UserError

LABEL_FOLDERS = ("labels", "label", "annotations", "annots", "txt")
FORM = "class, x, y, width, height, or class and a polygon's points"


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split.

    `data.root` is the yaml file, whose keys are path, train, val, test (folders of images, text files that list them,
    or lists of these), names and perhaps kpt_shape; or darknet's obj.data; or the folder that has one of them, or
    images with a list of class names. `data.splits` are other keys or folders for the splits. What is missing is drawn
    from train by `splits.to_draw`. An image without a label file has no boxes.
    """
    table = yolo_table.find(data.path, data)
    given: dict[Split, list[Path]] = {name: paths for name, paths in table.images.items() if _are_labeled(name, table)}
    paths, drawn = tree.choose(given, split, data)
    annotations = _annotations(paths, table, data.encoding)
    return divide(annotations, split, data, given, seed) if drawn else annotations


def _are_labeled(split: Split, table: Table) -> bool:
    """Whether an image has a label file. Warns of a split without any; raises UserError for that of training."""
    paths, labels = table.images[split], _Labels(table.root)
    if any(labels.find(path) for path in paths):
        return True
    looked = " and ".join(str(path) for path in labels.candidates(paths[0]))
    if split == "train":
        received = f"none for {len(paths)} images; looked for {looked}"
        raise UserError(f"{table.where} must have boxes for the split train, in .txt label files. Received: {received}")
    warnings.warn(f"{table.where}: no label file for the {len(paths)} images of {split}, which is left out; looked for "
                  f"{looked}", stacklevel=2)  # fmt: skip
    return False


def _annotations(paths: Sequence[Path], table: Table, encoding: str) -> AnnotationSet:
    images, entries, labels = [], [], _Labels(table.root)
    for path in paths:
        name = str(path.relative_to(table.root)) if path.is_relative_to(table.root) else str(path)
        height, width = _size(path)
        images.append({"id": name, "file_name": name, "height": height, "width": width})
        if file := labels.find(path):
            entries += _boxes(file, name, (height, width), table.keypoints, encoding)
    _check_count_from_0({entry["category_id"] for entry in entries}, table)
    categories = [{"id": number, "name": name} for number, name in table.names.items()]
    coco = {"images": images, "annotations": entries, "categories": categories}
    return AnnotationSet(coco, list(paths), list(table.names.values()), table.where)


def _check_count_from_0(used: set[int], table: Table) -> None:
    """Raises UserError where the labels count from 1: each name would go to the boxes of another."""
    count = len(table.names)
    if used and min(used) > 0 and max(used) == count and list(table.names) == list(range(count)):
        hint = "; where they count from 1, the yaml file says so by names: {1: " + table.names[0] + ", ...}"
        received = f"{min(used)} to {max(used)}, and {count} is an unknown category{hint}"
        raise UserError(f"the labels of {table.where} must have classes from 0 to {count - 1}. Received: {received}")


def _size(path: Path) -> tuple[int, int]:
    """(height, width) of an image; 1, 1 of what cannot be read: the check that follows says why."""
    try:
        return displayed_size(path)
    except Exception:  # Pillow's plugins raise nearly any exception on damaged files
        return 1, 1


class _Labels:
    """Finds the label files of images in a data set whose root this is."""

    def __init__(self, root: Path):
        self.root = root
        self._folders: dict[Path, Path | None] = {}

    def find(self, image: Path) -> Path | None:
        """The label file of an image; None: there is none."""
        return next((path for path in self.candidates(image) if os.path.isfile(path)), None)

    def candidates(self, image: Path) -> list[Path]:
        """Where it may lie: in labels/ in place of images/ in the path, from the last such folder on; beside it."""
        beside = image.parent / f"{image.stem}.txt"  # with_suffix refuses what has no name
        parts = beside.parts
        first = len(self.root.parts) if image.is_relative_to(self.root) else 0
        places = [place for place in range(first, len(parts) - 1) if parts[place].casefold() in tree.IMAGE_FOLDERS]
        folders = {place: self._folder(Path(*parts[:place])) for place in reversed(places)}
        swapped = [Path(folder, *parts[place + 1 :]) for place, folder in folders.items() if folder]
        if not swapped and places:
            swapped = [Path(*parts[: places[-1]], LABEL_FOLDERS[0], *parts[places[-1] + 1 :])]
        return [*swapped, beside]

    def _folder(self, parent: Path) -> Path | None:
        if parent not in self._folders:
            self._folders[parent] = tree.folder_named(parent, *LABEL_FOLDERS) if parent.is_dir() else None
        return self._folders[parent]


def _boxes(path: Path, name: str, size: tuple[int, int], keypoints: bool, encoding: str) -> list[dict]:
    """The annotations in a label file, of an image of this (height, width). Raises UserError for a line of no form."""
    height, width = size
    annotations = []
    for number, line in enumerate(text_files.read_lines(path, encoding), 1):
        if not line:
            continue
        where = f"{path}, line {number}"
        label, values = _numbers(line, where)
        x, y, w, h = _corner_form(values, keypoints, where)
        annotations.append(
            {
                "id": f"{name}:{number}",
                "image_id": name,
                "line": where,
                "category_id": label,
                "bbox": [x * width, y * height, w * width, h * height],
                "area": w * width * h * height,
                "iscrowd": 0,
            }
        )
    return annotations


def _numbers(line: str, where: str) -> tuple[int, list[float]]:
    """(class, further numbers) of a line."""
    try:
        label, *values = (float(word) for word in line.split())
        if label == int(label) and len(values) >= 4:
            return int(label), values
    except (ValueError, OverflowError):  # of int(inf)
        pass
    raise UserError(f"{where} must be {FORM}. Received: {line[:60]}")


def _corner_form(values: Sequence[float], keypoints: bool, where: str) -> tuple[float, float, float, float]:
    """(left, top, width, height) of a box given by its center, and perhaps a score, track or key points; of a polygon.

    The corners of rotated boxes are polygons of four points.
    """
    if keypoints or len(values) < 6:
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, width, height
    flags = values[6::3] if (len(values) - 4) % 3 == 0 else []
    if len(values) % 2 or (2 in flags and set(flags) <= {0, 1, 2}):
        received = f"{len(values)} numbers after the class; for key points set kpt_shape in the yaml file"
        raise UserError(f"{where} must be {FORM}. Received: {received}")
    return around(list(zip(values[::2], values[1::2], strict=True)))
