"""Networks by name with weights from a file: those of this package and of keras.applications, with their classifier."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mobilenet_tf.foreign.declaration import Declaration, Range
from mobilenet_tf.foreign.facts import Facts
from mobilenet_tf.foreign.keras_model import facts_of
from mobilenet_tf.models import specs
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.models.weights.files import open_weights
from mobilenet_tf.models.weights.identity import identify
from mobilenet_tf.models.weights.loading import load
from mobilenet_tf.utils.errors import UserError, reason_of

IMAGENET, IMAGENET_CLASSES = "imagenet", 1000
SIZE = (224, 224)


def is_name(source: str) -> bool:
    """Whether this is the name of a network of this package or of keras.applications."""
    return source in specs.NETS or find_application(source) is not None


def find_application(name: str) -> Callable[..., keras.Model] | None:
    """The function of keras.applications of that name, in any case; None where there is none."""
    found = {key.lower(): value for key, value in vars(keras.applications).items() if inspect.isfunction(value)}
    return found.get(name.lower())


def build(name: str, declaration: Declaration, options: Mapping[str, Any]) -> tuple[keras.Model, Facts]:
    """The network of that name with the weights of the declaration, and what is known of it.

    options: the width as "alpha", where the network has one. Raises UserError for weights that do not fit.
    """
    if declaration.weights is None:
        raise UserError(f"--weights must be imagenet or a .h5 file with the weights of {name}. Received: none")
    count, alpha = _stored(declaration.weights)
    options = {**({"alpha": alpha} if alpha else {}), **options}
    if name in specs.NETS:
        model = classifier(name, count, alpha=options.get("alpha", 1.0), input_size=declaration.size or SIZE)
        report = load(model, declaration.weights)
        if report.reset:
            raise UserError(
                f"--weights must hold the classifier of {name} too. Received: {declaration.weights}, which lacks "
                f"{', '.join(report.reset_layers)}"
            )
        return model, replace(facts_of(model, name), rescales=True)
    return _application(name, declaration, count, options)


def _stored(weights: str) -> tuple[int, float | None]:
    """The number of classes and the width of a MobileNet in a file of weights; those of the published for imagenet."""
    if weights == IMAGENET:
        return IMAGENET_CLASSES, None
    with open_weights(Path(weights).expanduser()) as stored:
        held = identify(shape for layer in stored for shape in layer.shapes)
        last = [shape[-1] for layer in stored for shape in layer.shapes if len(shape) == 2] or [
            layer.shapes[-1][-1] for layer in stored if len(layer.shapes) == 2
        ]
    if not last:
        raise UserError(f"--weights must hold a classifier. Received: {weights}, which ends in no dense layer")
    return last[-1], held.alpha if held else None


def _application(name, declaration, count, options) -> tuple[keras.Model, Facts]:
    function = find_application(name)
    assert function is not None  # `is_name` has found it
    known = inspect.signature(function).parameters
    options = {key: value for key, value in options.items() if key in known}
    shape = {"input_shape": (*declaration.size, 3)} if declaration.size else {}
    weights = declaration.weights if declaration.weights == IMAGENET else None
    try:
        model = function(weights=weights, classes=count, **shape, **options)
        if weights is None:
            _load(model, Path(declaration.weights).expanduser())
    except UserError:
        raise
    except Exception as error:  # Keras raises ValueError for sizes and shapes, urllib its own for downloads
        raise UserError(f"{name} must take the weights. Received: {declaration.weights}: {reason_of(error)}") from error
    facts = facts_of(model, name)
    return model, facts if facts.rescales else replace(facts, range=preprocessing_of(function))


def _load(model: keras.Model, path: Path) -> None:
    """Loads the weights of a file that `open_weights` has checked, in the order of its layers or by their names."""
    if path.name.endswith(".weights.h5"):
        model.load_weights(path)
        return
    layers = [layer for layer in model.layers if layer.weights]
    with open_weights(path) as stored:
        shapes = [tuple(tuple(weight.shape) for weight in layer.weights) for layer in layers]
        if [layer.shapes for layer in stored] != shapes:
            held = sum(int(np.prod(shape)) for layer in stored for shape in layer.shapes)
            raise UserError(
                f"--weights must be those of {model.name}, {model.count_params():,} numbers in {len(layers)} layers. "
                f"Received: {path}, {held:,} in {len(stored)}"
            )
        for layer, stored_layer in zip(layers, stored, strict=True):
            layer.set_weights([np.asarray(tensor) for tensor in stored_layer.tensors])


def preprocessing_of(function: Callable) -> Range:
    """What `preprocess_input` beside a function of keras.applications does to images in 0..255.

    It is one affine change of each channel, which black, white and gray tell. Raises UserError where it is none.
    """
    module = inspect.getmodule(function)
    preprocess = getattr(module, "preprocess_input", None)
    if preprocess is None:
        return Range()
    colors = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [100, 150, 200]], np.float32)
    black, *primaries, mixed = np.asarray(preprocess(colors.reshape(1, 1, 5, 3).copy()), np.float64)[0, 0]
    matrix = (np.stack(primaries) - black) / 255  # [input channel, output channel]
    is_bgr = bool(abs(matrix[2, 0]) > abs(matrix[0, 0]))
    scale, offset = np.diag(np.flipud(matrix) if is_bgr else matrix).round(7), black.round(4)
    if np.ptp(scale) == np.ptp(offset) == 0:
        scale, offset = scale[:1], offset[:1]
    result = Range(tuple(map(float, scale)), tuple(map(float, offset)), is_bgr)
    if not np.allclose(result(colors[-1]), mixed, atol=1e-3):
        raise UserError(f"{function.__name__} must preprocess each channel alone. Received: something else")
    return result
