"""Reads the layers out of Keras's weight files with h5py alone: no model is built, no code in a file is run."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import ml_dtypes
import numpy as np

from mobilenet_tf.utils.errors import UserError


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
    """A stored tensor as an array."""
    if tensor.attrs.get("dtype") == "bfloat16":
        return np.array(tensor, dtype=ml_dtypes.bfloat16)
    return np.asarray(tensor)


@contextmanager
def open_weights(path: Path) -> Iterator[list[StoredLayer]]:
    """The layers with weights in a `.h5`, `.weights.h5` or `.keras` file, in the file's order, while it is open.

    Raises UserError for a file that is missing, is none of these, is damaged, or is a `.keras` file with a Lambda.
    """
    if not path.is_file():
        raise UserError(f'weights must be "imagenet", a .h5, .weights.h5 or .keras file, or None. Received: {path}')
    try:
        with h5py.File(_unpacked(path) if zipfile.is_zipfile(path) else path, "r") as file:
            stored = list(_layers(file))
            if not stored:
                raise UserError(f"weights must be a Keras weight file with layers in it. Received: {path}")
            yield stored
    except (OSError, KeyError, zipfile.BadZipFile, json.JSONDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"weights must be a readable Keras weight file ({reason}). Received: {path}") from error


def _unpacked(path: Path) -> io.BytesIO:
    """The HDF5 part of a `.keras` archive."""
    with zipfile.ZipFile(path) as archive:
        if "Lambda" in _class_names(json.loads(archive.read("config.json"))):
            raise UserError(
                "weights must be a .keras file without Lambda layers, which hold code; its weights alone, saved as "
                f".weights.h5, will load. Received: {path}"
            )
        return io.BytesIO(archive.read("model.weights.h5"))


def _class_names(config) -> Iterator[str]:
    if isinstance(config, dict):
        if isinstance(config.get("class_name"), str):
            yield config["class_name"]
        config = list(config.values())
    if isinstance(config, list):
        for part in config:
            yield from _class_names(part)


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
