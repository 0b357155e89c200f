"""Opens whatever people have as a network that takes images in 0..255, with the metadata that it lacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from mobilenet_tf.config import Config
from mobilenet_tf.foreign import checkpoints, named, saved_model
from mobilenet_tf.foreign.declaration import Declaration
from mobilenet_tf.foreign.evidence import ask
from mobilenet_tf.foreign.facts import Description, Facts, describe
from mobilenet_tf.foreign.keras_model import adapted, facts_of
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.formats import HDF5, KERAS, SAVED_MODEL
from mobilenet_tf.inference.keras_loading import load_keras
from mobilenet_tf.inference.predict import keras_predictor
from mobilenet_tf.utils.errors import UserError


@dataclass(frozen=True)
class Opened:
    """A network of others as this package uses it: from images [N, H, W, 3] in 0..255 to what the metadata says."""

    network: keras.Model
    metadata: Metadata
    is_saveable: bool  # as a .keras file; a SavedModel is not


def open_source(
    source: str | Path,
    declaration: Declaration,
    overrides: Sequence[str] = (),
    *,
    trust: bool = False,
    classes_of: Callable[[Config], Sequence[str]] | None = None,
) -> Opened:
    """Opens a Keras model, a SavedModel, a checkpoint of PyTorch or a network by its name.

    Args:
        source: a file, a folder or a name.
        declaration: what its user says of it.
        overrides: changes to the config, such as "data.crop_fraction=1".
        trust: open a SavedModel even where it does more than compute.
        classes_of: the classes of the data set that a config names, which are the model's where nobody says others.

    Raises:
        UserError: something is missing or contradicts the file; the line names the option.
    """
    model, facts = _read(str(source), declaration, overrides, trust)

    def described(said: Declaration) -> Description:
        return describe(facts, said, overrides, classes_of=classes_of)

    def network(description: Description) -> keras.Model:
        return adapted(model, facts, description)

    description = ask(described, lambda each: keras_predictor(network(each)), declaration)
    return Opened(network(description), description.metadata, isinstance(model, keras.Model))


def _read(source: str, declaration: Declaration, overrides: Sequence[str], trust: bool) -> tuple[Any, Facts]:
    """The network, or a layer that is one, and what it says of itself."""
    if named.is_name(source) and not Path(source).exists():
        alpha = [float(value) for key, _, value in (item.partition("=") for item in overrides) if key == "model.alpha"]
        return named.build(source, declaration, {"alpha": alpha[-1]} if alpha else {})
    if declaration.weights is not None:
        raise UserError(f"--weights must be given for the name of a network alone. Received: {source}")
    path = Path(source)
    if path.is_file() and checkpoints.is_checkpoint(path):
        return checkpoints.build(path, declaration)
    if declaration.architecture is not None:
        raise UserError(f"--architecture must be given for a checkpoint of PyTorch alone. Received: {source}")
    path, kind = artifact.locate(path)
    if kind == SAVED_MODEL.name:
        return saved_model.open_layer(path, trust)
    if kind not in (KERAS.name, HDF5.name):
        raise UserError(f"a model to import must be one of Keras or PyTorch. Received: {path}, a .{kind} file")
    model = load_keras(path)
    return model, facts_of(model, path.name)
