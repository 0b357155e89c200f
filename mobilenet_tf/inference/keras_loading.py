"""Loads Keras models from files: .keras and whole-model .h5, of Keras 3, Keras 2 and tf.keras. Nothing in them runs."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from mobilenet_tf.inference.keras2 import repaired
from mobilenet_tf.registration import register
from mobilenet_tf.utils.console import quiet
from mobilenet_tf.utils.errors import UserError, reason_of
from mobilenet_tf.utils.file_kinds import HDF5, KERAS, what_is
from mobilenet_tf.utils.keras_files import CONFIG, MAX_CONFIG, METADATA, check_config, damaged, open_hdf5, parsed
from mobilenet_tf.utils.zip_files import open_zip, read_member

HDF5_CONFIG = "model_config"  # the attribute of a whole model in a .h5 file


def load_keras(path: str | Path) -> Any:
    """Loads a .keras or whole-model .h5 file in safe mode, with this package's layers.

    Raises UserError when it cannot be, or when it would run code, read other files or inflate to far more than it is:
    see `keras_files.check_archive` and `check_hdf5`.
    """
    path = Path(path)
    kind = what_is(path)
    if kind not in (KERAS, HDF5):
        raise UserError(f"{path} must be a whole Keras model. Received: {kind}")
    with open_hdf5(path) as file:
        config, version = _read_hdf5(file, path) if kind == HDF5 else _read_archive(path)
    try:
        new = repaired(config, version)
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise damaged(path, error) from error
    check_config(new, path)
    import_keras()
    with tempfile.TemporaryDirectory() as folder:
        # Keras takes the format from the suffix
        file = Path(folder) / ("model.h5" if kind == HDF5 else "model.keras")
        if new == config and path.suffix == file.suffix:
            return _load(path, path)
        (_write_hdf5 if kind == HDF5 else _write_archive)(path, file, new)
        return _load(file, path)


def _load(file: Path, path: Path) -> Any:
    import keras

    try:
        with quiet():  # native code logs what a damaged file makes it do
            return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:  # zipfile, h5py, json and Keras each raise their own
        reason = f"{type(error).__name__}: {reason_of(error)}"
        raise UserError(f"{path} must be a whole Keras model. Received: {reason}") from error


def import_keras() -> None:
    """Imports TensorFlow and Keras, and this package's layers, which are thereby registered."""
    register()


def _read_hdf5(file: Any, path: Path) -> tuple[dict, str]:
    """Returns the config of the model in an open HDF5 file, and the version of Keras that wrote it."""
    text = file.attrs.get(HDF5_CONFIG)
    if text is None:
        raise UserError(
            f"{path} must hold a whole model. Received: weights alone; where they are those of a network that Keras or "
            "this package has, give its name instead, and the file with --weights"
        )
    return parsed(_encoded(text), path), _encoded(file.attrs.get("keras_version", "2.0")).decode(errors="replace")


def _encoded(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode(errors="replace")  # h5py gives bad bytes as surrogates


def _read_archive(path: Path) -> tuple[dict, str]:
    """Returns the config of the model in a .keras file, and the version of Keras that wrote it."""
    with open_zip(path) as archive:
        config, metadata = (parsed(read_member(archive, name, MAX_CONFIG), path) for name in (CONFIG, METADATA))
    return config, str(metadata.get("keras_version", ""))


def _write_hdf5(path: Path, copy: Path, config: dict) -> None:
    import h5py

    shutil.copyfile(path, copy)
    with h5py.File(copy, "r+") as file:
        file.attrs[HDF5_CONFIG] = json.dumps(config).encode()


def _write_archive(path: Path, copy: Path, config: dict) -> None:
    with open_zip(path) as old, zipfile.ZipFile(copy, "w") as new:
        for name in old.namelist():
            with new.open(name, "w", force_zip64=True) as target:
                if name == CONFIG:
                    target.write(json.dumps(config).encode())
                else:
                    with old.open(name) as source:
                        shutil.copyfileobj(source, target)
