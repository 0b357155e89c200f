"""Rounds the weights of a float .tflite file to few levels such that its outputs change least. No TensorFlow here.

Rounded to the nearest of 15 levels, the weights of a MobileNetV1 leave nothing of its accuracy. Here the error of each
weight is made up for by the weights that are not rounded yet (GPTQ, algorithm 1 of Frantar et al. 2022,
arXiv:2210.17323), and what is left of it on average by the bias (Nagel et al. 2019, arXiv:1906.04721, section 4.2).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mobilenet_tf.export import tflite_objects
from mobilenet_tf.export.tflite_objects import constant, operations
from mobilenet_tf.inference.tflite_schema import tflite_schema
from mobilenet_tf.utils.console import quiet

OPERATIONS = ("CONV_2D", "FULLY_CONNECTED")
MIN_WEIGHTS = 1024  # fewer stay as they are
MAX_INPUTS = 4096  # weights of one output; of more, the matrix of their products would be too large
IMAGES, POSITIONS = 64, 128  # images that are looked at, and positions in each
CLIPPING = np.linspace(1, 0.3, 36)  # shares of the largest weight of a channel that are tried as the last level
DAMPING = 0.01  # of the mean diagonal of the matrix of products, for its inverse
BLOCK = 64  # weights whose errors are passed on together

Say = Callable[[str], None]


@dataclass
class Layer:
    """An operation and what is known of its inputs: one row for each position of an output."""

    operator: Any
    name: str  # of the tensor of weights
    weights: np.ndarray  # [outputs, inputs]
    kernel: tuple[int, int]  # height, width of a convolution
    rows: int = 0
    total: Any = 0.0  # sum of the rows
    products: Any = 0.0  # sum of their outer products

    def add(self, rows: np.ndarray) -> None:
        """Takes [positions, inputs] into account."""
        self.rows += len(rows)
        self.total = self.total + rows.sum(0)
        self.products = self.products + rows.T @ rows


def round_weights(
    model: Any, images: Sequence[np.ndarray], levels: int, say: Say = lambda text: None
) -> dict[str, tuple[str, np.ndarray]]:
    """Rounds the weights of convolutions and dense layers in place, each output channel to -levels..levels of a step.

    Args:
        model: a ModelT in float32 with one input, see `tflite_objects.unpacked`.
        images: float32 [H, W, C], as the model takes them; the first `IMAGES` are used.
        levels: 7 for int4.

    Returns:
        {output tensor of an operation: (its weights' tensor, the absolute value of each channel's last level, in a
        shape that broadcasts to the weights)} of the operations whose weights are rounded now. Convolutions in groups,
        weights that several operations share, and small or very large ones are left as they are.
    """
    layers = _layers(model)
    _observe(model, layers, images[:IMAGES], say)
    done = {}
    for number, layer in enumerate(layers, 1):
        say(f"rounding the weights of layer {number} of {len(layers)}")
        mean, products = layer.total / layer.rows, layer.products / layer.rows
        step = _steps(layer.weights, levels, np.diag(products))
        rounded = _gptq(layer.weights, products, step, levels)
        graph = model.subgraphs[0]
        weights = graph.tensors[layer.operator.inputs[1]]
        _store(model, weights, rounded)
        bias = constant(model, graph, layer.operator, 2)
        if bias is not None:
            _store(model, graph.tensors[layer.operator.inputs[2]], bias + (layer.weights - rounded) @ mean)
        shape = [len(step)] + [1] * (len(weights.shape) - 1)
        output = graph.tensors[layer.operator.outputs[0]].name.decode()
        done[output] = (layer.name, (step * levels).reshape(shape).astype(np.float32))
    return done


def _layers(model: Any) -> list[Layer]:
    """Returns the operations whose weights are worth it, and whose inputs can be looked at."""
    found = []
    graph = model.subgraphs[0]
    uses = Counter(graph.tensors[i].buffer for op in graph.operators for i in op.inputs if i >= 0)
    for name, operator in operations(model, graph):
        weights = constant(model, graph, operator, 1) if name in OPERATIONS else None
        if weights is None or weights.size < MIN_WEIGHTS:
            continue
        tensor, source = graph.tensors[operator.inputs[1]], graph.tensors[operator.inputs[0]]
        matrix = weights.reshape(len(weights), -1)
        is_grouped = name == "CONV_2D" and weights.shape[-1] != source.shape[-1]
        if uses[tensor.buffer] == 1 and matrix.shape[1] <= MAX_INPUTS and not is_grouped:
            kernel = weights.shape[1:3] if name == "CONV_2D" else (1, 1)
            found.append(Layer(operator, tensor.name.decode(), matrix.astype(np.float64), kernel))
    return found


# What the inputs of layers are


def _observe(model: Any, layers: list[Layer], images: Sequence[np.ndarray], say: Say) -> None:
    """Runs the model on the images and adds to each layer the inputs at some positions of its output."""
    from ai_edge_litert.interpreter import Interpreter

    graph, random = model.subgraphs[0], np.random.default_rng(0)
    with quiet(), warnings.catch_warnings(action="ignore"):
        interpreter = Interpreter(
            model_content=tflite_objects.packed(model), num_threads=2, experimental_preserve_all_tensors=True
        )
        interpreter.allocate_tensors()
    for count, image in enumerate(images, 1):
        say(f"looking at image {count} of {len(images)}")
        interpreter.set_tensor(graph.inputs[0], np.ascontiguousarray(image, np.float32)[None])
        interpreter.invoke()
        for layer in layers:
            source = interpreter.get_tensor(layer.operator.inputs[0])
            size = interpreter.get_tensor(layer.operator.outputs[0]).shape
            layer.add(_rows(layer, source, size, random).astype(np.float64))


def _rows(layer: Layer, source: np.ndarray, size: Sequence[int], random: np.random.Generator) -> np.ndarray:
    """Returns the inputs [positions, inputs] at random positions of an output of that size."""
    options, inputs = layer.operator.builtinOptions, layer.weights.shape[1]
    if len(size) != 4 or source.ndim != 4 or not hasattr(options, "strideH"):
        rows = source.reshape(-1, inputs)
        return rows[random.permutation(len(rows))[:POSITIONS]]
    places = random.permutation(size[1] * size[2])[:POSITIONS]
    return _patches(source[0], places, size, layer.kernel, options)


def _patches(image: np.ndarray, places: np.ndarray, size: Sequence[int], kernel: tuple, options: Any) -> np.ndarray:
    """Returns the inputs of a convolution [places, kernel height * width * channels] at places of its output."""
    same = options.padding == tflite_schema().Padding.SAME
    strides, dilations = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    indices, padding = [], []
    for place, axis in zip(np.divmod(places, size[2]), (0, 1), strict=True):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        missing = max((size[axis + 1] - 1) * strides[axis] + reach - image.shape[axis], 0) if same else 0
        padding.append((missing // 2, missing - missing // 2))
        indices.append(place[:, None] * strides[axis] + np.arange(kernel[axis]) * dilations[axis])
    padded = np.pad(image, [*padding, (0, 0)])
    patches = padded[indices[0][:, :, None], indices[1][:, None, :]]
    return patches.reshape(len(places), -1)


# Rounding


def _steps(weights: np.ndarray, levels: int, importance: np.ndarray) -> np.ndarray:
    """Returns the step of each output channel [outputs, 1] that makes the smallest error, by importance of inputs."""
    most = np.maximum(np.abs(weights).max(1, keepdims=True), 1e-9)
    best, smallest = most, np.full_like(most, np.inf)
    for share in CLIPPING:
        step = most * share / levels
        error = ((_nearest(weights, step, levels) - weights) ** 2 * importance).sum(1, keepdims=True)
        best, smallest = np.where(error < smallest, step, best), np.minimum(error, smallest)
    return best


def _nearest(weights: np.ndarray, step: np.ndarray, levels: int) -> np.ndarray:
    return np.round(weights / step).clip(-levels, levels) * step


def _gptq(weights: np.ndarray, products: np.ndarray, step: np.ndarray, levels: int) -> np.ndarray:
    """Returns the weights [outputs, inputs] rounded one input after the other, the most important first.

    products: [inputs, inputs], the mean outer product of the inputs.
    """
    order = np.argsort(-np.diag(products), kind="stable")
    damped = products + np.eye(len(products)) * (DAMPING * np.diag(products).mean() + 1e-12)
    passes = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T  # upper triangular
    left, rounded = weights[:, order].copy(), np.empty_like(weights)
    for start in range(0, len(order), BLOCK):
        end = min(start + BLOCK, len(order))
        errors = np.empty((len(weights), end - start))
        for i in range(start, end):
            column = left[:, i : i + 1]
            rounded[:, i : i + 1] = _nearest(column, step, levels)
            errors[:, i - start] = (column - rounded[:, i : i + 1])[:, 0] / passes[i, i]
            left[:, i + 1 : end] -= errors[:, i - start : i - start + 1] * passes[i, i + 1 : end]
        left[:, end:] -= errors @ passes[start:end, end:]
    return rounded[:, np.argsort(order)]


def _store(model: Any, tensor: Any, values: np.ndarray) -> None:
    """Gives a constant other values, in a buffer of its own."""
    buffer = tflite_schema().BufferT(values.astype(np.float32).reshape(-1).view(np.uint8))
    if sum(other.buffer == tensor.buffer for graph in model.subgraphs for other in graph.tensors) > 1:
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    else:
        model.buffers[tensor.buffer] = buffer
