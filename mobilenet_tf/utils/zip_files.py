"""Zip archives that other people made: opened with one line for each fault, and inflated within bounds."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobilenet_tf.utils.errors import UserError, reason_of

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile inflates pieces of the others without a limit
LEAST_TOTAL, MOST_RATIO = 2**26, 20  # what all members together may hold: so many bytes, or times the archive's size


@contextmanager
def open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a zip archive for reading.

    Whatever zipfile raises for a damaged archive, within the block too, becomes a UserError that names the file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except UserError:
        raise
    # EOFError, struct.error, zlib.error, NotImplementedError, RuntimeError (encrypted), KeyError, ...: what a damaged
    # archive raises depends on the byte
    except Exception as error:
        reason = reason_of(error)
        raise UserError(f"{path} must be a whole zip archive. Received: {reason}") from error


def read_member(archive: zipfile.ZipFile, member: str | zipfile.ZipInfo, limit: int) -> bytes:
    """Returns what a member holds.

    Raises:
        UserError: it holds over `limit` bytes, or is compressed by another method than deflate. Its size is what the
            archive says; zipfile inflates no more than that, and compares the checksum.
        KeyError: there is none of that name.
    """
    info = member if isinstance(member, zipfile.ZipInfo) else archive.getinfo(member)
    where = f"{info.filename} in {archive.filename}"
    if info.file_size > limit:
        raise UserError(f"{where} must hold at most {limit:,} bytes. Received: {info.file_size:,}")
    if info.compress_type not in METHODS:
        raise UserError(f"{where} must be stored or deflated. Received: compression method {info.compress_type}")
    return archive.read(info)


def check_total(archive: zipfile.ZipFile) -> None:
    """Raises UserError where the members together would inflate to far more than the size of the archive.

    Ordinary text shrinks to a fifth by deflate; a bomb to a thousandth.
    """
    total = sum(info.file_size for info in archive.infolist())
    most = max(LEAST_TOTAL, MOST_RATIO * os.path.getsize(archive.filename or ""))
    if total > most:
        raise UserError(f"{archive.filename} must inflate to at most {most:,} bytes. Received: {total:,}")
