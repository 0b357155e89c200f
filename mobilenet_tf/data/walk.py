"""One walk through folders of images for every reader: what is used, and what is left out and why. No TensorFlow."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

# What systems and programs leave in folders, in small letters; what is hidden (a leading dot) is left out as well.
SYSTEM_NAMES = {
    "__macosx", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin", "#recycle",
    "system volume information", "lost+found", "@eadir",
}  # fmt: skip
HIDDEN = "hidden or of the system"
NO_FILE = "pipes, devices or sockets"
BROKEN = "broken links"
LOOP = "links to folders that are read already"
CLOSED = "folders that cannot be opened"
MOST_REASONS = 8  # that are given by themselves


@dataclass(eq=False)
class Folder:
    """A folder as the walk found it.

    images: the image files directly in it. folders: the folders in it, linked ones included; all sorted by name.
    left_out: (reason, path) of the rest.
    """

    path: Path
    images: list[Path] = field(default_factory=list)
    folders: list[Folder] = field(default_factory=list)
    left_out: list[tuple[str, Path]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.path.name

    def walk(self) -> Iterator[Folder]:
        """The folder and all folders below it."""
        waiting: list[Folder] = [self]
        while waiting:
            folder = waiting.pop()
            yield folder
            waiting.extend(folder.folders[::-1])

    def all_images(self) -> list[Path]:
        """The image files in the folder and below it, sorted by path."""
        return sorted(path for folder in self.walk() for path in folder.images)

    def all_left_out(self) -> list[tuple[str, Path]]:
        """(reason, path) of what is left out in the folder and below it."""
        return [entry for folder in self.walk() for entry in folder.left_out]

    def has_images(self) -> bool:
        """Whether there is an image file in the folder or below it."""
        return any(folder.images for folder in self.walk())


def walk(root: Path, fault: Callable[[str], str | None]) -> Folder:
    """Looks through a folder and all folders below it, each of them once, by whatever links it can be reached.

    Links to folders are followed when all else is known, in the order of their paths: what is there in its own right is
    read there. `fault` says why a file of this name is no image to be used, and None where it is one.
    """
    top = Folder(root)
    seen = {_identity(path) for path in (*root.resolve().parents, *root.absolute().parents, root)}
    waiting, links = deque([top]), []
    while waiting or links:
        if waiting:
            folder = waiting.popleft()
            found, linked = _read(folder, fault)
            links += [(path, folder) for path in linked]
            links.sort(key=lambda link: link[0])
        else:
            path, folder = links.pop(0)
            found = [path]
        for path in found:
            if (identity := _identity(path)) in seen:
                folder.left_out.append((LOOP, path))
                continue
            seen.add(identity)
            waiting.append(child := Folder(path))
            folder.folders.append(child)
    for folder in top.walk():
        folder.folders.sort(key=lambda child: child.path)
    return top


def files_with(root: Path, suffixes: Collection[str]) -> list[Path]:
    """The files with one of these suffixes, in any case, in a folder and below it, sorted by path: see `walk`."""
    wanted = frozenset(suffixes)
    return walk(root, lambda name: None if Path(name).suffix.lower() in wanted else "of another suffix").all_images()


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden or of the system: nothing that a user put into the data."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES or name.endswith(":Zone.Identifier")


def _read(folder: Folder, fault: Callable[[str], str | None]) -> tuple[list[Path], list[Path]]:
    """Enters the images directly in a folder, and what is left out; returns (the folders in it, the links to some)."""
    try:
        with os.scandir(folder.path) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        folder.left_out.append((CLOSED, folder.path))
        return [], []
    folders, linked = [], []
    for entry in found:
        path = folder.path / entry.name
        if reason := _reason(entry, fault):
            folder.left_out.append((reason, path))
        elif not entry.is_dir():
            folder.images.append(path)
        else:
            (linked if entry.is_symlink() else folders).append(path)
    return folders, linked


def _reason(entry: os.DirEntry, fault: Callable[[str], str | None]) -> str | None:
    """Why an entry is left out; None for a folder or an image file, linked or not."""
    if is_hidden(entry.name):
        return HIDDEN
    try:
        mode = entry.stat().st_mode
    except OSError:  # the target of the link is missing, or the link itself
        return BROKEN
    if stat.S_ISDIR(mode):
        return None
    return fault(entry.name) if stat.S_ISREG(mode) else NO_FILE


def _identity(path: Path) -> tuple[int, int] | str:
    """What is the same for all paths of one folder."""
    try:
        info = os.stat(path)
    except OSError:
        return str(path)
    return (info.st_dev, info.st_ino) if info.st_ino else os.path.realpath(path)  # some file systems number nothing


def count_left_out(entries: Collection[tuple[str, Path]], root: Path) -> str:
    """The reasons, the most frequent first: how many were left out for it, and one example below `root`."""
    examples: dict[str, list[Path]] = {}
    for reason, path in entries:
        examples.setdefault(reason, []).append(path)
    ordered = sorted(examples.items(), key=lambda item: (-len(item[1]), item[0]))
    counts = [
        f"{reason}: {len(paths)} (such as {_below(min(paths), root)})" for reason, paths in ordered[:MOST_REASONS]
    ]
    rest = sum(len(paths) for _, paths in ordered[MOST_REASONS:])
    return "; ".join([*counts, *([f"others: {rest}"] if rest else [])])


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path
