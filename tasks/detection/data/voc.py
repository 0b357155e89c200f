"""Pascal VOC: the devkit's years, or one folder with JPEGImages, Annotations and ImageSets."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.data.images import EXTENSIONS
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.utils.errors import UserError

CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip
LISTS = {"train": "train", "validation": "val", "test": "test"}
DEVKIT = {"train": "2007/trainval+2012/trainval", "validation": "2007/test", "test": "2007/test"}  # "07+12"


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split.

    `data.splits` are names of lists in ImageSets/Main, several joined by +; those of the devkit have the year before
    them, as in 2007/trainval+2012/trainval. Where there are no lists, the splits are drawn from all annotations.
    """
    root = data.path
    if not root.is_dir():
        raise UserError(f"data.root must be a folder that exists. Received: {root}")
    root = root / "VOCdevkit" if (root / "VOCdevkit").is_dir() else root
    is_devkit = not (root / "Annotations").is_dir()
    if not is_devkit and not (root / "ImageSets" / "Main").is_dir():
        files = sorted((root / "Annotations").glob("*.xml"))
        return divide(_annotations(files, root, _all_classes(root)), split, data.validation_fraction, seed)
    names = data.splits.get(split) or (DEVKIT[split] if is_devkit else _list_of(root, split))
    files = [file for name in names.split("+") for file in _files(root, name, is_devkit)]
    return _annotations(files, root, CLASSES if is_devkit else _all_classes(root))


def _list_of(root, split):
    """The list of a split; that of the validation where there is none of the test."""
    exists = (root / "ImageSets" / "Main" / f"{LISTS[split]}.txt").is_file()
    return LISTS[split] if exists or split != "test" else LISTS["validation"]


def _files(root: Path, name: str, is_devkit: bool) -> list[Path]:
    year, _, name = name.rpartition("/")
    if is_devkit != bool(year):
        wanted = "a year before each list, such as 2007/trainval" if is_devkit else "no year before a list"
        raise UserError(f"data.splits must have {wanted}, for {root}. Received: {name}")
    folder = root / f"VOC{year}" if is_devkit else root
    path = folder / "ImageSets" / "Main" / f"{name}.txt"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise UserError(f"data.splits must name a list of the data set. Received: {path}: {error.strerror}") from None
    return [folder / "Annotations" / f"{line.split()[0]}.xml" for line in lines if line.strip()]


def _all_classes(root: Path) -> list[str]:
    """The names in all annotations, sorted; VOC's twenty where they are no others and the folder is one of VOC's."""
    files = sorted((root / "Annotations").glob("*.xml"))
    names = {entry.findtext("name", "").strip() for file in files for entry in _parse(file).iterfind("object")}
    if not names:
        raise UserError(f"{root}/Annotations must have XML files with objects. Received: {len(files)} files, no object")
    return CLASSES if root.name.startswith("VOC") and names <= set(CLASSES) else sorted(names)


def _annotations(files: list[Path], root: Path, classes: list[str]) -> AnnotationSet:
    images, entries, paths = [], [], []
    ids = {name: number for number, name in enumerate(classes, 1)}
    for file in files:
        tree = _parse(file)
        name = tree.findtext("filename") or f"{file.stem}.jpg"
        size = {side: int(_number(tree, f"size/{side}", file, 0)) for side in ("height", "width")}
        images.append({"id": file.stem, "file_name": name, **size})
        paths.append(_image_path(file, name))
        for number, entry in enumerate(tree.iterfind("object"), 1):
            entries.append(
                {"id": f"{file.stem}#{number}", "image_id": file.stem, "line": f"{file}, object {number}"}
                | _box(entry, file, ids)
            )
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    return AnnotationSet({"images": images, "annotations": entries, "categories": categories}, paths, classes, root)


def _box(entry, file, ids) -> dict:
    left, top, right, bottom = (_number(entry, f"bndbox/{key}", file) for key in ("xmin", "ymin", "xmax", "ymax"))
    width, height = right - left + 1, bottom - top + 1  # corners count from 1 and lie inside the box
    name = entry.findtext("name", "").strip()
    difficult = int(_number(entry, "difficult", file, 0) > 0)
    return {
        "category_id": ids.get(name, name),
        "bbox": [left - 1, top - 1, width, height],
        "area": width * height,
        "iscrowd": difficult,
        "difficult": difficult,
    }


def _parse(file: Path):
    try:
        return ElementTree.parse(file).getroot()
    except OSError as error:
        raise UserError(f"an annotation must be an XML file. Received: {file}: {error.strerror}") from None
    except ElementTree.ParseError as error:
        raise UserError(f"{file} must be valid XML. Received: {error}") from None


def _number(tree, path: str, file: Path, default: float | None = None) -> float:
    text = tree.findtext(path)
    if text is None and default is not None:
        return default
    try:
        return float(text or "")
    except ValueError:
        raise UserError(f"{file}: {path} must be a number. Received: {text}") from None


def _image_path(file: Path, name: str) -> Path:
    """The image of an annotation file: the one it names, or the one of its own name."""
    folder = file.parent.parent / "JPEGImages"
    candidates = [folder / Path(name).name, *(folder / f"{file.stem}{suffix}" for suffix in EXTENSIONS)]
    return next((path for path in candidates if path.is_file()), candidates[0])
