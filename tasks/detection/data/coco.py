"""COCO's JSON: the official layout, those of labeling tools, or any file and folder of images."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path, PureWindowsPath

from mobilenet_tf.config import Split
from mobilenet_tf.data.splits import SPLITS, names_of, origin, warn_test_is_validation
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.tasks.detection.data.fields import checked_fields, used_categories
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import UTF8, read_json

# No boxes of COCO's test sets are public
OFFICIAL: dict[Split, str] = {"train": "train2017", "validation": "val2017", "test": "val2017"}
ROBOFLOW = "_annotations.coco.json"  # in a folder for each split, beside the images
# Of what labeling tools write for a whole set: the file, and the folder that its file names start from
WHOLE = (("annotations/instances_default.json", "images"), ("result.json", "."))  # CVAT, Label Studio
MAX_PARTS = 8  # of a file name that is looked up by its last parts


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split.

    `data.annotations` and `data.images` are the JSON files and image folders of the splits, relative to `data.root`.
    Without them the layout is the official one, annotations/instances_<name>.json and <name>/, the name from
    `data.splits`; or that of Roboflow's, CVAT's or Label Studio's archives. What is
    missing is drawn from train by `splits.to_draw`.
    """
    table = _layout(data)
    given, drawn = origin(split, list(table), data)
    path, folder = table[given]
    if given == "test" and table["test"] == table.get("validation"):
        warn_test_is_validation(data.root)
    others = [other for other, _ in table.values() if other != path]
    annotations = load(path, folder, others, data.encoding)
    return divide(annotations, split, data, list(table), seed) if drawn else annotations


def _layout(data: Data) -> dict[Split, tuple[Path, Path | None]]:
    """{split: (its JSON file, the folder of its images, None: to be found)} of the splits that a data set has."""
    root = data.path
    if data.annotations:
        images: Path | None = next(iter(data.images.values()), None)
        folders = {split: data.images.get(split, images) for split in data.annotations}
        return {split: (root / file, _below(root, folders[split])) for split, file in data.annotations.items()}
    official: dict[Split, tuple[Path, Path | None]] = {
        split: (root / "annotations" / f"instances_{name}.json", root / name)
        for split in SPLITS
        for name in [data.splits.get(split, OFFICIAL[split])]
    }
    if data.splits or any(path.is_file() for path, _ in official.values()):
        return official
    exported: dict[Split, tuple[Path, Path | None]] = {
        split: (root / name / ROBOFLOW, root / name)
        for split in SPLITS
        for name in names_of(split)
        if (root / name / ROBOFLOW).is_file()
    }
    if exported:
        return exported
    for file, folder in WHOLE:
        if (root / file).is_file():
            return {"train": (root / file, root / folder)}
    return official


def _below(root: Path, folder: Path | None) -> Path | None:
    return None if folder is None else root / folder


def load(path: Path, folder: Path | None, others: Iterable[Path] = (), encoding: str = UTF8) -> AnnotationSet:
    """A JSON file in COCO's format, with the folder of its images.

    folder: None: beside the file, or in the folder above, or in images/ of either.
    others: the files of the other splits.
    Raises UserError for anything else.
    """
    if not path.exists():
        raise UserError(f"data.annotations must name a JSON file in COCO's format. Received: {path}: no such file")
    annotations = AnnotationSet(read_json(path, encoding), [], [], path)
    annotations = checked_fields(annotations, partial(_used_categories, others, encoding))
    names = [image["file_name"] for image in annotations.coco["images"]]
    folder = folder or _folder(path, names)
    return replace(annotations, paths=[_image_path(folder, name) for name in names])


def _used_categories(paths: Iterable[Path], encoding: str) -> set:
    used = set()
    for path in paths:
        coco = read_json(path, encoding) if path.is_file() else None
        used |= used_categories(coco.get("annotations") if isinstance(coco, dict) else None)
    return used


def _folder(path: Path, names: list[str]) -> Path:
    """Where the first image of a file lies."""
    candidates = [above / below for above in (path.parent, path.parent.parent) for below in ("", "images")]
    found = (folder for folder in candidates if names and os.path.isfile(_image_path(folder, names[0])))
    return next(found, path.parent)


def _image_path(folder: Path, name: str) -> Path:
    """The file of an image; a path of another machine is looked up by its last parts, with slashes of either kind."""
    path = folder / name
    if os.path.isfile(path):
        return path
    parts = PureWindowsPath(name).parts[-MAX_PARTS:]
    shorter = (folder.joinpath(*parts[start:]) for start in range(len(parts)))
    return next((candidate for candidate in shorter if os.path.isfile(candidate)), path)
