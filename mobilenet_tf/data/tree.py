"""The folders of a data set: which image belongs to an annotation file, and which split to both. No TensorFlow."""

from __future__ import annotations

import filecmp
import functools
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mobilenet_tf.config import DataWithSplits, Split
from mobilenet_tf.data.folder_names import folded, split_of_name
from mobilenet_tf.data.images import EXTENSIONS
from mobilenet_tf.data.splits import SPLITS, names_of, origin
from mobilenet_tf.data.walk import files_with, is_hidden
from mobilenet_tf.utils.errors import UserError

# What people call these folders, in any case
IMAGE_FOLDERS = frozenset([
    "images", "image", "imgs", "img", "jpegimages", "pngimages", "jpegs", "jpg", "png", "pictures", "photos", "data",
])  # fmt: skip
ANNOTATION_FOLDERS = frozenset([
    "annotations", "annotation", "annots", "annot", "anns", "ann", "xmls", "xml", "labels", "label", "jsons", "json",
    "labelme", "bboxes", "boxes",
])  # fmt: skip
MASK_FOLDERS = frozenset([
    "segmentationclass", "segmentationobject", "segmentationclassraw", "masks", "mask", "trimaps",
])  # fmt: skip
YEAR = re.compile(r"voc\d{4}")
MAX_NAMED = 6  # entries of a folder that a message names

T = TypeVar("T")


def annotation_files(root: Path, suffix: str) -> list[Path]:
    """The files with a suffix in the folders for annotations; where there is none, all below the root."""
    folders = [entry for entry in sorted(root.iterdir()) if entry.name.casefold() in ANNOTATION_FOLDERS]
    inside = [file for folder in folders if folder.is_dir() for file in files_with(folder, [suffix])]
    return _without_copies(inside or files_with(root, [suffix]), root)


def _without_copies(files: list[Path], root: Path) -> list[Path]:
    """The files without those of a copy of the data set inside of it, as archives have that were made twice."""
    parts = {file.relative_to(root).parts: file for file in files}
    copies = []
    for path, file in parts.items():
        originals = (parts[path[start:]] for start in range(1, len(path)) if path[start:] in parts)
        if any(filecmp.cmp(file, original, shallow=False) for original in originals):
            copies.append(file)
    if copies:
        warnings.warn(
            f"{root}: {len(copies)} files are copies of others, the first {copies[0]}; left out", stacklevel=3
        )
    return [file for file in files if file not in set(copies)]


def dataset_root(root: Path, wanted: str) -> Path:
    """The folder of a data set: the one given, or the only one that is in it, as archives unpack.

    wanted: what the folder must hold, for the message. Raises UserError: no folder, or an empty one.
    """
    if not root.is_dir():
        received = f"{root}, a file" if root.exists() else f"{root}, which does not exist"
        raise UserError(f"data.root must be a folder that exists, with {wanted}. Received: {received}")
    for _ in range(3):
        entries = [entry for entry in sorted(root.iterdir()) if not is_hidden(entry.name)]
        only = entries[0] if len(entries) == 1 else None
        if only is None or not only.is_dir() or _is_known(only.name):
            break
        root = only
    return root


def contents(folder: Path) -> str:
    """What lies in a folder, for messages: its folders, and its files by suffix."""
    entries = [entry for entry in sorted(folder.iterdir()) if not is_hidden(entry.name)]
    folders = [f"{entry.name}/" for entry in entries if entry.is_dir()]
    more = [f"{len(folders) - MAX_NAMED} more folders"] if len(folders) > MAX_NAMED else []
    suffixes = Counter(_suffix(entry.name) or entry.name for entry in entries if not entry.is_dir())
    named = [*folders[:MAX_NAMED], *more, *(f"{count} {suffix}" for suffix, count in suffixes.most_common(MAX_NAMED))]
    return f"{folder}, which holds {', '.join(named) or 'nothing'}"


class Index:
    """Finds the file of a name that belongs to another file, wherever the two lie below `root`.

    They belong together where their folders are the same but for names such as images/ and annotations/; else where
    there is one such file alone, and not in another split or year.
    """

    def __init__(self, root: Path, paths: Iterable[Path]):
        self.root = root
        self._named: dict[str, list[Path]] = {}
        for path in paths:
            if MASK_FOLDERS.isdisjoint(part.casefold() for part in path.relative_to(root).parts[:-1]):
                for name in {folded(path.name), folded(path.stem)}:
                    self._named.setdefault(name, []).append(path)

    @classmethod
    def of_images(cls, root: Path) -> Index:
        """The index of all images below the root."""
        return cls(root, files_with(root, EXTENSIONS))

    def __len__(self) -> int:
        return len({path for paths in self._named.values() for path in paths})

    def find(self, name: str, beside: Path) -> Path | None:
        """The file with this name, with or without its suffix, that belongs to the file `beside`."""
        found = self._named.get(folded(name), ())
        if not found:
            return None
        here = place(beside, self.root)
        fitting = [path for path in found if _agree(place(path, self.root), here)]
        near = [path for path in fitting if path.parent == beside.parent or place(path, self.root) == here]
        if not near and len({path.parent for path in fitting}) > 1:
            return None
        order = sorted(
            near or fitting, key=lambda path: (path.parent != beside.parent, name not in (path.name, path.stem))
        )
        return order[0] if order else None


def files_by_split(root: Path, suffix: str, splits: Mapping[Split, str]) -> dict[Split, list[Path]]:
    """{split: annotation files with this suffix} by the folders that they or their images lie in.

    Warns of images without an annotation file, which are left out.
    """
    files, index = annotation_files(root, suffix), Index.of_images(root)
    if not files:
        return {"train": []}
    of_file = {file: index.find(file.stem, file) for file in files}
    missing = len(index) - len({image for image in of_file.values() if image})
    if missing > 0:
        warnings.warn(f"{root}: {missing} of {len(index)} images have no {suffix} file; left out", stacklevel=3)
    return by_folder(files, root, splits, of_file.get)


def images_of(named: Mapping[Path, str], root: Path) -> dict[Path, Path | None]:
    """{annotation file: its image} of files with the name or path that each gives to its image, "" for none.

    An image belongs to the file of its own name; else to one that names it, by its path or by its name alone.
    """
    index = Index.of_images(root)
    images = {file: _own_image(file, basename(name), index) for file, name in named.items()}
    taken = {path for path in images.values() if path}
    for file, name in named.items():
        image = _at(name, file) or index.find(basename(name), file) if name and not images[file] else None
        if image and image not in taken:
            images[file] = image
            taken.add(image)
    return images


def _own_image(file: Path, name: str, index: Index) -> Path | None:
    """The image of the annotation file's own name; of several, the one that the file names too."""
    exact = index.find(name, file) if without_suffix(name) == file.stem else None
    return exact or index.find(file.stem, file)


def _at(name: str, file: Path) -> Path | None:
    """The image at a path relative to an annotation file, which may lie outside of the data set's folder."""
    path = file.parent.joinpath(*re.split(r"[\\/]", name.strip()))
    is_image = path.suffix.lower() in EXTENSIONS and "\0" not in name
    return path if is_image and os.path.isfile(path) else None


def left_out(kinds: Mapping[str, int], where: Path, why: str) -> list[str]:
    """One line that counts shapes of the kinds that are left out, such as "are no boxes"; none where there are none."""
    counted = ", ".join(f"{number} {kind[:40]}" for kind, number in sorted(kinds.items()))
    return [f"{where}: {sum(kinds.values())} shapes {why} ({counted[:200]}); left out"] if kinds else []


def place(path: Path, root: Path) -> tuple[str, ...]:
    """The folders of a file below the root, in lower case: without those that only say what is in them, splits by name.

    images/train/north/a.jpg and train_annotations/north/a.xml are in the same place, ("train", "north").
    """
    parts = [part.casefold() for part in path.relative_to(root).parts[:-1]]
    return tuple(split_word(part) or part for part in parts if part not in IMAGE_FOLDERS | ANNOTATION_FOLDERS)


@functools.cache
def split_word(name: str) -> Split | None:
    """The split that the name of a folder means: train, Valid, test2017, train_images; None where it means another."""
    parsed = split_of_name(name)
    return parsed[0] if parsed and set(parsed[1]) <= IMAGE_FOLDERS | ANNOTATION_FOLDERS else None


def split_of(path: Path, root: Path) -> Split | None:
    """The split that one of the folders of a file below the root is named after."""
    parts = place(path, root)
    return next((split for part in parts for split in SPLITS if split == part), None)


def by_folder(
    files: Sequence[Path], root: Path, named: Mapping[Split, str], image: Callable[[Path], Path | None]
) -> dict[Split, list[Path]]:
    """{split: files} by the folders that they, or else their images, lie in; {train: files} where none has a split.

    named: the folders of the splits that have other names than usual (`data.splits`).
    """
    parts: dict[Split, list[Path]] = {}
    for split, name in named.items():
        parts[split] = [file for file in files if name.casefold() in _lower(file, root)]
        if not parts[split]:
            raise UserError(f"data.splits.{split} must be a folder or list of {root}. Received: {name}")
    taken = {file for group in parts.values() for file in group}
    homeless = []
    for file in files:
        if file in taken:
            continue
        of_image = image(file) if split_of(file, root) is None else file
        split = split_of(of_image, root) if of_image is not None else None
        if split is None:
            homeless.append(file)
        elif split not in named:
            parts.setdefault(split, []).append(file)
    if not parts:
        return {"train": homeless}
    if homeless:
        warnings.warn(f"{root}: {len(homeless)} files are in no split, the first {homeless[0]}; left out", stacklevel=2)
    return parts


def choose(given: Mapping[Split, T], split: Split, data: DataWithSplits) -> tuple[T, bool]:
    """(what a split is read from, whether it has still to be drawn from that). Raises UserError as `splits.origin`."""
    name, drawn = origin(split, list(given), data)
    return given[name], drawn


def listed(folder: Path) -> dict[Split, Path]:
    """{split: the list of its images} for the text files in a folder that are named after splits, in any case."""
    texts = {path.stem.casefold(): path for path in sorted(folder.glob("*.[tT][xX][tT]"))}
    return {split: next(texts[name] for name in names_of(split) if name in texts)
            for split in SPLITS if not texts.keys().isdisjoint(names_of(split))}  # fmt: skip


def folder_named(parent: Path, *names: str) -> Path | None:
    """The folder in `parent` that has one of these names, in any case."""
    wanted = {name.casefold() for name in names}
    folders = (entry for entry in sorted(parent.iterdir()) if entry.name.casefold() in wanted)
    return next((entry for entry in folders if entry.is_dir()), None)


def basename(name: str) -> str:
    """The last part of a path as any system writes it."""
    return re.split(r"[\\/]", name.strip())[-1]


def without_suffix(name: str) -> str:
    """A file name without the suffix of an image or annotation; other dots belong to the name."""
    suffix = _suffix(name)
    return name[: -len(suffix)] if suffix in (*EXTENSIONS, ".xml", ".json", ".txt") else name


def _is_known(name: str) -> bool:
    name = name.casefold()
    return name in IMAGE_FOLDERS | ANNOTATION_FOLDERS or split_word(name) is not None or bool(YEAR.fullmatch(name))


def _agree(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Whether two places are not in different splits or years."""
    first, second = ({part for part in parts if part in SPLITS or YEAR.fullmatch(part)} for parts in (a, b))
    return not first or not second or first == second


def _lower(file: Path, root: Path) -> list[str]:
    return [part.casefold() for part in file.relative_to(root).parts[:-1]]


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
