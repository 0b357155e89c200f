"""Writes files and folders atomically: whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mobilenet_tf.utils.errors import UserError, some

OF_SYSTEM = 2**20  # bytes that are read of a file of the system, which says that it is empty and may never end
NAME_TAIL = 50  # characters of a name that its temporary name keeps: file systems end at 255 bytes


def size(path: str | Path) -> int:
    """Returns the size in bytes of a model file, or of all files in a model folder."""
    path = Path(path)
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def temporary_path(path: str | Path) -> Path:
    """Returns a hidden path beside `path` that no other process uses, on this machine or on one that shares the folder.

    It keeps the suffix, from which Keras and others tell the format.
    """
    path = Path(path)
    return path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name[-NAME_TAIL:]}")


def read_bytes(path: str | Path, limit: int) -> bytes:
    """Returns the bytes of a file. Raises as `open_file`."""
    with open_file(path, limit) as file:  # which sets memory aside for as many bytes as it is asked for
        return file.read(min(limit, os.fstat(file.fileno()).st_size or OF_SYSTEM))


def open_file(path: str | Path, limit: int) -> BinaryIO:
    """Opens a file to read its bytes.

    Raises OSError, and ValueError with the reason: a folder, or a pipe, device or socket, which could block; or a file
    of more than `limit` bytes.
    """
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise ValueError("a folder, pipe, device or socket, not a file")
    if info.st_size > limit:
        raise ValueError(f"{info.st_size:,} bytes, over the limit of {limit:,}")
    return open(path, "rb")


@contextmanager
def replacing(path: str | Path, *, members: Collection[str] = ()) -> Iterator[Path]:
    """Yields a temporary path for a file or a folder that takes the place of `path` when the block succeeds.

    Folders above `path` are made where they are missing.

    Args:
        members: all names that a folder of this kind may hold, where it is a folder that is to be replaced. A folder
            that holds anything else stays as it is, and so does any folder where a file is to be written.

    Raises:
        UserError: a folder stands there that must stay, or `path` cannot be written.
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        _check_replaceable(path, members)
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _check_replaceable(path, members)
        if path.is_dir():  # os.replace refuses to replace a folder that is not empty
            old = temporary_path(path)
            os.replace(path, old)
            os.replace(temporary, path)
            _remove(old)
        else:
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path} must be writable. Received: {error.strerror or error}") from error
    finally:
        _remove(temporary)


def _check_replaceable(path: Path, members: Collection[str]) -> None:
    if not path.is_dir():
        return
    if not members:
        raise UserError(f"{path} must be a file or a new name. Received: a folder, which is left as it is")
    others = sorted(entry.name for entry in path.iterdir() if entry.name not in members)
    if others:
        raise UserError(
            f"{path} must be a new name, an empty folder or an earlier file of this kind. Received: a folder that also "
            f"holds {some(others)}, which is left as it is"
        )


def check_writable(folder: str | Path) -> None:
    """Raises UserError where nothing can be written into a folder, or where it cannot be made if it does not exist."""
    existing = Path(folder)
    try:
        while not existing.exists():
            existing = existing.parent
        if existing.is_dir():
            tempfile.TemporaryFile(dir=existing).close()
            return
    except OSError as error:
        raise UserError(f"{folder} must be a folder that can be written. Received: {error.strerror}") from None
    raise UserError(f"{folder} must be a folder that can be written. Received: {existing}, which is a file")


def check_replaceable(path: str | Path) -> None:
    """Raises UserError where `replacing` could write no file at a path."""
    path = Path(path)
    _check_replaceable(path, ())
    check_writable(path.parent)


def write_json(path: Path, values: dict) -> None:
    """Writes a dict as JSON, atomically."""
    with replacing(path) as temporary:
        text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))  # lone surrogates, as JSON itself has them


def read_json(path: Path) -> dict:
    """Returns the dict in a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, rows: Sequence[Mapping]) -> Path:
    """Writes rows as a CSV table, atomically, and returns the path; the columns are the keys of all rows.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    rows = [{key: _no_formula(value) for key, value in row.items()} for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as temporary:
        temporary.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))  # names of any bytes
    return path


def _no_formula(value: object) -> object:
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


def is_url(path: object) -> bool:
    """Whether this is an address such as gs://bucket/images, which pathlib turns into gs:/bucket/images."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)) is not None  # of two letters or more: C:/ is a drive
