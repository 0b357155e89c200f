"""Which images and classes a YOLO data set has: its yaml file, darknet's obj.data, or folders with a list of names."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mobilenet_tf.config import Split
from mobilenet_tf.data import tree
from mobilenet_tf.data.images import EXTENSIONS
from mobilenet_tf.data.splits import SPLITS, names_of
from mobilenet_tf.data.walk import files_with
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data.contents import contents
from mobilenet_tf.utils import strict_yaml, text_files
from mobilenet_tf.utils.errors import UserError

NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels", "labels.txt", "names.txt", "classes.names", "data.names")
WANTED = (
    "a YOLO data set: a yaml file with train, val and names, darknet's obj.data, or images with label files and one of "
    f"{', '.join(NAME_FILES[:3])}"
)
YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True)
class Table:
    """A data set before its labels are read.

    where: the file or folder that messages name. root: the folder that image ids start from.
    names: {class id in the label files: name}. images: those of each split. keypoints: whether labels have them.
    """

    where: Path
    root: Path
    names: dict[int, str]
    images: dict[Split, list[Path]]
    keypoints: bool = False


def find(root: Path, data: Data) -> Table:
    """The table of `data.root`: a file, or the folder that has it. Raises UserError, saying what was found instead."""
    if os.path.isfile(root):
        if root.suffix.lower() in (".yaml", ".yml"):
            return _of_yaml(root, _load(root, data.encoding), data)
        if root.suffix.lower() == ".data":
            return _of_darknet(root, data)
        if root.name.lower() not in NAME_FILES:
            raise UserError(f"data.root must be {WANTED}. Received: {root}")
        return _of_folder(root.parent, _names_in(root, data.encoding), data, root)
    root = tree.dataset_root(root, WANTED)
    files = sorted(file for pattern in ("*.yaml", "*.yml") for file in root.glob(pattern))
    tables = {file: _load(file, data.encoding) for file in files} if len(files) == 1 else _that_name(files, data)
    if len(tables) > 1:
        names = ", ".join(file.name for file in tables)
        raise UserError(f"data.root must be a yaml file or a folder with one. Received: {root}, with {names}")
    for file, table in tables.items():
        return _of_yaml(file, table, data)
    darknet = sorted(root.glob("*.data"))
    if len(darknet) == 1:
        return _of_darknet(darknet[0], data)
    file = _name_file(root, data.encoding)
    if file is None:
        raise UserError(f"data.root must be {WANTED}. Received: {contents(root, 'yolo')}")
    return _of_folder(root, _names_in(file, data.encoding), data, root)


def _that_name(files: Sequence[Path], data: Data) -> dict[Path, dict]:
    """Of several yaml files those that name classes; data.yaml alone where it is one of them."""
    tables = {}
    for file in files:
        try:
            tables[file] = _load(file, data.encoding)
        except UserError:
            continue
    tables = {file: table for file, table in tables.items() if "names" in table}
    chosen = {file: table for file, table in tables.items() if file.stem.lower() in ("data", "dataset")}
    return chosen or tables


def _load(path: Path, encoding: str) -> dict:
    text = text_files.read_text(path, encoding)
    try:
        table = strict_yaml.parse(text)
    except YAML_ERRORS as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(table, dict):
        raise UserError(f"{path} must be a mapping with train, val and names. Received: {str(table)[:60]!r}")
    return table


def _of_yaml(path: Path, table: dict, data: Data) -> Table:
    values = _of_splits(table, data, path)
    names = _names(table, path, data.encoding)
    keypoints = _has_keypoints(table, path)
    if not values:
        found = _of_folder(path.parent, names, data, path)
        return Table(path, path.parent, names, found.images, keypoints)
    base = table.get("path")
    if base is not None and not isinstance(base, str):
        raise UserError(f"{path}: path must be a folder. Received: {str(base)[:60]}")
    named = Finder([path.parent]).find(base) if base else None
    finder = Finder([*([named] if named and os.path.isdir(named) else []), path.parent])
    entries: dict[Split, list[str]] = {split: _entries(value, split, path) for split, value in values.items()}
    images = _images(entries, finder, path, data.encoding)
    if images.get("train") == images.get("validation"):
        warnings.warn(f"{path}: train and val are the same images, so that validation says nothing about new ones",
                      stacklevel=2)  # fmt: skip
    return Table(path, path.parent, names, images, keypoints)


def _of_splits(table: Mapping, data: Data, path: Path) -> dict[Split, Any]:
    """{split: what the table says of its images}. Raises UserError where a key that `data.splits` names is missing."""
    found: dict[Split, Any] = {}
    for split in SPLITS:
        keys = [data.splits[split]] if split in data.splits else names_of(split)
        value = next((table[key] for key in keys if table.get(key)), None)
        if value is not None:
            found[split] = value
    for split, key in data.splits.items():
        if found and split not in found:
            received = f"{key}; there are {', '.join(map(str, table))}"
            raise UserError(f"data.splits.{split} must be a key of {path}. Received: {received[:200]}")
    return found


def _entries(value: Any, key: str, path: Path) -> list[str]:
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str | int) for entry in entries):
        raise UserError(f"{path}: {key} must be a folder, a list file, or a list of these. Received: {str(value)[:60]}")
    return [str(entry) for entry in entries]


def _has_keypoints(table: Mapping, path: Path) -> bool:
    shape = table.get("kpt_shape")
    if shape is not None and not (isinstance(shape, list) and all(type(part) is int and part > 0 for part in shape)):
        raise UserError(f"{path}: kpt_shape must be the number of key points and of their values, such as [17, 3]. "
                        f"Received: {str(shape)[:60]}")  # fmt: skip
    return shape is not None


def _of_darknet(path: Path, data: Data) -> Table:
    """obj.data: lines such as "train = data/train.txt" and "names = data/obj.names"."""
    lines = (line.partition("#")[0] for line in text_files.read_lines(path, data.encoding))
    table = {key.strip(): value.strip() for key, mark, value in (line.partition("=") for line in lines) if mark}
    finder = Finder([path.parent, path.parent.parent])
    named = finder.find(table["names"]) if table.get("names") else _name_file(path.parent, data.encoding)
    if named is None:
        raise UserError(f"{path} must have names, a file with one class a line. Received: {table.get('names')}")
    names = _names_in(named, data.encoding)
    entries: dict[Split, list[str]] = {split: [name] for split, name in _of_splits(table, data, path).items()}
    if not entries:
        return _of_folder(path.parent, names, data, path)
    return Table(path, path.parent, names, _images(entries, finder, path, data.encoding))


def _of_folder(root: Path, names: dict[int, str], data: Data, where: Path) -> Table:
    """Without a table: by lists such as train.txt in the root, else by folders such as train/ and valid/."""
    lists = tree.listed(root)
    if "train" in lists and not data.splits:
        entries: dict[Split, list[str]] = {split: [str(path)] for split, path in lists.items()}
        return Table(where, root, names, _images(entries, Finder([root]), where, data.encoding))
    images = files_with(root, EXTENSIONS)
    if not images:
        raise UserError(f"{root} must have images ({' '.join(EXTENSIONS)}). Received: {contents(root, 'yolo')}")
    return Table(where, root, names, tree.by_folder(images, root, data.splits, lambda file: file))


class Finder:
    """Finds what a data set names: as it stands, or from one of its later folders on, as the set has been moved."""

    def __init__(self, bases: Sequence[Path]):
        self.bases = list(dict.fromkeys(bases))
        self._last = (0, self.bases[0])  # what found the name before: lists are long

    def find(self, name: str) -> Path | None:
        """The file or folder of this name; never one of another split."""
        for base in self.bases:
            if os.path.exists(path := base / os.path.expanduser(name)):
                return path
        parts = [part for part in re.split(r"[\\/]", name) if part not in ("", ".", "..")]
        starts = range(_first_split(parts) + 1)
        for start, base in (self._last, *((start, base) for start in starts for base in self.bases)):
            if start in starts and os.path.exists(path := base.joinpath(*parts[start:])):
                self._last = (start, base)
                return path
        return None


def _first_split(parts: Sequence[str]) -> int:
    """How many folders of a path may be left out: none from the one on that names a split."""
    return next((i for i, part in enumerate(parts) if tree.split_word(part)), len(parts) - 1)


def _images(
    entries: Mapping[Split, Sequence[str]], finder: Finder, where: Path, encoding: str
) -> dict[Split, list[Path]]:
    """{split: images} of the folders and list files that a table names. A missing test or validation is told."""
    images: dict[Split, list[Path]] = {}
    for split, names in entries.items():
        paths = []
        for name in names:
            found = _images_of(name, finder, where, encoding)
            if not found and split == "train":
                wanted = f"a folder or a list of images ({' '.join(EXTENSIONS)})"
                raise UserError(f"{where}: {name} must be {wanted}. Received: {_why_nothing(name, finder)}")
            if not found:
                warnings.warn(f"{where}: {name} has no images ({_why_nothing(name, finder)}); left out", stacklevel=2)
            paths += found
        if paths:
            images[split] = paths
    return images


def _why_nothing(name: str, finder: Finder) -> str:
    found = finder.find(name)
    if found is None:
        return f"no such folder or file, nor one of its last folders in {' or '.join(map(str, finder.bases))}"
    return contents(found, "yolo") if os.path.isdir(found) else f"{found}, which names none"


def _images_of(name: str, finder: Finder, where: Path, encoding: str) -> list[Path]:
    found = finder.find(name)
    if found is None:
        return []
    if os.path.isabs(os.path.expanduser(name)) and not os.path.exists(os.path.expanduser(name)):
        warnings.warn(f"{where}: {name} is not there; {found} is read", stacklevel=3)
    if os.path.isdir(found):
        return files_with(found, EXTENSIONS)
    if found.suffix.lower() in EXTENSIONS:
        return [found]
    lines = [line for line in text_files.read_lines(found, encoding) if line]
    if broken := next((line for line in lines if "\0" in line), None):
        raise UserError(f"{found} must name images, one a line. Received: {broken[:60]!r}")
    of_list = Finder([found.parent, *finder.bases])
    return [of_list.find(line) or found.parent / line for line in lines]


def _names(table: dict, path: Path, encoding: str) -> dict[int, str]:
    """{class id: name} of a yaml file. Warns where `nc` says another number."""
    names = table.get("names")
    if names is None and (file := _name_file(path.parent, encoding)):
        return _names_in(file, encoding)
    if isinstance(names, str) and (file := Finder([path.parent]).find(names)) and os.path.isfile(file):
        return _names_in(file, encoding)
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise UserError(f"{path} must have names, one for each class from 0. Received: {str(names)[:60]}")
    numbered = {_class_id(key, path): _name(value, key, path) for key, value in names.items()}
    _check_once(list(numbered.values()), path)
    count = table.get("nc")
    if count is not None and count != len(numbered):
        warnings.warn(f"{path}: nc is {str(count)[:20]}, but names has {len(numbered)}, which count", stacklevel=2)
    return dict(sorted(numbered.items()))


def _class_id(key: Any, path: Path) -> int:
    if type(key) is int or (isinstance(key, str) and key.isdecimal() and len(key) < 10):
        return int(key)
    raise UserError(f"{path}: names must be numbered by whole numbers. Received: {str(key)[:60]}")


def _name(value: Any, key: Any, path: Path) -> str:
    text = " ".join(str(value).split()) if type(value) in (str, int, float) else ""
    if not text:
        received = f"{value!r}"[:60]
        raise UserError(f"{path}: the name of class {key} must be text, in quotes where it is yes or no. Received: "
                        f"{received}")  # fmt: skip
    return text


def _check_once(names: Sequence[str], path: Path) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} must have names, each once. Received: {twice} more than once")


def _name_file(root: Path, encoding: str) -> Path | None:
    """The file of class names in a folder or below it. Raises UserError: two of them that differ."""
    suffixes = {Path(name).suffix for name in NAME_FILES}
    files = [file for file in files_with(root, suffixes) if file.name.lower() in NAME_FILES]
    files.sort(key=lambda file: (len(file.parts), NAME_FILES.index(file.name.lower())))
    others = [file for file in files[1:] if _names_in(file, encoding) != _names_in(files[0], encoding)]
    if others and len(others[0].parts) == len(files[0].parts):
        raise UserError(f"{root} must have one list of classes. Received: {files[0]} and {others[0]}, which differ")
    return files[0] if files else None


def _names_in(path: Path, encoding: str) -> dict[int, str]:
    """{class id: name} of a text file with one name a line, from 0."""
    names = text_files.read_lines(path, encoding)
    if "" in names:
        line = names.index("") + 1
        raise UserError(f"{path}, line {line} must name a class. Received: an empty line")
    _check_once(names, path)
    return dict(enumerate(" ".join(name.split()) for name in names))
