"""YOLO labels: a yaml file that names pictures and classes, and one text file of boxes beside each picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from mobilenet_tf.data import images
from mobilenet_tf.tasks.detection.data.listing import Listing, divide, upright_size
from mobilenet_tf.utils.errors import UserError

KEYS = {"train": ["train"], "validation": ["val", "valid", "validation"], "test": ["test"]}


def read(root: Path, split: str, *, splits, validation_fraction, seed, **_) -> Listing:
    """The images and boxes of a split.

    root: the yaml file, or the folder that has exactly one; its keys are path, train, val, test (folders of pictures,
    text files that list them, or lists of these) and names. splits: other keys for the splits. Where val is missing it
    is drawn from train; where test is, it is val.
    """
    path = _yaml_in(root)
    table = _load(path)
    classes = _names(table, path)
    keys = {name: [splits[name]] if name in splits else KEYS[name] for name in KEYS}
    given = {name: next((table[key] for key in keys[name] if table.get(key)), None) for name in KEYS}
    own = given[split] or (given["validation"] if split == "test" else None)
    if not (own or given["train"]):
        raise UserError(f"{path} must have a key {' or '.join(keys[split])}. Received: {', '.join(table)}")
    listing = _listing(_pictures(own or given["train"], _base(table, path), path), classes, path)
    undivided = not given["validation"] and (split == "train" or not own)
    return divide(listing, split, validation_fraction, seed) if undivided else listing


def _yaml_in(root: Path) -> Path:
    if root.is_dir():
        found = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
        if len(found) != 1:
            raise UserError(f"data.root must be a yaml file or a folder with one. Received: {root}, with {len(found)}")
        return found[0]
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


def _pictures(value, base: Path, path: Path) -> list[Path]:
    found = []
    for entry in value if isinstance(value, list) else [value]:
        place = base / str(entry)
        if not place.exists() and str(entry).startswith("../"):  # as exported archives have it
            place = base / str(entry).removeprefix("../")
        if place.is_dir():
            found += sorted(p for p in place.rglob("*") if p.suffix.lower() in images.EXTENSIONS)
        elif place.is_file():
            lines = place.read_text(encoding="utf-8").split("\n")
            found += [place.parent / line.strip() for line in lines if line.strip()]
        else:
            raise UserError(f"{path}: {entry} must be a folder or a list of pictures. Received: {place}")
    if not found:
        raise UserError(f"{path}: {value} must have pictures ({' '.join(images.EXTENSIONS)}). Received: none")
    return found


def _listing(paths: list[Path], classes: list[str], path: Path) -> Listing:
    pictures, annotations = [], []
    for picture in paths:
        name = str(picture.relative_to(path.parent)) if picture.is_relative_to(path.parent) else str(picture)
        height, width = _size(picture)
        pictures.append({"id": name, "file_name": name, "height": height, "width": width})
        annotations += _boxes(_labels_of(picture), name, height, width, len(classes))
    categories = [{"id": label, "name": name} for label, name in enumerate(classes)]
    return Listing({"images": pictures, "annotations": annotations, "categories": categories}, paths, classes, path)


def _size(picture: Path) -> tuple[int, int]:
    """(height, width), upright; 1, 1 of what cannot be read: the check that follows says why."""
    try:
        return upright_size(picture)
    except (OSError, Image.DecompressionBombError):
        return 1, 1


def _labels_of(picture: Path) -> Path:
    """The text file of a picture: in labels/ in place of the last images/ of its path, else beside it."""
    parts = list(picture.with_suffix(".txt").parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        return Path(*parts[:last], "labels", *parts[last + 1 :])
    return picture.with_suffix(".txt")


def _boxes(path: Path, name: str, height: int, width: int, classes: int) -> list[dict]:
    """The annotations in a label file: class, centre x, y, width, height within 0..1, or class and a polygon's points.

    No file is a picture without boxes. Raises UserError for a line of another form.
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
    """(left, top, width, height) of a box given by its centre (and perhaps a score), or of a polygon of 3 points on."""
    if len(values) < 6:
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, width, height
    points = np.array(values[: len(values) // 2 * 2]).reshape(-1, 2)
    low, high = points.min(0), points.max(0)
    return (*low, *(high - low))
