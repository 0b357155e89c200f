"""Keras models of others: what they say of themselves, and how they come to take images in 0..255."""

from __future__ import annotations

from typing import Any, cast

import keras
import numpy as np
from keras import layers

from mobilenet_tf.foreign.declaration import GRAY, Range
from mobilenet_tf.foreign.facts import Description, Facts
from mobilenet_tf.models import graph
from mobilenet_tf.models.layers import FlipChannels
from mobilenet_tf.utils.errors import UserError

ACTIVATIONS = {"softmax": "softmax", "sigmoid": "sigmoid", "linear": "logits"}
ENDS = {layers.Softmax: "softmax", layers.BatchNormalization: "logits", layers.Add: "logits"}  # and operations by name
PASSING = (  # what changes neither the meaning of values nor their range
    layers.Dropout, layers.Flatten, layers.Reshape, layers.Identity, layers.Resizing, layers.UpSampling2D,
    layers.Cropping2D,
)  # fmt: skip
WIDEST = 255.0  # of what 0..255 becomes inside; a wider span means that the layer expects smaller values


def facts_of(model: keras.Model, name: str) -> Facts:
    """What a Keras model says of itself. Raises UserError where it has several inputs, or none that is known."""
    inputs = model.inputs or []  # a model that was never built has none
    if len(inputs) != 1:
        raise UserError(f"{name} must take one input, images. Received: {len(inputs)} inputs")
    outputs = dict(zip(output_names(model), model.outputs, strict=True))
    return Facts(
        name=name,
        input_shape=tuple(inputs[0].shape),
        outputs={key: tuple(tensor.shape) for key, tensor in outputs.items()},
        rescales=rescales(model),
        ends_in=ends_in(model.outputs[0]) if len(outputs) == 1 else None,
    )


def output_names(model: keras.Model) -> list[str]:
    """The keys of outputs that are a dict, or else numbers."""
    structure = _output_structure(model)
    if isinstance(structure, dict):
        return sorted(structure)  # the order of Keras's flat outputs
    return [f"output_{i}" for i in range(len(model.outputs))]


def _output_structure(model: keras.Model) -> Any:
    return model.outputs if isinstance(model, keras.Sequential) else graph.output_structure(model)


def ends_in(tensor: Any) -> str | None:
    """Whether a symbolic tensor holds logits, or probabilities by softmax or sigmoid; None where no layer says so."""
    layer, index = graph.producer(tensor)
    if isinstance(layer, keras.Model):
        return ends_in(layer.outputs[index])
    if isinstance(layer, PASSING):
        return ends_in(keras.tree.flatten(graph.inputs_of(layer))[0])
    activation = getattr(layer, "activation", None)
    if activation is not None:
        return ACTIVATIONS.get(getattr(activation, "__name__", ""))
    by_class = next((ending for kind, ending in ENDS.items() if isinstance(layer, kind)), None)
    return by_class or ACTIVATIONS.get(type(layer).__name__.lower())  # operations such as keras.ops.softmax


def rescales(model: keras.Model) -> bool:
    """Whether the model brings images in 0..255 into another range before its first weights."""
    low, high, found = np.zeros(1), np.full(1, 255.0), False
    for layer in graph.leaves(model):
        if isinstance(layer, layers.Rescaling):
            scale, offset = np.asarray(layer.scale, float), np.asarray(layer.offset, float)
            low, high, found = low * scale + offset, high * scale + offset, True
        elif isinstance(layer, layers.Normalization) and layer.mean is not None:
            mean, deviation = np.asarray(layer.mean).ravel(), np.sqrt(np.asarray(layer.variance)).ravel()
            deviation = np.maximum(deviation, keras.backend.epsilon())
            low, high, found = (low - mean) / deviation, (high - mean) / deviation, True
        elif layer.weights:
            break
    return found and bool(np.all(np.abs(high - low) <= WIDEST + 1e-3))


def adapted(model: Any, facts: Facts, description: Description) -> keras.Model:
    """The network from images [N, H, W, 3] in 0..255 to one output, with a value for each class.

    model: a Keras model, or a layer that is called with images.
    """
    height, width = description.cfg.model.input_size
    is_ready = (
        isinstance(model, keras.Model)
        and not isinstance(model, keras.Sequential)
        and tuple(model.inputs[0].shape[1:]) == (height, width, 3)
        and description.range.is_identity
        and not description.is_binary
        and description.cfg.task != "embedding"
        and not isinstance(_output_structure(model), dict | list | tuple)
    )
    if is_ready:
        return model
    image = keras.Input((height, width, 3), name="image")
    x = rescaled(image, description.range)
    if facts.input_shape[-1] == 1:
        x = _to_gray(x)
    x = model(x)
    if description.cfg.task != "detection":
        [x] = keras.tree.flatten(x)
    if description.is_binary:
        x = _two_classes(x, description.ends_in)
    if description.cfg.task == "embedding":
        x = {"embedding": x}
    return keras.Model(image, x, name=model.name)


def rescaled(image: Any, wanted: Range) -> Any:
    """Images in 0..255 as a network takes them."""
    if wanted.is_identity:
        return image
    if wanted.is_bgr:
        image = FlipChannels(name="to_bgr")(image)
    scale, offset = (values[0] if len(values) == 1 else list(values) for values in (wanted.scale, wanted.offset))
    return layers.Rescaling(scale, cast(Any, offset), name="input_range")(image)  # Keras takes a list for each


def _to_gray(x: Any) -> Any:
    layer = layers.Conv2D(1, 1, use_bias=False, trainable=False, name="gray")
    x = layer(x)
    layer.set_weights([np.reshape(np.array(GRAY, np.float32), (1, 1, 3, 1))])
    return x


def _two_classes(x: Any, ending: str) -> Any:
    """One value, of the second class -> two values, whose softmax or shares are the same."""
    if ending == "sigmoid":
        first = layers.Rescaling(-1.0, 1.0, name="first_class")(x)
        return layers.Concatenate(name="both_classes")([first, x])
    # softmax([-x / 2, x / 2]) = [1 - sigmoid(x), sigmoid(x)]
    halves = [layers.Rescaling(scale, name=f"{name}_class")(x) for scale, name in ((-0.5, "first"), (0.5, "second"))]
    return layers.Concatenate(name="both_classes")(halves)
