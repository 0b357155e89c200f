"""The networks of a run: the one that is trained, and its float32 twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from mobilenet_tf import qat
from mobilenet_tf.data.source import Source, difference
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import load_keras
from mobilenet_tf.models.graph import leaves
from mobilenet_tf.task import Task
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError


def build(task: Task, source: Source, precision: str, *, pretrained: bool) -> tuple[keras.Model, keras.Model]:
    """The network that is trained, and its float32 twin that is evaluated, saved and exported.

    pretrained: take the weights that `model.weights` names; a checkpoint will replace them otherwise.
    """
    cfg = task.cfg
    blank = type(task)(cfg.model_copy(update={"model": cfg.model.model_copy(update={"weights": None})}))
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        network = _model(task if pretrained else blank, source)
    finally:
        keras.config.set_dtype_policy(previous)
    if cfg.train.batch_norm_momentum:
        for layer in leaves(network):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = cfg.train.batch_norm_momentum
    serving = _model(blank, source)
    if cfg.train.network:
        _check_network(cfg.train.network, serving, blank, source)
    if cfg.quantize.qat:
        return qat.prepare(network, cfg.quantize.momentum), qat.prepare(serving, cfg.quantize.momentum)
    return network, serving


def _model(task: Task, source: Source) -> keras.Model:
    given = task.cfg.train.network
    return load_keras(given) if given else task.model(source)


def _check_network(path: Path, network: Any, task: Task, source: Source) -> None:
    """Raises UserError where `train.network` names a model of another task, for other classes or of another size.

    task: with a model without weights.
    """
    metadata = artifact.read(path)
    if metadata and metadata.task != task.name:
        raise UserError(f"train.network must be a network of task {task.name}. Received: {path}, of {metadata.task}")
    if metadata and task.closed_set and len(metadata.classes) != len(source.classes):
        raise UserError(
            f"train.network must have the classes of the data, {len(source.classes)} of them. "
            f"Received: {path} with {len(metadata.classes)}, which differ in "
            f"{difference(metadata.classes, source.classes)}"
        )
    if metadata and task.closed_set and list(metadata.classes) != list(source.classes):
        names = readable(difference(metadata.classes, source.classes))
        print(
            f"train.network: {path} was trained for other classes, which differ in {names}; it learns those of the data"
        )
    if not any(layer.name == "backbone" for layer in getattr(network, "layers", ())):
        raise UserError(
            f"train.network must hold a layer named backbone, as the files of this package do. Received: {path}"
        )
    have, want = _shapes(network), _shapes(task.model(source))
    for what, got, wanted in zip(("input", "output"), have, want, strict=True):
        if got != wanted:
            raise UserError(
                f"train.network must have the {what} that the config describes (model.input_size, the classes of the "
                f"data), {wanted}. Received: {path} with {got}"
            )


def _shapes(network: keras.Model) -> tuple[Any, Any]:
    """The shapes of the input and of the outputs, without the batch."""
    shapes = [keras.tree.map_structure(lambda x: tuple(x.shape[1:]), part) for part in (network.input, network.output)]
    return shapes[0], shapes[1]
