"""Loads weights into a model: matches a file's layers to the model's, all of the backbone or nothing."""

from __future__ import annotations

import math
import sys
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from mobilenet_tf.models import specs
from mobilenet_tf.models.graph import leaves
from mobilenet_tf.models.weights.catalog import download, published
from mobilenet_tf.models.weights.files import StoredLayer, open_weights, values
from mobilenet_tf.models.weights.identity import Identity, identify
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.keras_files import CONFIG, MAX_CONFIG, parsed
from mobilenet_tf.utils.zip_files import open_zip, read_member


@dataclass(frozen=True)
class LoadReport:
    """How many tensors a load dealt with.

    loaded: from the file into the model. skipped: those of the file that the model has no use for. reset: those of the
    model for which the file has nothing, in the layers `reset_layers`; they keep their initial values.
    """

    source: str
    network: str
    loaded: int
    skipped: int
    reset: int
    reset_layers: tuple[str, ...] = ()

    def __str__(self) -> str:
        layers = f" ({', '.join(self.reset_layers)})" if self.reset_layers else ""
        counts = f"{self.loaded} tensors loaded, {self.skipped} skipped, {self.reset} reset{layers}"
        return f"Weights of {self.network} from {self.source}: {counts}"


def load(model: keras.Model, source: str | Path, *, net: str | None = None, alpha: float | None = None) -> LoadReport:
    """Loads weights into a MobileNet or a model whose nested layer "backbone" is one; prints and returns a report.

    Layers match by name; where a file has other names or none, by order and shape. Layers outside the backbone (the
    head) keep their initial values where the file has nothing of their shape. Either everything fits and is loaded, or
    the model stays as it is.

    Args:
        source: "imagenet" (Keras's published file, downloaded) or the path of a `.h5` (weights or a whole model, Keras
            1 to 3), `.weights.h5` or `.keras` file, in which the network may be nested.
        net, alpha: name and width of a model that was not built here; None: what its builder knew, else what the
            shapes of its kernels tell.

    Raises:
        UserError: no such file, a file that is not Keras's, another network or width, an incomplete backbone.
    """
    backbone, head = _parts(model)
    target = _identity(model, backbone, net, alpha)
    path = _imagenet(model, head, target) if str(source) == "imagenet" else Path(source).expanduser()
    with open_weights(path) as stored:
        pairs = _match(stored, backbone, head)
        if not pairs:
            raise UserError(_mismatch(path, stored, backbone, target))
        assignments = [
            (variable, values(tensor).reshape(variable.shape))
            for layer, stored_layer in pairs
            for variable, tensor in zip(layer.weights, stored_layer.tensors, strict=True)
        ]
        total = sum(len(layer.tensors) for layer in stored)
    for variable, value in assignments:
        variable.assign(value)
    _warn_of_other_padding(path, model, target)
    done = {id(layer) for layer, _ in pairs}
    reset = [layer for layer in head if id(layer) not in done]
    report = LoadReport(
        source=path.name,
        network=str(target or model.name),
        loaded=len(assignments),
        skipped=total - len(assignments),
        reset=sum(len(layer.weights) for layer in reset),
        reset_layers=tuple(layer.name for layer in reset),
    )
    print(report, file=sys.stderr)
    return report


def _identity(model, backbone, net, alpha) -> Identity | None:
    """What the model is: as the caller says, as its builder knew, or else as its kernels tell."""
    known = getattr(model, "identity", None) or getattr(_nested(model), "identity", None)
    if known is None and net is None:
        known = identify(shape for layer in backbone for shape in _shapes(layer))
    if net is None or (known and known.net == net and alpha in (None, known.alpha)):
        return known
    return Identity(specs.find(net).name, 1.0 if alpha is None else alpha)


def _imagenet(model, head, target: Identity | None) -> Path:
    """The published file for a model: with the classifier where the model can use some of it."""
    if target is None:
        raise UserError(f'The model must be a MobileNet for weights="imagenet". Received: {model.name}')
    names = {_plain(layer.name) for layer in head}
    top = bool(head) and (specs.NETS[target.net].names.head in names or head[-1].weights[0].shape[-1] == 1000)
    height, width = (model.input_shape[1:3]) if isinstance(model.input_shape, tuple) else (None, None)
    return download(published(target.net, target.alpha, height if height == width else None, top))


# Matching ----------------------------------------------------------------------------------------


def _parts(model) -> tuple[list, list]:
    """(the backbone's layers, the other layers), only those with weights, in Keras's order."""
    nested = _nested(model)
    layers = [layer for layer in leaves(model) if layer.weights]
    if nested is not None:
        inside = {id(layer) for layer in leaves(nested)}
        backbone = [layer for layer in layers if id(layer) in inside]
    else:
        backbone = [layer for layer in layers if _plain(layer.name) not in _head_names()]
    taken = {id(layer) for layer in backbone}
    return backbone, [layer for layer in layers if id(layer) not in taken]


def _nested(model) -> keras.Model | None:
    return next((layer for layer in model.layers if layer.name == "backbone"), None)


def _head_names() -> set[str]:
    """The layers with weights behind the pooling of all networks, by the names of `_plain`."""
    names = {name for net in specs.NETS.values() for name in (net.names.head, net.names.classifier) if name}
    names |= {net.names.bn_of(net.names.head) for net in specs.NETS.values() if net.head_bn and net.names.head}
    return {_plain(name) for name in names}


def _plain(name: str) -> str:
    """Keras 2's and 3's layer names alike: "expanded_conv/depthwise/BatchNorm" -> "expanded_conv_depthwise_bn"."""
    return name.lower().replace("/", "_").replace("batchnorm", "bn")


def _shapes(layer) -> tuple:
    return tuple(tuple(v.shape) for v in layer.weights)


def _match(stored: list[StoredLayer], backbone: list, head: list) -> list[tuple]:
    """(layer, its stored layer) for the whole backbone and what fits of the head; empty where the backbone is not."""
    pairs = _by_name(stored, backbone)
    if pairs:
        used = {id(stored_layer) for _, stored_layer in pairs}
        return pairs + _match_head([s for s in stored if id(s) not in used], head)
    pairs = _by_order(stored, backbone + head) or _by_order(stored, backbone)
    if len(pairs) != len(backbone):
        return pairs
    used = {id(stored_layer) for _, stored_layer in pairs}
    return pairs + _match_head([s for s in stored if id(s) not in used], head)


def _by_name(stored, layers) -> list[tuple]:
    """The layers with those of one model in the file that has all their names, in the same shapes."""
    models = {}
    for stored_layer in stored:
        if stored_layer.name:
            models.setdefault(stored_layer.model, {})[_plain(stored_layer.name)] = stored_layer
    for named in models.values():
        pairs = [(layer, named.get(_plain(layer.name))) for layer in layers]
        if all(stored_layer is not None and stored_layer.shapes == _shapes(layer) for layer, stored_layer in pairs):
            return pairs
    return []


def _by_order(stored, layers) -> list[tuple]:
    """The layers with the first of the file of the same kind, if all shapes agree.

    Keras's own loading of `.h5` goes by order alone: V2's published files have other layer names than its code today.
    """
    queues = {}
    for stored_layer in stored:
        queues.setdefault(_kind(stored_layer.shapes), []).append(stored_layer)
    queues = {kind: iter(queue) for kind, queue in queues.items()}
    pairs = [(layer, next(queues.get(_kind(_shapes(layer)), iter(())), None)) for layer in layers]
    return (
        pairs
        if all(stored_layer is not None and stored_layer.shapes == _shapes(layer) for layer, stored_layer in pairs)
        else []
    )


def _kind(shapes) -> tuple:
    """The kind of layer that has such tensors: ranks, and whether the kernel is a depthwise one."""
    return (*map(len, shapes), bool(shapes) and len(shapes[0]) == 4 and shapes[0][-1] == 1)


def _match_head(stored, head) -> list[tuple]:
    """Head layers with what the file has under their name, and the last one with the file's classifier."""
    named = {_plain(stored_layer.name): stored_layer for stored_layer in stored if stored_layer.name}
    pairs = {id(layer): (layer, named.get(_plain(layer.name))) for layer in head}
    classifiers = [s for s in stored if len(s.shapes) == 2 and len(s.shapes[0]) in (2, 4)]
    if head and classifiers and not _fits(*pairs[id(head[-1])]):
        pairs[id(head[-1])] = (head[-1], classifiers[-1])
    return [(layer, stored_layer) for layer, stored_layer in pairs.values() if _fits(layer, stored_layer)]


def _fits(layer, stored_layer) -> bool:
    """Whether the shapes agree; a dense kernel [in, out] is a 1x1 convolution's [1, 1, in, out]."""
    return stored_layer is not None and [_flat(s) for s in _shapes(layer)] == [_flat(s) for s in stored_layer.shapes]


def _flat(shape) -> tuple:
    return shape[2:] if len(shape) == 4 and shape[:2] == (1, 1) else shape


def _warn_of_other_padding(path: Path, model: keras.Model, target: Identity | None) -> None:
    """Warns where a .keras file holds a network converted from PyTorch and the model is not one: see `Net.padding`."""
    if not zipfile.is_zipfile(path):
        return
    with open_zip(path) as archive:
        config = parsed(read_member(archive, CONFIG, MAX_CONFIG), path)
    own: Any = [layer for layer in leaves(model) if isinstance(layer, keras.layers.ZeroPadding2D)]
    if _pads_both_sides(config) and not any(_is_both_sides(layer.padding) for layer in own):
        warnings.warn(
            f"{path.name} is of a network that pads both sides alike, as PyTorch does; {target or 'the model'} does "
            "not, so that its features are shifted until they are fine-tuned",
            stacklevel=3,
        )


def _pads_both_sides(config) -> bool:
    if isinstance(config, dict):
        padding = config.get("config", {}).get("padding") if config.get("class_name") == "ZeroPadding2D" else None
        return _is_both_sides(padding) or any(map(_pads_both_sides, config.values()))
    return isinstance(config, list) and any(map(_pads_both_sides, config))


def _is_both_sides(padding) -> bool:
    """Whether a padding ((top, bottom), (left, right)) is the same on all sides, and is one."""
    return bool(padding) and len({side for pair in padding for side in pair}) == 1 and padding[0][0] > 0


# Explaining --------------------------------------------------------------------------------------


def _mismatch(path, stored, backbone, target) -> str:
    """Why nothing was loaded: the file holds another network, or too little of this one."""
    held = identify(shape for layer in stored for shape in layer.shapes)
    wanted = identify(shape for layer in backbone for shape in _shapes(layer)) or target  # close widths are built alike
    if held and held != wanted:
        return f"weights must be those of {target or 'the model'}; {path.name} holds {held}. Received: {path}"
    names = {_plain(s.name): s for s in stored if s.name}
    missing = [layer for layer in backbone if not _fits(layer, names.get(_plain(layer.name)))]
    if len(missing) < len(backbone):
        lacking = sum(len(layer.weights) for layer in missing)
        total = sum(len(layer.weights) for layer in backbone)
        return (
            f"weights must hold the whole backbone of {target or 'the model'}; {path.name} lacks {lacking} of "
            f"its {total} tensors or has them in another shape, the first in layer {missing[0].name}. Received: {path}"
        )
    size = sum(math.prod(shape) for layer in stored for shape in layer.shapes)
    return (
        f"weights must be those of {target or 'the model'}; {path.name} holds an unknown network of {size:,} "
        f"parameters. Received: {path}"
    )
