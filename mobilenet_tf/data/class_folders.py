"""Folders of classes or identities: one reader decides what splits and classes there are, and says what it saw.

root/SPLIT/CLASS/*.jpg or root/CLASS/*.jpg, one or more levels below `data.root` where nothing else is there.
"""

from __future__ import annotations

import filecmp
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.data.counts import PLURAL
from mobilenet_tf.data.folder_names import FILLERS, folded, matcher, split_of_name, splits_of_names, standard_form
from mobilenet_tf.data.image_lists import LabeledFile
from mobilenet_tf.data.images import EXTENSIONS, NOTES, find_below
from mobilenet_tf.data.walk import HIDDEN, LOOP, Folder, count_left_out
from mobilenet_tf.utils.errors import UserError, some


@dataclass(frozen=True)
class Listing:
    """The images of a data set, and lines that say where they are and what is left out."""

    rows: list[LabeledFile]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClassFolder:
    """A folder with the images of one class."""

    folder: Folder
    split: Split | None
    label: str


def read_folder(root: Path, kind: str = "class") -> Listing:
    """The images of root/split/label/*.jpg or root/label/*.jpg; `kind` is what messages call a label.

    Warns of what is likely a mistake. Raises UserError: no such folder, images in no folder of a class, a class without
    images, folders of which some are splits and some look like classes.
    """
    if not root.is_dir():
        raise UserError(f"data.root must be a folder that exists. Received: {root}")
    tree = find_below(root)
    top = _descend(tree)
    splits = _splits_in(top)
    parents: list[tuple[Folder, Split | None]] = [(_descend_split(folder), split) for folder, split in splits]
    parents = parents or [(top, None)]
    classes = [each for parent, split in parents for each in _classes_in(parent, split, kind)]
    if not classes:
        raise UserError(_nothing(tree, [parent for parent, _ in parents], kind))
    classes = _matched(classes)
    rows = [LabeledFile(path, each.label, each.split) for each in classes for path in _images_of(each, kind)]
    for folder in dict.fromkeys((tree, top, *(parent for parent, _ in parents))):
        if folder.images:
            _warn(f"{_lie(folder)}, in no folder of a {kind}: left out")
    notes = [*_where(tree, top, splits), *_nested(classes, rows, kind), *_left_out(tree, classes, len(rows))]
    return Listing(rows, tuple(notes))


# What the folders are


def _filled(folder: Folder) -> list[Folder]:
    return [child for child in folder.folders if child.has_images()]


def _descend(folder: Folder) -> Folder:
    """The folder that holds the splits or classes: the only one in another is entered where it holds folders itself."""
    while not folder.images and len(inner := _filled(folder)) == 1:
        child = inner[0]
        if split_of_name(child.name) or len(_filled(child)) < (2 if child.images else 1):
            break
        folder = child
    return folder


def _descend_split(folder: Folder) -> Folder:
    """As `_descend`, for archives with train/train/CLASS or test/images/CLASS."""
    while not folder.images and len(inner := _filled(folder)) == 1:
        child = inner[0]
        again = folded(child.name) in {folded(folder.name), *FILLERS} or split_of_name(child.name)
        if not again or child.images or not _filled(child):
            break
        folder = child
    return folder


def _splits_in(top: Folder) -> list[tuple[Folder, Split]]:
    """The folders of splits; none where folders with such names are classes. Raises UserError where that is not clear.

    A split holds folders of classes. A folder that holds images, as all folders beside it do, is a class of that name.
    """
    named = splits_of_names([folder.name for folder in top.folders])
    splits: list[tuple[Folder, Split]] = [(f, named[f.name]) for f in top.folders if f.name in named]
    others = [folder for folder in _filled(top) if folder.name not in named]
    with_classes = [folder for folder, _ in splits if _filled(folder)]
    if not with_classes and others:
        if taken := [folder.name for folder, _ in splits if folder.images]:
            _warn(
                f"{top.path}: {' and '.join(taken)} {'is' if len(taken) == 1 else 'are'} taken for a class, as "
                f"{_names(others)}, which hold images as well; a folder of a split holds one folder a class"
            )
        return []
    flat = [folder for folder, _ in splits if folder.images and not _filled(folder)]
    if splits and not with_classes and flat:
        raise UserError(_flat(flat, "class"))
    if len(with_classes) == 1 and len(others) > 1:
        only = with_classes[0]
        raise UserError(
            f"{top.path} must have either folders of splits or folders of classes. Received: {only.name}, which holds "
            f"folders as a split does, beside {_names(others)}: rename what is a class, or set data.root={only.path}"
        )
    for folder, split in splits:
        if not folder.has_images():
            _warn(f"{folder.path} has no images, so that the data has no split {split} of its own")
    for folder in flat:
        _warn(f"{folder.path} holds {len(folder.images)} images in no folder of a class: left out")
    for folder in others if splits else ():
        count = len(folder.all_images())
        _warn(f"{folder.path} is neither train, validation nor test: its {count} images are left out")
    return [(folder, split) for folder, split in splits if folder not in flat]


def _classes_in(parent: Folder, split: Split | None, kind: str) -> list[ClassFolder]:
    """The folders of classes in a folder; what holds notes alone, or all the classes again, is none."""
    classes, names = [], {folded(folder.name) for folder in _filled(parent)}
    for folder in parent.folders:
        if not folder.has_images() and _holds_notes(folder):
            continue
        if _is_copy(folder, names):
            count = len(folder.all_images())
            _warn(f"{folder.path} holds the folders beside it once more: its {count} images are left out")
        elif not folder.has_images() and split in ("validation", "test"):
            _warn(f"{_without_images(folder, kind)}, so that no {kind} {folder.name} is in the split {split}")
        else:
            classes.append(ClassFolder(folder, split, folder.name))
    return classes


def _holds_notes(folder: Folder) -> bool:
    entries = folder.all_left_out()
    return bool(entries) and all(path.suffix.lower() in NOTES for _, path in entries)


def _is_copy(folder: Folder, names: Collection[str]) -> bool:
    """Whether a folder holds the folders beside it again, whose `names` these are, as some archives do."""
    inner = {folded(child.name) for child in _filled(_descend(folder))} - {folded(folder.name)}
    return not folder.images and len(inner) > 1 and inner <= set(names)


def _matched(classes: Sequence[ClassFolder]) -> list[ClassFolder]:
    """The folders with the labels of their classes: those of training where a name differs in nothing but its form."""
    known: dict[str, ClassFolder] = {}
    for each in classes:
        _check_name(each.folder)
        name = standard_form(each.label)
        if each.split in ("train", None) or not any(other.split in ("train", None) for other in classes):
            known.setdefault(name, each)
    match = matcher(known)
    labeled = [ClassFolder(each.folder, each.split, match(each.label)) for each in classes]
    _warn_of_names(labeled)
    return labeled


def _check_name(folder: Folder) -> None:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"the folder of a class must have a name in UTF-8: rename it. Received: {folder.path}"
        ) from None


def _warn_of_names(classes: Sequence[ClassFolder]) -> None:
    """Warns of folders of one split that are read as one class, and of names that differ in letter case alone."""
    seen: dict[tuple[Split | None, Path, str], ClassFolder] = {}
    for each in classes:
        first = seen.setdefault((each.split, each.folder.path.parent, folded(each.label)), each)
        if first is each:
            continue
        same = first.label == each.label
        paths = f"{str(first.folder.path)!r} and {str(each.folder.path)!r}"
        _warn(f"{paths} are read as {'one class' if same else 'two classes'}")


def _images_of(each: ClassFolder, kind: str) -> list[Path]:
    """The images of a class, those in folders below it included. Raises UserError where there are none."""
    folder = each.folder
    for child in [child for child in folder.folders if folded(child.name) == folded(folder.name)]:
        if _repeats(child, folder):
            _warn(f"{child.path} holds images of {folder.path} once more: its {len(child.images)} images are left out")
            folder.folders.remove(child)
    paths = folder.all_images()
    if not paths:
        raise UserError(_without_images(folder, kind))
    return paths


def _repeats(child: Folder, folder: Folder) -> bool:
    own = {path.name: path for path in folder.images}
    return bool(child.images) and all(
        path.name in own and filecmp.cmp(path, own[path.name], shallow=False) for path in child.images
    )


# What is said of them


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def _wanted(kind: str) -> str:
    return f"one folder of images ({' '.join(EXTENSIONS)}) for each {kind}, with or without train/ and test/ above them"


def _without_images(folder: Folder, kind: str) -> str:
    found = count_left_out(folder.all_left_out(), folder.path)
    received = f"none, but {found}" if found else "none"
    return f"{folder.path} must have images ({' '.join(EXTENSIONS)}). Received: {received}"


def _flat(folders: Sequence[Folder], kind: str) -> str:
    found = " and ".join(map(_lie, folders))
    return f"data.root must have {_wanted(kind)}. Received: {found}: put them into one folder a {kind}"


def _nothing(tree: Folder, parents: Sequence[Folder], kind: str) -> str:
    if flat := [parent for parent in [tree, *parents] if parent.images]:
        return _flat(flat[:1], kind)
    found = count_left_out(tree.all_left_out(), tree.path)
    return f"{tree.path} must have {_wanted(kind)}. Received: {f'none, but {found}' if found else 'none'}"


def _where(tree: Folder, top: Folder, splits: Sequence[tuple[Folder, Split]]) -> list[str]:
    """Where the classes are, as far as that does not go without saying."""
    notes = [f"data: {top.path}, the folder in data.root that holds the others"] if top is not tree else []
    names: Mapping[str, list[str]] = {split: [f.name for f, s in splits if s == split] for _, split in splits}
    unusual = [f"{' and '.join(found)} = {split}" for split, found in names.items() if found != [split]]
    return [*notes, *([f"splits: {', '.join(unusual)}"] if unusual else [])]


def _nested(classes: Sequence[ClassFolder], rows: Sequence[LabeledFile], kind: str) -> list[str]:
    """What is said of images in folders below those of the classes."""
    inner = [child for each in classes for child in _filled(each.folder)]
    if not inner:
        return []
    named = [child for child in inner if split_of_name(child.name)]
    if named:
        _warn(f"{named[0].path} is not taken for a split: folders of splits hold those of the {PLURAL[kind]}")
    count = sum(len(child.all_images()) for child in inner)
    return [f"{count} of {len(rows)} images lie in folders below that of their {kind}, such as {inner[0].path}: used"]


def _left_out(tree: Folder, classes: Sequence[ClassFolder], count: int) -> list[str]:
    """Warns of what may be missed among the images of classes; says the rest."""
    entries = tree.all_left_out()
    of_classes = {path for each in classes for _, path in each.folder.all_left_out()}
    missed = {
        (reason, path)
        for reason, path in entries
        if reason == LOOP or (path in of_classes and reason != HIDDEN and path.suffix.lower() not in NOTES)
    }
    if missed:
        found = count_left_out(missed, tree.path)
        _warn(f"{tree.path}: left out beside {count} images are {found}")
    others = count_left_out([entry for entry in entries if entry not in missed], tree.path)
    return [f"left out: {others}"] if others else []


def _lie(folder: Folder) -> str:
    count = len(folder.images)
    return f"{count} image{'s lie' if count != 1 else ' lies'} directly in {folder.path}"


def _names(folders: Sequence[Folder]) -> str:
    return some([folder.name for folder in folders])
