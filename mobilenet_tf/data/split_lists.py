"""Lists of the images in each split, as JSON: those of a run, so that it is never scored on what it was trained on."""

from __future__ import annotations

import contextlib
import json
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mobilenet_tf.config import Config, Split
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import read_json

Lists = dict[Split, list[str]]  # the names of the images of each split, see `splits.image_names`

SAMPLE = 100  # listed images that are looked for

_noted: ContextVar[Lists | None] = ContextVar("the splits that were drawn", default=None)


@contextlib.contextmanager
def drawn_lists() -> Iterator[Lists]:
    """Yields a dict that holds the splits which are drawn within the block; it stays empty where none is."""
    lists: Lists = {}
    token = _noted.set(lists)
    try:
        yield lists
    finally:
        _noted.reset(token)


def note(lists: Lists) -> None:
    """Adds splits to those that the `drawn_lists` around the call yields."""
    noted = _noted.get()
    if noted is not None:
        noted.update(lists)


def plain_name(path: str) -> str:
    """A relative path with slashes, in Unicode's form NFC, however a system writes it."""
    path = path.replace("\\", "/").removeprefix("./")
    return path if path.isascii() else unicodedata.normalize("NFC", path)


def write(path: Path, lists: Lists) -> None:
    """Writes lists as JSON, one image a line, atomically."""
    with files.replacing(path) as temporary:  # in ASCII: names that are no text have no other form
        temporary.write_text(json.dumps(lists, separators=(",\n", ": ")) + "\n", encoding="ascii")


def read(path: Path) -> Lists:
    """The lists in a JSON file. Raises UserError: no such file, another structure, an image in two splits."""
    content: Any = read_json(path)
    known = get_args(Split)
    if not isinstance(content, dict) or not content or not set(content) <= set(known):
        received = ", ".join(sorted(set(content) - set(known))[:3]) if isinstance(content, dict) else str(content)[:60]
        raise UserError(f"{path} must map {', '.join(known)} to lists of paths. Received: {received or 'nothing'}")
    lists: Lists = {}
    split_of: dict[str, str] = {}
    for split in known:
        names = content.get(split, [])
        wrong = [name for name in names if not isinstance(name, str)] if isinstance(names, list) else [names]
        if wrong:
            raise UserError(f"{path}: {split} must be a list of paths from data.root. Received: {str(wrong[0])[:60]}")
        lists[split] = [plain_name(name) for name in names]
        for name in lists[split]:
            other = split_of.setdefault(name, split)
            if other != split:
                raise UserError(f"{path} must have each image in one split. Received: {name} in {other} and {split}")
    return {split: names for split, names in lists.items() if names}


def assign(names: Sequence[str], path: Path, root: Path | None) -> dict[Split, np.ndarray]:
    """{split: indices of its images, int64, ascending} by the lists in a file; says what is new and what is missing.

    Args:
        names: the images that there are.
        root: what messages call them.

    Raises:
        UserError: as `read`, or none of the images is in the lists.
    """
    lists = read(path)
    split_of = {name: split for split, listed in lists.items() for name in listed}
    chosen = np.array([split_of.get(name, "") for name in names], dtype="U10")
    if not chosen.astype(bool).any() and len(names):
        raise UserError(
            f"data.split_file must name images of {root}; null draws the splits. "
            f"Received: {path}, with {len(split_of)} others, such as {next(iter(split_of), 'none')}"
        )
    _tell_changes(names, chosen, lists, path, root)
    return {split: np.flatnonzero(chosen == split) for split in lists}


def _tell_changes(names: Sequence[str], chosen: np.ndarray, lists: Lists, path: Path, root: Path | None) -> None:
    """Warns in one line of images that no list has, and of listed ones that there are not."""
    changes = []
    new = np.flatnonzero(chosen == "")
    if len(new):
        count = f"{len(new)} images are new and belong" if len(new) > 1 else "1 image is new and belongs"
        changes.append(f"{count} to no split, such as {names[new[0]]}: left out")
    present = set(names)
    missing = {split: [name for name in listed if name not in present] for split, listed in lists.items()}
    changes += [
        f"{len(gone)} of the {split} split {'are' if len(gone) > 1 else 'is'} missing, such as {gone[0]}"
        for split, gone in missing.items()
        if gone
    ]
    if changes:
        warnings.warn(f"{root} has changed since {path} was written: {'; '.join(changes)}", stacklevel=4)


def lists_images_of(path: Path, root: Path) -> bool:
    """Whether images that a file lists are there below a data set's root; the first ones are looked for."""
    folder = root if root.is_dir() else root.parent
    names = [name for listed in read(path).values() for name in listed[:SAMPLE]]
    return any((folder / name).exists() for name in names)


def with_lists(cfg: Config, path: Path) -> Config:
    """A config whose splits are those in a file; it is for reading images, never to be stored: runs move."""
    return cfg.model_copy(update={"data": cfg.data.model_copy(update={"split_file": path})})
