"""Images that are in two splits, as files or as copies: scores on them say nothing about other images."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path
from typing import Any

from mobilenet_tf.data.source import Source

TAIL = 1024  # bytes at the end of a file
MAX_READ = 20_000  # files of which these are read


def note(train: Source, other: Source, name: str) -> str | None:
    """One line that says how many images of a split called `name` are in the train split too; None where none is."""
    shared = shared_images(train, other)
    if not shared:
        return None
    which = f"all {other.count:,}" if shared == other.count else f"{shared:,} of {other.count:,}"
    return f"{which} images of the split {name} are in train too: scores on them say nothing about other images"


def shared_images(first: Source, second: Source) -> int:
    """How many images of the second source are files of the first, or files with the same bytes.

    0 where the images are no files. Of large sets only the files themselves are compared, not their contents.
    """
    known, others = _files(first), _files(second)
    own = {(info.st_dev, info.st_ino) for _, info in known}
    left = [(path, info) for path, info in others if (info.st_dev, info.st_ino) not in own]
    shared = len(others) - len(left)
    sizes = {info.st_size for _, info in known} & {info.st_size for _, info in left}
    known, left = ([path for path, info in files if info.st_size in sizes] for files in (known, left))
    if len(known) + len(left) > MAX_READ:
        return shared
    copies: dict[tuple[int, bytes], list[Path]] = {}
    for path in known:
        copies.setdefault(_end(path), []).append(path)
    return shared + sum(any(_same_bytes(path, other) for other in copies.get(_end(path), ())) for path in left)


def _files(source: Source) -> list[tuple[Path, os.stat_result]]:
    """The image files of a source, as far as it has some."""
    spec: Any = source.items.element_spec  # a dict by the Sample convention
    if "encoded" in spec:
        return []
    column = "path" if "path" in spec else "id"
    files = []
    batches: Any = source.items.map(lambda item: item[column]).batch(4096)  # the stubs know no records
    for name in (name for names in batches.as_numpy_iterator() for name in names):
        path = Path(os.fsdecode(name))
        try:
            files.append((path, os.stat(path)))
        except (OSError, ValueError):
            if not files:  # names of another kind, such as those of built-in scenes
                return []
    return files


def _end(path: Path) -> tuple[int, bytes]:
    """The size and the last bytes of a file: enough to tell nearly all images apart."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            return size, file.read(TAIL)
    except OSError:
        return -1, os.fsencode(path)


def _same_bytes(path: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(path, other, shallow=False)
    except OSError:
        return False
