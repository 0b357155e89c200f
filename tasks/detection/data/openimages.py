"""Open Images: CSV files of boxes in shares of the image, and one with the names of the classes."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.data import tree, values
from mobilenet_tf.data.images import displayed_size
from mobilenet_tf.data.splits import SPLITS, names_of
from mobilenet_tf.data.walk import files_with
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data import named
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.tasks.detection.data.contents import contents
from mobilenet_tf.tasks.detection.data.named import NamedBox, NamedImage
from mobilenet_tf.utils import text_files
from mobilenet_tf.utils.errors import UserError

COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
WANTED = (
    "Open Images' CSV files, such as train-annotations-bbox.csv and class-descriptions-boxable.csv, with the images in "
    "its folder or below it"
)


@dataclass
class _Row:
    """The boxes of an image in shares of it: (name, x, y, width, height, where, crowd)."""

    path: Path
    boxes: list[tuple[str, float, float, float, float, str, bool]] = field(default_factory=list)


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split.

    `data.root` is the folder, or one CSV file of boxes. A split is the file that has its name, such as
    validation-annotations-bbox.csv; where there is one file alone they are drawn. Images that are not there, as those
    of a subset, are left out. The classes are the names of all boxes. Boxes around groups are crowds.
    """
    root = data.path if data.path.is_file() else tree.dataset_root(data.path, WANTED)
    folder = root.parent if root.is_file() else root
    files = {"train": root} if root.is_file() else _files(folder)
    names, index = _class_names(folder, data.encoding), tree.Index.of_images(folder)
    given: dict[Split, list[NamedImage]] = {}
    for name in SPLITS:
        images = _images(files[name], index, names, data.encoding) if name in files else []
        if images:
            given[name] = images
        elif name in files:
            _nothing(name, files[name], folder)
    classes = named.class_names([image for group in given.values() for image in group], folder)
    images, drawn = tree.choose(given, split, data)
    annotations = named.annotation_set(images, classes, files.get(split, files.get("train", folder)))
    return divide(annotations, split, data, list(given), seed) if drawn else annotations


def _nothing(split: Split, file: Path, folder: Path) -> None:
    received = f"none of the images of {file} is in {folder} or below it"
    if split == "train":
        raise UserError(f"data.root must have the images of the split train. Received: {received}")
    warnings.warn(f"{received}; the split {split} is left out", stacklevel=3)


def _files(root: Path) -> dict[Split, Path]:
    """{split: its CSV file of boxes}, wherever it lies below the root."""
    boxes = [file for file in files_with(root, [".csv"]) if "bbox" in file.stem.lower()]
    found: dict[Split, Path] = {}
    for split in SPLITS:
        of_split = [file for file in boxes if any(name in _words(file) for name in names_of(split))]
        if of_split:
            found[split] = of_split[0]
    if not found and len(boxes) == 1:
        return {"train": boxes[0]}
    if not found:
        raise UserError(f"data.root must be a folder with {WANTED}. Received: {contents(root, 'openimages')}")
    return found


def _words(file: Path) -> list[str]:
    return file.stem.lower().replace("_", "-").split("-")


def _class_names(root: Path, encoding: str) -> dict[str, str]:
    """{label such as /m/01g317: name} of the class descriptions; empty where there are none."""
    files = [file for file in files_with(root, [".csv"]) if "class-descriptions" in file.stem.lower()]
    files.sort(key=lambda file: "boxable" not in file.stem.lower())
    names: dict[str, str] = {}
    for number, line in enumerate(text_files.read_lines(files[0], encoding), 1) if files else ():
        label, comma, name = line.partition(",")
        if line and not (comma and name.strip()):
            raise UserError(f"{files[0]}, line {number} must be a label and its name. Received: {line[:60]}")
        names[label.strip()] = named.clean(name.strip().strip('"'))
    return names


def _images(file: Path, index: tree.Index, names: Mapping[str, str], encoding: str) -> list[NamedImage]:
    """The images of a CSV file that are there, with their boxes; nothing else is kept of its millions of rows."""
    found: dict[str, _Row] = {}
    boxes, absent, last, row = 0, 0, None, None
    for where, cells in text_files.table_rows(file, COLUMNS, encoding):
        boxes += 1
        if cells["ImageID"] != last:  # the rows of an image mostly stand together
            last = cells["ImageID"]
            row = _row_of(last, file, index, found)
        if row is None:
            absent += 1
        else:
            row.boxes.append(_box(cells, names, where))
    if absent and found:
        warnings.warn(f"{file}: {absent} of {boxes} boxes are of images that are not there; left out", stacklevel=3)
    return [_in_pixels(name, row) for name, row in found.items()]


def _row_of(image_id: str, file: Path, index: tree.Index, found: dict[str, _Row]) -> _Row | None:
    """The row of an image, which is entered where it is new; None where the image is not there."""
    name = tree.basename(image_id)
    if name not in found and name and (path := index.find(name, file)):
        found[name] = _Row(path)
    return found.get(name)


def _box(cells: Mapping[str, str], names: Mapping[str, str], where: str) -> tuple:
    left, right, top, bottom = (values.number(cells[key], f"{where}: {key}") for key in COLUMNS[2:])
    label = values.text(cells["LabelName"], f"{where}: LabelName")
    crowd = values.flag(cells.get("IsGroupOf", ""))
    return names.get(label, label), left, top, right - left, bottom - top, where, crowd


def _in_pixels(name: str, row: _Row) -> NamedImage:
    try:
        height, width = displayed_size(row.path)
    except Exception:  # Pillow's plugins raise nearly any exception on damaged files; the check that follows says why
        return NamedImage(name, row.path)
    boxes = [
        NamedBox(label, x * width, y * height, w * width, h * height, where, crowd)
        for label, x, y, w, h, where, crowd in row.boxes
    ]
    return NamedImage(name, row.path, height, width, boxes)
