"""Training state in one file, written atomically: all variables as named arrays and a JSON record."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError


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
            np.savez(file, state=np.array(json.dumps(state)), **arrays)
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
    with _open(path) as arrays:
        return json.loads(str(arrays["state"]))


def restore(path: Path, groups: Mapping[str, Sequence]) -> None:
    """Assigns the stored arrays to the variables of each group, all or nothing.

    Raises:
        UserError: a variable is missing, left over, or of another shape: the model or the optimizer was changed.
    """
    with _open(path) as arrays:
        wanted = {key: v for group, variables in groups.items() for key, v in _named(group, variables)}
        stored = {key for key in arrays.files if key.partition("/")[0] in groups}
        for key in sorted(wanted.keys() ^ stored):
            side = "the checkpoint has no" if key in wanted else "the model has no"
            raise UserError(
                f"{path} does not fit the changed model or optimizer: {side} variable {key}. Use a new run folder"
            )
        values = {key: arrays[key] for key in wanted}
    for key, variable in wanted.items():
        if tuple(variable.shape) != values[key].shape:
            raise UserError(
                f"{path} does not fit the changed model: {variable.path} must have shape {tuple(variable.shape)}. "
                f"Received: {values[key].shape}. Use a new run folder"
            )
    for key, variable in wanted.items():
        variable.assign(values[key])


def _named(group: str, variables: Sequence) -> list[tuple[str, Any]]:
    """Keys that another process gives too: a variable's path may hold counters of the process, its name does not."""
    return [(f"{group}/{i:04}/{v.name.partition(':')[0]}", v) for i, v in enumerate(variables)]


def _open(path: Path):
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"checkpoint {path} cannot be read: {error}. Delete it to start again") from None
