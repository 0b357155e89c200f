"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mobilenet_tf.utils.errors import UserError


def size(path: str | Path) -> int:
    """The size in bytes of a model file, or of all files in a model folder."""
    path = Path(path)
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, for a file or a folder, that takes its place when the block succeeds.

    Raises UserError when the place cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")  # keeps the suffix, which Keras insists on
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if path.is_dir():  # os.replace takes no folder that has something in it
            old = path.with_name(f".{os.getpid()}-old-{path.name}")
            os.replace(path, old)
            os.replace(temporary, path)
            _remove(old)
        else:
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path} must be writable. Received: {error.strerror or error}") from error
    finally:
        _remove(temporary)


def write_json(path: Path, values: dict) -> None:
    """Writes JSON atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_csv(path: Path, rows: Sequence[Mapping]) -> Path:
    """Writes a table atomically; the columns are the keys of all rows."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as temporary:
        temporary.write_bytes(text.getvalue().encode("utf-8", "replace"))  # names of files may hold lone surrogates
    return path


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
