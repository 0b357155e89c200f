"""YOLO labels: a yaml file that names images and classes, and one text file of boxes beside each image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from mobilenet_tf.config import Split
from mobilenet_tf.data.images import EXTENSIONS, displayed_size, files_below
from mobilenet_tf.data.splits import SPLITS, names_of
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.utils.errors import UserError


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split.

    `data.root` is the yaml file, or the folder that has exactly one; its keys are path, train, val, test (folders of
    images, text files that list them, or lists of these) and names. `data.splits` are other keys for the splits. Where
    val is missing it is drawn from train; where test is missing it is val.
    """
    path = _yaml_in(data.path)
    table = _load(path)
    classes = _names(table, path)
    keys = {name: [data.splits[name]] if name in data.splits else names_of(name) for name in SPLITS}
    given = {name: next((table[key] for key in keys[name] if table.get(key)), None) for name in SPLITS}
    of_split = given[split] or (given["validation"] if split == "test" else None)
    if not (of_split or given["train"]):
        raise UserError(f"{path} must have a key {' or '.join(keys[split])}. Received: {', '.join(table)}")
    paths = _image_paths(of_split or given["train"], _base(table, path), path)
    annotations = _annotations(paths, classes, path)
    undivided = not given["validation"] and (split == "train" or not of_split)
    return divide(annotations, split, data.validation_fraction, seed) if undivided else annotations


def _yaml_in(root: Path) -> Path:
    if root.is_dir():
        files = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
        if len(files) != 1:
            raise UserError(f"data.root must be a yaml file or a folder with one. Received: {root}, with {len(files)}")
        return files[0]
    return root


def _load(path: Path) -> dict:
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"data.root must be YOLO's yaml file. Received: {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(table, dict):
        raise UserError(f"{path} must be a mapping with train, val and names. Received: {str(table)[:60]!r}")
    return table


def _names(table: dict, path: Path) -> list[str]:
    names = table.get("names")
    if isinstance(names, dict):
        names = [names.get(i) for i in range(len(names))]
    if not names or not isinstance(names, list) or None in names or len(set(names)) < len(names):
        raise UserError(f"{path} must have names, one for each class from 0. Received: {table.get('names')!r}")
    return [str(name) for name in names]


def _base(table: dict, path: Path) -> Path:
    """The folder that the splits start from: `path` of the yaml, relative to it, where that exists; else its own."""
    named = path.parent / str(table.get("path") or "")
    return named if named.is_dir() else path.parent


def _image_paths(value, base: Path, path: Path) -> list[Path]:
    """The images that a key of the yaml file at `path` names: a folder, a text file that lists them, or several."""
    paths = []
    for entry in value if isinstance(value, list) else [value]:
        named = base / str(entry)
        if not named.exists() and str(entry).startswith("../"):  # as exported archives have it
            named = base / str(entry).removeprefix("../")
        if named.is_dir():
            paths += files_below(named)
        elif named.is_file():
            lines = named.read_text(encoding="utf-8").split("\n")
            paths += [named.parent / line.strip() for line in lines if line.strip()]
        else:
            raise UserError(f"{path}: {entry} must be a folder or a list of images. Received: {named}")
    if not paths:
        raise UserError(f"{path}: {value} must have images ({' '.join(EXTENSIONS)}). Received: none")
    return paths


def _annotations(paths: list[Path], classes: list[str], yaml_file: Path) -> AnnotationSet:
    images, entries = [], []
    for path in paths:
        name = str(path.relative_to(yaml_file.parent)) if path.is_relative_to(yaml_file.parent) else str(path)
        height, width = _size(path)
        images.append({"id": name, "file_name": name, "height": height, "width": width})
        entries += _boxes(_label_path(path), name, height, width)
    categories = [{"id": label, "name": name} for label, name in enumerate(classes)]
    coco = {"images": images, "annotations": entries, "categories": categories}
    return AnnotationSet(coco, paths, classes, yaml_file)


def _size(path: Path) -> tuple[int, int]:
    """(height, width) of an image; 1, 1 of what cannot be read: the check that follows says why."""
    try:
        return displayed_size(path)
    except (OSError, Image.DecompressionBombError):
        return 1, 1


def _label_path(image: Path) -> Path:
    """The text file of an image: in labels/ in place of the last images/ of its path, else beside it."""
    parts = list(image.with_suffix(".txt").parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        return Path(*parts[:last], "labels", *parts[last + 1 :])
    return image.with_suffix(".txt")


def _boxes(path: Path, name: str, height: int, width: int) -> list[dict]:
    """The annotations in a label file: class, center x, y, width, height within 0..1, or class and a polygon's points.

    Where there is no file, the image has no boxes. Raises UserError for a line of another form.
    """
    if not path.is_file():
        return []
    annotations = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            label, *values = (float(word) for word in line.split())
            if label != int(label) or len(values) < 4:
                raise ValueError
        except ValueError:
            raise UserError(f"{where} must be class, x, y, width, height. Received: {line.strip()[:60]}") from None
        x, y, w, h = _corner_form(values)
        annotations.append(
            {
                "id": f"{name}:{number}",
                "image_id": name,
                "line": where,
                "category_id": int(label),
                "bbox": [x * width, y * height, w * width, h * height],
                "area": w * width * h * height,
                "iscrowd": 0,
            }
        )
    return annotations


def _corner_form(values: list[float]) -> tuple[float, float, float, float]:
    """(left, top, width, height) of a box given by its center (and perhaps a score), or of a polygon of 3 points on."""
    if len(values) < 6:
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, width, height
    points = np.array(values[: len(values) // 2 * 2]).reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return (*low, *(high - low))
