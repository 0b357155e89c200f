"""Checks files of Keras before Keras or h5py reads them: nothing in them may reach outside, run code or explode."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from mobilenet_tf.utils.errors import UserError, reason_of
from mobilenet_tf.utils.zip_files import check_total, open_zip, read_member

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"  # the members that Keras reads
MAX_CONFIG = 2**26  # bytes of the config of a model; that of the largest network here has a hundredth of it
MAX_WEIGHTS = 2**33
MAX_DEPTH = 200  # of nested lists and objects
MAX_OBJECTS = 100_000  # groups and data sets
LEAST_BYTES, MOST_RATIO = 2**26, 20  # what all data sets may hold: so many bytes, or times the file's size

# Modules whose classes and functions compute, by their public names and by those within Keras
COMPUTING = ("activations", "constraints", "dtype_policies", "initializers", "layers", "losses", "metrics", "models")
COMPUTING += ("operations", "ops", "optimizers", "quantizers", "random", "regularizers")
FUNCTIONS = ("activations", "constraints", "initializers", "losses", "metrics", "ops", "regularizers")
# Layers that keras.applications has of its own, for ConvNeXt and InceptionResNetV2
OF_APPLICATIONS = {"LayerScale", "StochasticDepth", "CustomScaleLayer"}
# Layers that run what is not in the config: code, another model file, or the files of a vocabulary
FOREIGN = {"Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer", "__lambda__"}
PATHS = (
    "vocabulary",
    "idf_weights",
    "filepath",
    "file_path",
    "path",
    "url",
    "origin",
)  # where a config may name a file


@contextmanager
def open_hdf5(path: Path, name: str = "") -> Iterator[Any]:
    """Opens an HDF5 file, or the one in a .keras file, with h5py, once all of it has been checked.

    Args:
        name: what the message about a damaged file calls it; else it is the path.

    Raises:
        UserError: the file is neither, or damaged; whatever `check_archive` and `check_hdf5` refuse.
    """
    import h5py

    with ExitStack() as stack:
        try:
            if zipfile.is_zipfile(path):
                content = check_archive(path)
                file, size = h5py.File(io.BytesIO(content), "r"), len(content)
            else:
                file, size = h5py.File(path, "r"), path.stat().st_size
            stack.enter_context(file)
            check_hdf5(file, path, size)
        except UserError:
            raise
        except Exception as error:  # h5py has no class for what a damaged file raises: it depends on the byte
            raise damaged(path, error, name) from error
        yield file


def damaged(path: Path, error: Exception, name: str = "") -> UserError:
    """The error about a file that h5py or Keras cannot read."""
    reason = reason_of(error)
    if name:
        return UserError(f"{name} must be a readable Keras weight file ({reason[:200]}). Received: {path}")
    return UserError(f"{path} must be a whole Keras model. Received: {reason[:200]}")


def check_archive(path: Path) -> bytes:
    """Returns the HDF5 part of a .keras file, once all of the file has been checked.

    Raises:
        UserError: a damaged archive; one that inflates to far more than its size; a config with layers that run code,
            such as Lambda, that read other files, or that come from modules which do more than compute; weights that
            `check_hdf5` refuses.
    """
    with open_zip(path) as archive:
        check_total(archive)
        for name in (CONFIG, METADATA, WEIGHTS):
            if name not in archive.namelist():
                raise UserError(f"{path} must be a .keras file with {name} in it. Received: none")
        check_config(parsed(read_member(archive, CONFIG, MAX_CONFIG), path), path)
        parsed(read_member(archive, METADATA, MAX_CONFIG), path)
        return read_member(archive, WEIGHTS, MAX_WEIGHTS)


def parsed(text: bytes, path: Path) -> dict:
    """Returns the JSON object in a text. Raises UserError for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} must hold its config as JSON. Received: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold its config as a JSON object. Received: a {type(value).__name__}")
    return value


def check_config(config: Any, path: Path) -> None:
    """Raises UserError for a model's config that is not only made of what computes; see `check_archive`."""
    for entry in _objects(config, path):
        name, module = entry["class_name"], entry.get("module")
        if name in FOREIGN:
            name = name.strip("_").capitalize() if name.startswith("_") else name
            raise UserError(
                f"{path} must not hold a {name} layer: it would run code from the file. Files without {name} layers "
                f"load, and so do the weights alone, saved as .weights.h5. Received: a {name} in {path.name}"
            )
        is_known = str(module).startswith("keras.src.applications.") and name in OF_APPLICATIONS
        if not (is_known or _computes(module, name == "function")):
            name = entry.get("config") if name == "function" else name
            raise UserError(f"{path} must be made of layers of Keras and of this package. Received: {module}.{name}")
        given = entry.get("config")
        for key in PATHS:
            if isinstance(given, dict) and isinstance(given.get(key), str):
                raise UserError(f"{path} must not read other files. Received: {name} with {key}={given[key]}")


def _objects(value: Any, path: Path, depth: int = 0) -> Iterator[dict]:
    """Yields the objects within a config that name a class."""
    if depth > MAX_DEPTH:
        raise UserError(f"{path} must have a config of at most {MAX_DEPTH} levels. Received: more")
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            if isinstance(part, dict | list):
                yield from _objects(part, path, depth + 1)


def _computes(module: Any, is_function: bool) -> bool:
    """Whether a module of Keras has what models are made of; those of others Keras knows by registration only."""
    if not isinstance(module, str) or not module.startswith("keras"):
        return True
    part = module.removeprefix("keras.src.").removeprefix("keras.").split(".")[0]
    return part in FUNCTIONS if is_function else part in (*COMPUTING, "keras")


def check_hdf5(file: Any, path: Path, size: int) -> None:
    """Checks an open file of h5py, of `size` bytes.

    Raises:
        UserError: links, external storage or virtual data sets, which read other files; values that are no numbers or
            text of a fixed length; far more bytes than the file has; over 100,000 objects.
        Whatever h5py raises where the file is damaged.
    """
    groups, seen, count, total = [file], set(), 0, 0
    while groups:
        group = groups.pop()
        for name in group:
            _check_link(group, name, path)
            item, count = group[name], count + 1
            if count > MAX_OBJECTS:
                raise UserError(f"{path} must hold at most {MAX_OBJECTS:,} objects. Received: more")
            if hasattr(item, "keys"):
                if item.id not in seen:
                    seen.add(item.id)
                    groups.append(item)
            else:
                total += _checked_bytes(item, path)
    if total > max(LEAST_BYTES, MOST_RATIO * size):
        raise UserError(f"{path} must hold the values of its tensors. Received: {total:,} bytes of them in {size:,}")


def _check_link(group: Any, name: str, path: Path) -> None:
    link = type(group.get(name, getlink=True)).__name__
    if link != "HardLink":
        raise UserError(f"{path} must not hold links, which can lead to other files. Received: a {link}, {name}")


def _checked_bytes(item: Any, path: Path) -> int:
    """Returns the bytes that a data set holds."""
    if not hasattr(item, "shape"):
        raise UserError(f"{path} must hold groups and tensors only. Received: a {type(item).__name__}, {item.name}")
    if item.external or item.is_virtual:
        raise UserError(f"{path} must hold its tensors itself. Received: {item.name}, which is stored in other files")
    if item.dtype.kind not in "biufcSV" or item.dtype.hasobject or item.shape is None:
        raise UserError(f"{path} must hold tensors of numbers. Received: {item.name} of type {item.dtype}")
    return math.prod(item.shape) * item.dtype.itemsize
