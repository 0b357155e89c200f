"""Checks of a .tflite file that its runtime leaves out, on which it would end the process or not return.

The runtime verifies that the flatbuffer is whole; that the numbers within make sense it does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from mobilenet_tf.inference.tflite_schema import operators, tflite_schema

MAX_ELEMENTS = 2**28  # of one tensor; the largest of a MobileNet for 2048x2048 pixels has 2**27
MAX_RATIO = 2.0**8  # of what a quantized operation computes to one step of its output; XNNPACK ends the process above
MIN_RATIO = 2.0**-32
PRODUCTS = {  # whose two inputs multiply
    *("BATCH_MATMUL", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL", "TRANSPOSE_CONV"),
}
INDICES = {"TRANSPOSE_CONV": (2, 1)}  # of those two, where they are not the first
FIXED = {"LOGISTIC", "LOG_SOFTMAX", "SOFTMAX", "TANH"}  # whose outputs have one range, whatever that of the input is
QUANTIZED = ("INT8", "UINT8", "INT16", "INT4")


def check(content: bytes) -> None:
    """Raises ValueError with the reason for a model, verified already, that no runtime can run; see the constants."""
    model = tflite_schema().Model.GetRootAs(content, 0)
    try:
        names = operators(model)
        types = {value: name for name, value in vars(tflite_schema().TensorType).items()}
        for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
            tensors = [graph.Tensors(i) for i in range(graph.TensorsLength())]
            for number, tensor in enumerate(tensors):
                _check_tensor(number, tensor, types[tensor.Type()])
            scales = [_scale(tensor, types[tensor.Type()]) for tensor in tensors]
            for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
                _check_operator(names[operator.OpcodeIndex()], operator, scales)
    except (AttributeError, IndexError, KeyError, TypeError) as error:  # a part that is missing, or an index too large
        raise ValueError(f"a model with parts that are not there ({error})") from None


def _check_tensor(number: int, tensor: Any, kind: str) -> None:
    shape = tensor.ShapeAsNumpy().tolist() if tensor.ShapeLength() else []
    if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"tensor {number} of shape {shape}")
    quantization = tensor.Quantization()
    count = quantization.ScaleLength() if quantization and kind in QUANTIZED else 0
    if not count:
        return
    axis = quantization.QuantizedDimension()
    if count > 1 and not (0 <= axis < len(shape) and shape[axis] == count):
        raise ValueError(f"tensor {number} of shape {shape} with {count} scales")
    scales = quantization.ScaleAsNumpy()
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        raise ValueError(f"tensor {number} with a scale that is no positive number")
    zeros = quantization.ZeroPointAsNumpy() if quantization.ZeroPointLength() else np.zeros(0, np.int64)
    if np.abs(zeros).max(initial=0) > 2**15:
        raise ValueError(f"tensor {number} with zero point {np.abs(zeros).max()}")


def _scale(tensor: Any, kind: str) -> tuple[float, float] | None:
    """Returns the smallest and largest scale of a quantized tensor, None of another."""
    quantization = tensor.Quantization()
    if kind not in QUANTIZED or not quantization or not quantization.ScaleLength():
        return None
    scales = quantization.ScaleAsNumpy()
    return float(scales.min()), float(scales.max())


def _check_operator(name: str, operator: Any, scales: list) -> None:
    inputs = operator.InputsAsNumpy().tolist() if operator.InputsLength() else []
    outputs = operator.OutputsAsNumpy().tolist() if operator.OutputsLength() else []
    if any(not -1 <= index < len(scales) for index in (*inputs, *outputs)):
        raise ValueError(f"{name} of a tensor that is not there")
    output = scales[outputs[0]] if outputs else None
    if output is None:
        return
    for low, high in _computed(name, [scales[index] if index >= 0 else None for index in inputs]):
        if not (low / output[1] >= MIN_RATIO and high / output[0] < MAX_RATIO):
            raise ValueError(f"{name} with scales from {low:.3g} to {high:.3g} for an output of scale {output[0]:.3g}")


def _computed(name: str, inputs: list) -> Iterator[tuple[float, float]]:
    """Yields the smallest and largest steps of what an operation computes, before it becomes its output."""
    if name in PRODUCTS:
        first, second = INDICES.get(name, (0, 1))
        if len(inputs) > max(first, second) and inputs[first] and inputs[second]:
            (a, b), (c, d) = inputs[first], inputs[second]
            yield a * c, b * d
    elif name not in FIXED:
        yield from (scale for scale in inputs if scale)
