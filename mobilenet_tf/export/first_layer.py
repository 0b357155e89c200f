"""Lets gray levels into a float .tflite file as they are. No TensorFlow here.

A network rescales its image to -1..1, or by ImageNet's mean and standard deviation. In int8 that rounds each gray level
to one of 256 values that lie differently, and a MobileNet amplifies the error. Here the rescaling becomes part of the
first convolution, and what is left is the subtraction of one whole gray level: it decides what the convolution sees
beyond the edges of the image, which is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mobilenet_tf.export import tflite_objects
from mobilenet_tf.export.tflite_objects import constant, operations

WHITE = 255.0
# Operations on the image and a constant: (factor, offset) so far, constant -> the same after it
STEPS: dict[str, Callable] = {
    "MUL": lambda factor, offset, value: (factor * value, offset * value),
    "DIV": lambda factor, offset, value: (factor / value, offset / value),
    "ADD": lambda factor, offset, value: (factor, offset + value),
    "SUB": lambda factor, offset, value: (factor, offset - value),
}


def take_gray_levels(model: Any) -> bool:
    """Rewrites image * factor + offset, a padding and a convolution in place; returns whether the model has them.

    model: a ModelT in float32 that takes images in 0..255, see `tflite_objects.unpacked`. Only at the edges of the
    image, by less than the difference of the channels' means, is something else computed than before.
    """
    graph = model.subgraphs[0]
    steps, last = _rescaling(model)
    convolution = _convolution(model, last)
    if not steps or convolution is None:
        return False
    channels = graph.tensors[graph.inputs[0]].shape[-1]
    factor, offset = np.ones(channels), np.zeros(channels)
    for name, operator in steps:
        value = constant(model, graph, operator, 1)
        assert value is not None  # `_rescaling` has looked
        factor, offset = STEPS[name](factor, offset, np.asarray(value, np.float64).reshape(-1))
    if not (factor > 0).all():
        return False
    edge = float(np.clip(np.round(np.mean(-offset / factor)), 0, WHITE))
    weights, bias = constant(model, graph, convolution, 1), constant(model, graph, convolution, 2)
    assert weights is not None and bias is not None  # `_convolution` has looked
    moved = (weights.astype(np.float64) * (offset + edge * factor)).sum((1, 2, 3))
    tflite_objects.store(model, graph.tensors[convolution.inputs[1]], weights * factor)
    tflite_objects.store(model, graph.tensors[convolution.inputs[2]], bias + moved)
    _keep_subtraction(model, [operator for _, operator in steps], edge)
    return True


def ranges(model: Any) -> dict[int, tuple[float, float]]:
    """Returns {tensor: range} of what `take_gray_levels` has left between the image and the first convolution."""
    graph, found = model.subgraphs[0], {}
    steps, _ = _rescaling(model)
    for name, operator in steps:
        value = constant(model, graph, operator, 1)
        if name == "SUB" and value is not None and value.size == 1 and float(value.item()).is_integer():
            found[operator.outputs[0]] = (-float(value.item()), WHITE - float(value.item()))
    return found if len(steps) == 1 else {}


def _rescaling(model: Any) -> tuple[list[tuple[str, Any]], int]:
    """Returns the operations between the image and the first other one, and the tensor that comes of them."""
    graph = model.subgraphs[0]
    found, tensor = [], graph.inputs[0]
    while (reader := _only_reader(model, tensor)) and reader[0] in STEPS:
        name, operator = reader
        value, channels = constant(model, graph, operator, 1), graph.tensors[tensor].shape[-1]
        fused = getattr(operator.builtinOptions, "fusedActivationFunction", 0)
        if operator.inputs[0] != tensor or value is None or value.size not in (1, channels) or fused:
            break
        if value.size > 1 and value.shape[-1] != channels:
            break
        found.append(reader)
        tensor = operator.outputs[0]
    return found, tensor


def _convolution(model: Any, tensor: int) -> Any:
    """Returns the convolution that alone reads a tensor, or its padding with zeros; None where there is none."""
    reader = _only_reader(model, tensor)
    if reader and reader[0] == "PAD":
        reader = _only_reader(model, reader[1].outputs[0])
    if reader is None or reader[0] != "CONV_2D":
        return None
    graph, convolution = model.subgraphs[0], reader[1]
    weights, bias = constant(model, graph, convolution, 1), constant(model, graph, convolution, 2)
    is_whole = weights is not None and weights.shape[-1] == graph.tensors[convolution.inputs[0]].shape[-1]
    return convolution if is_whole and bias is not None else None


def _only_reader(model: Any, tensor: int) -> tuple[str, Any] | None:
    graph = model.subgraphs[0]
    readers = [(name, operator) for name, operator in operations(model, graph) if tensor in operator.inputs]
    return readers[0] if len(readers) == 1 and tensor not in graph.outputs else None


def _keep_subtraction(model: Any, operators: list[Any], edge: float) -> None:
    """Puts the subtraction of a gray level in the place of the operations, or nothing where it is 0."""
    graph = model.subgraphs[0]
    last = operators[-1]
    result = last.outputs[0]
    graph.operators = [op for op in graph.operators if not any(op is other for other in operators)]
    if edge:
        level = np.array([edge], np.float32)
        graph.operators.insert(0, tflite_objects.with_constant(model, "SUB", graph.inputs[0], level, result))
        return
    for operator in graph.operators:
        operator.inputs = [graph.inputs[0] if i == result else i for i in operator.inputs]
