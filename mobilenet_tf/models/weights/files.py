"""Reads the layers out of Keras's weight files with h5py alone: no model is built, no code in a file is run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

from mobilenet_tf.utils.errors import UserError, reason_of
from mobilenet_tf.utils.file_kinds import (
    HDF5,
    KERAS,
    MISSING,
    ONNX,
    SAFETENSORS,
    SAVED_MODEL,
    TFLITE,
    TORCH,
    WEB_PAGE,
    what_is,
)
from mobilenet_tf.utils.keras_files import damaged, open_hdf5


@dataclass(frozen=True)
class StoredLayer:
    """One layer of a weight file. name: None where the file has none. model: the (nested) model it belongs to.

    tensors: h5py data sets in Keras's order (kernel, bias; gamma, beta, moving_mean, moving_variance); see `values`.
    """

    name: str | None
    model: str
    tensors: tuple

    @property
    def shapes(self) -> tuple:
        """The shapes of the tensors."""
        return tuple(tuple(t.shape) for t in self.tensors)


def values(tensor) -> np.ndarray:
    """A stored tensor as an array. Raises UserError where it is damaged or holds no numbers."""
    try:
        array = np.asarray(tensor)
        if tensor.attrs.get("dtype") == "bfloat16":
            array = array.view(ml_dtypes.bfloat16)
        return array.astype(np.float32) if array.dtype.kind not in "biu" else array
    except Exception as error:  # what h5py raises for a damaged file depends on the byte
        reason = reason_of(error)
        raise UserError(f"weights must be whole tensors of numbers. Received: {tensor.name}: {reason}") from error


@contextmanager
def open_weights(path: Path) -> Iterator[list[StoredLayer]]:
    """The layers with weights in a `.h5`, `.weights.h5` or `.keras` file, in the file's order, while it is open.

    Raises UserError for a file that is missing, is none of these, or is damaged, with what it is and what to do; and
    for one that reads other files or holds code: see `keras_files.open_hdf5`.
    """
    kind = what_is(path)
    if kind not in (HDF5, KERAS):
        raise UserError(
            f'weights must be "imagenet", a .h5, .weights.h5 or .keras file, or None; '
            f"{path.name} {kind if kind == MISSING else f'is {kind}'}{_advice(path, kind)}. Received: {path}"
        )
    with open_hdf5(path, "weights") as file:
        try:
            stored = [layer for layer in _layers(file) if layer.shapes is not None]  # a group has no shape
        except Exception as error:  # what h5py raises for a damaged file depends on the byte
            raise damaged(path, error, "weights") from error
        if not stored:
            raise UserError(f"weights must be a Keras weight file with layers in it. Received: {path}")
        yield stored


def _advice(path: Path, kind: str) -> str:
    """What to do about a file of another kind."""
    if kind.startswith((TORCH, SAFETENSORS)):
        return (
            ", whose networks compute in another way: mobilenet_tf.weights.from_torchvision(NAME, FILE) makes a Keras "
            "model of a checkpoint of torchvision, from_timm of one of timm"
        )
    if kind == WEB_PAGE:
        return ": download the file itself"
    if kind in (TFLITE, SAVED_MODEL, ONNX):
        return ": take the .keras file that it was exported from"
    return f": take {path / 'model.keras'}" if (path / "model.keras").is_file() else ""


def _layers(file) -> Iterator[StoredLayer]:
    if "layer_names" not in file.attrs and "model_weights" in file:
        file = file["model_weights"]  # a whole model in one .h5
    return _legacy_layers(file) if _names(file, "layer_names") else _keras3_layers(file)


def _legacy_layers(group) -> Iterator[StoredLayer]:
    """Keras 1, 2 and 3 `.h5`: a group a layer; a nested model is one group, its layers in the tensors' names."""
    for name in _names(group, "layer_names"):
        parts = {}
        for tensor in _names(group[name], "weight_names"):
            parts.setdefault(tensor.removeprefix(f"{name}/").rpartition("/")[0], []).append(group[name][tensor])
        for part, tensors in parts.items():
            nested = len(parts) > 1
            yield StoredLayer(part if nested else name, name if nested else "", tuple(tensors))


def _names(group, attribute: str) -> list[str]:
    """An attribute that lists names; Keras cuts long lists into attribute0, attribute1, ..."""
    parts = [attribute] if attribute in group.attrs else []
    while f"{attribute}{len(parts)}" in group.attrs and attribute not in parts:
        parts.append(f"{attribute}{len(parts)}")
    return [n.decode() if isinstance(n, bytes) else str(n) for part in parts for n in group.attrs[part]]


def _keras3_layers(file) -> Iterator[StoredLayer]:
    """Keras 3 `.weights.h5`: paths by class and number, "layers/functional/layers/conv2d_1/vars/0".

    Newer files hold each layer's name in an attribute. Nested models come first: the backbone before the head.
    """
    paths = []
    file.visititems(lambda path, item: paths.append(path) if path.endswith("/vars") and len(item) else None)
    paths = [path for path in paths if not path.startswith("optimizer") and "seed_generator" not in path]
    for path in sorted(paths, key=lambda p: (-p.count("/"), _natural(p))):
        group = file[path]
        model = path.removesuffix("/vars").rpartition("/")[0]
        yield StoredLayer(group.attrs.get("name"), model, tuple(group[key] for key in sorted(group, key=int)))


def _natural(path: str) -> list:
    """Sorts conv2d, conv2d_2, conv2d_10 in this order."""
    return [(re.sub(r"_\d+$", "", part), int((re.findall(r"_(\d+)$", part) or [0])[0])) for part in path.split("/")]
