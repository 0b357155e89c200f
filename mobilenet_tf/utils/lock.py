"""One process at a time in a folder. The system gives the lock back when its process ends, in whatever way it ends."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mobilenet_tf.utils.errors import UserError

NAME = ".lock"  # hidden: no part of what a run leaves
TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # what a lock that another process has gives
MAX_RECORD = 4096  # characters of the record that are read


@contextlib.contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Holds the lock of an existing folder during the block.

    A file that a killed process has left is taken over: it is the system's lock on it that counts, not the file. Where
    a file system knows no locks, the work goes on without one, with a warning.

    Args:
        what: what the folder is, for the message: "the run folder".

    Raises:
        UserError: another process works there; the line names it and its host.
    """
    path = folder / NAME
    file = _acquire(path, what)
    if file is None:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no file that is open; it stays, unlocked
            path.unlink()  # before the lock is given back: nobody else can have it yet
        file.close()


def _acquire(path: Path, what: str) -> IO[str] | None:
    while True:
        try:
            file = open(path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115  held until the block ends
        except OSError as error:
            raise UserError(f"{what} must be writable: {error.strerror}. Received: {path.parent}") from None
        try:
            _lock(file)
        except OSError as error:
            holder = _holder(file)
            file.close()
            if error.errno in TAKEN:
                raise UserError(
                    f"{what} must not be in use by another process; wait for it or choose another folder. "
                    f"Received: {path.parent}, in use by {holder}"
                ) from None
            warnings.warn(
                f"{path.parent} cannot be locked ({error.strerror}): start no second process there", stacklevel=4
            )
            return None
        if _is_at(file, path):
            break
        file.close()  # its last holder has removed it in between
    file.truncate(0)
    record = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    file.write(json.dumps(record))
    file.flush()
    return file


if sys.platform == "win32":
    import msvcrt

    FAR = 2**30  # a byte behind the record, which others may thus still read

    def _lock(file: IO[str]) -> None:
        file.seek(FAR)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)

else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _holder(file: IO[str]) -> str:
    try:
        file.seek(0)
        record = json.loads(file.read(MAX_RECORD))
        return f"process {int(record['pid'])} on {record['host']} since {record['since']}"
    except (OSError, ValueError, TypeError, KeyError):  # it has been locked a moment ago
        return "another process"
