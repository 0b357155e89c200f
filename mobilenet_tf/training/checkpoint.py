"""Training state in one file, written atomically: all variables as named arrays and a JSON record.

A file is read as if a stranger had written it: a damaged one is one line, and none takes more memory than it has bytes.
"""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError

STATE = "state"  # the array that holds the record
MAX_RECORD = 2**28  # bytes of the record, at four a character: an epoch takes a few hundred, a class its name


def save(path: Path, groups: Mapping[str, Sequence], state: dict) -> None:
    """Writes the variables of each group and the JSON-able `state`. A failure leaves the previous file as it was.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    arrays: dict[str, Any] = {
        key: np.asarray(v) for group, variables in groups.items() for key, v in _named(group, variables)
    }
    temporary = files.temporary_path(path)
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **{STATE: np.array(json.dumps(state))}, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        kept = f"the previous checkpoint {path} is kept" if path.exists() else "there is no earlier checkpoint"
        reason = "no space left on the disk" if error.errno == errno.ENOSPC else error.strerror
        raise UserError(f"cannot write checkpoint {path}: {reason}; {kept}. Received: {error}") from None


def load_state(path: Path) -> dict:
    """The JSON record of a checkpoint. Raises UserError when the file is damaged."""
    with _open(path) as archive:
        size = archive.getinfo(f"{STATE}.npy").file_size
        if size > MAX_RECORD:
            raise ValueError(f"a record of {size:,} bytes")
        state = json.loads(str(_read(archive, STATE)))
        if not isinstance(state, dict):
            raise ValueError("its record is no mapping")
        return state


def restore(path: Path, groups: Mapping[str, Sequence]) -> None:
    """Assigns the stored arrays to the variables of each group, all or nothing.

    Raises:
        UserError: a variable is missing, left over, or of another shape: the model or the optimizer was changed.
    """
    wanted = {key: v for group, variables in groups.items() for key, v in _named(group, variables)}
    with _open(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        stored = {key for key in names if key.partition("/")[0] in groups}
        for key in sorted(wanted.keys() ^ stored):
            side = "the checkpoint has no" if key in wanted else "the model has no"
            raise UserError(
                f"{path} does not fit the changed model or optimizer: {side} variable {key}. Use a new run folder"
            )
        values = {key: _fitting(path, archive, key, variable) for key, variable in wanted.items()}
    for key, variable in wanted.items():
        variable.assign(values[key])


def groups_of(path: Path) -> set[str]:
    """The groups of variables in a checkpoint. Raises UserError when the file is damaged."""
    with _open(path) as archive:
        return {name.partition("/")[0] for name in archive.namelist() if "/" in name}


def _named(group: str, variables: Sequence) -> list[tuple[str, Any]]:
    """Keys that another process gives too: a variable's path may hold counters of the process, its name does not."""
    return [(f"{group}/{i:04}/{v.name.partition(':')[0]}", v) for i, v in enumerate(variables)]


def _fitting(path: Path, archive: zipfile.ZipFile, key: str, variable: Any) -> np.ndarray:
    """A stored array with the shape and the type of its variable. The shape is checked before anything is allocated."""
    shape, dtype = tuple(variable.shape), np.asarray(variable).dtype
    with archive.open(f"{key}.npy") as member:
        stored, _, stored_dtype = _header(member)
    if stored != shape:
        raise UserError(
            f"{path} does not fit the changed model: {getattr(variable, 'path', variable.name)} must have shape "
            f"{shape}. Received: {stored}. Use a new run folder"
        )
    if stored_dtype != dtype:
        raise ValueError(f"{key} has the type {stored_dtype}, not {dtype}")
    return _read(archive, key)


@contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        if not path.is_file():
            raise OSError("no such file")
        with zipfile.ZipFile(path) as archive:
            if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
                raise ValueError("compressed arrays")  # which `save` does not write, and which could be of any size
            yield archive
    except UserError:
        raise
    except Exception as error:  # zipfile, struct, NumPy and json each raise their own
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(
            f"checkpoint {path} must be a whole file of this package; delete it to start again. Received: {reason}"
        ) from None


def _read(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    """An array of the archive; reading it to the end also checks its sum."""
    with archive.open(f"{key}.npy") as member:
        shape, fortran, dtype = _header(member)
        data = member.read()
    if len(data) != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise ValueError(f"{key} has {len(data):,} bytes")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether in Fortran's order, type) at the beginning of an array of format 1.0, as `save` writes it."""
    if np.lib.format.read_magic(member) != (1, 0):
        raise ValueError("an array of another format")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    if dtype.hasobject or any(size < 0 for size in shape):
        raise ValueError(f"an array of {dtype} {shape}")
    return shape, fortran, dtype
