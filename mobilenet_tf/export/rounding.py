"""Rounds the weights of a float .tflite file to few levels such that its outputs change least. No TensorFlow here.

Rounded to the nearest of 15 levels, the weights of a MobileNetV1 leave nothing of its accuracy. Here the error of each
weight is made up for by the weights that are not rounded yet (GPTQ, algorithm 1 of Frantar et al. 2022,
arXiv:2210.17323), and what is left of it on average by the bias (Nagel et al. 2019, arXiv:1906.04721, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mobilenet_tf.export import tflite_objects
from mobilenet_tf.export.tflite_objects import constant, operations
from mobilenet_tf.inference.tflite_schema import tflite_schema

IMAGES, POSITIONS = 32, 128  # images that are looked at, and the most positions in each
POSITIONS_PER_INPUT = 4  # so many are enough where outputs have few inputs
TOGETHER = 2**20  # numbers whose products are computed at once
CLIPPING = np.linspace(1, 0.3, 36)  # shares of the largest weight of a channel that are tried as the last level
DAMPING = 0.01  # of the mean diagonal of the matrix of products, for its inverse
BLOCK = 64  # weights whose errors are passed on together
MIN_SHARE = 2.0**-16  # of the last level of a channel in the largest of its layer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Rounding:
    """To how many levels which weights are rounded."""

    levels: int  # on either side of 0
    operations: tuple[str, ...] = ("CONV_2D", "FULLY_CONNECTED")
    min_weights: int = 0  # fewer in a layer stay as they are
    max_inputs: int = 4096  # weights of one output; of more, the matrix of their products would be too large


@dataclass
class Layer:
    """An operation and what is known of its inputs: in each group, one row for each position of an output."""

    operator: Any
    name: str  # of the operation
    weights: np.ndarray  # [groups, outputs, inputs]
    kernel: tuple[int, int]  # height, width of a convolution
    rows: int = 0
    total: Any = 0.0  # sum of the rows
    products: Any = 0.0  # sum of their outer products
    waiting: list[np.ndarray] = field(default_factory=list)  # rows that are not in the sums yet

    @property
    def is_depthwise(self) -> bool:
        """Whether each input channel is a group of its own, with an input for each tap."""
        return self.name == "DEPTHWISE_CONV_2D"

    def add(self, rows: np.ndarray) -> None:
        """Takes [groups, positions, inputs] into account; the sums have it after `finish`."""
        self.waiting.append(rows)
        if sum(waiting.size for waiting in self.waiting) >= TOGETHER:
            self.finish()

    def finish(self) -> None:
        """Adds the rows that wait to the sums."""
        if self.waiting:
            rows, self.waiting = np.ascontiguousarray(np.concatenate(self.waiting, 1)), []
            self.rows += rows.shape[1]
            self.total = self.total + rows.sum(1, np.float64)
            self.products = self.products + np.matmul(rows.transpose(0, 2, 1), rows).astype(np.float64)


def round_weights(
    model: Any, images: Sequence[np.ndarray], wanted: Rounding, say: Say = lambda text: None
) -> dict[str, tuple[str, np.ndarray]]:
    """Rounds the weights of operations in place, each output channel to -levels..levels of a step.

    Args:
        model: a ModelT in float32 with one input, see `tflite_objects.unpacked`.
        images: float32 [H, W, C], as the model takes them; the first `IMAGES` are used.

    Returns:
        {output tensor of an operation: (its weights' tensor, the absolute value of each channel's last level, in a
        shape that broadcasts to the weights)} of the operations whose weights are rounded now. Convolutions in groups
        and weights that several operations share are left as they are.
    """
    layers = _layers(model, wanted)
    _observe(model, layers, images[:IMAGES], say)
    done, graph = {}, model.subgraphs[0]
    for number, layer in enumerate(layers, 1):
        say(f"rounding the weights of layer {number} of {len(layers)}")
        mean, products = layer.total / layer.rows, layer.products / layer.rows
        step = _steps(layer.weights, wanted.levels, products.diagonal(axis1=1, axis2=2)[:, None])
        rounded = _gptq(layer.weights, products, step, wanted.levels)
        weights = graph.tensors[layer.operator.inputs[1]]
        tflite_objects.store(model, weights, _as_stored(rounded, layer, weights.shape))
        bias = constant(model, graph, layer.operator, 2)
        if bias is not None:
            shift = ((layer.weights - rounded) @ mean[:, :, None]).reshape(bias.shape)
            tflite_objects.store(model, graph.tensors[layer.operator.inputs[2]], bias + shift)
        shape = [1] * len(weights.shape)
        shape[-1 if layer.is_depthwise else 0] = step.size
        output = graph.tensors[layer.operator.outputs[0]].name.decode()
        done[output] = (weights.name.decode(), (step * wanted.levels).reshape(shape).astype(np.float32))
    return done


def _layers(model: Any, wanted: Rounding) -> list[Layer]:
    """Returns the operations whose weights are to be rounded, and whose inputs can be looked at."""
    found = []
    graph = model.subgraphs[0]
    uses = tflite_objects.buffer_uses(graph)
    for name, operator in operations(model, graph):
        weights = constant(model, graph, operator, 1) if name in wanted.operations else None
        if weights is None or weights.size < wanted.min_weights or uses[graph.tensors[operator.inputs[1]].buffer] > 1:
            continue
        channels = graph.tensors[operator.inputs[0]].shape[-1]
        if name == "DEPTHWISE_CONV_2D":
            matrix = weights.reshape(-1, channels, weights.shape[-1] // channels).transpose(1, 2, 0)
        elif name == "CONV_2D" and weights.shape[-1] != channels:
            continue  # in groups
        else:
            matrix = weights.reshape(1, len(weights), -1)
        kernel = weights.shape[1:3] if weights.ndim == 4 else (1, 1)
        if matrix.shape[2] <= wanted.max_inputs:
            found.append(Layer(operator, name, matrix.astype(np.float64), kernel))
    return found


def _as_stored(weights: np.ndarray, layer: Layer, shape: Sequence[int]) -> np.ndarray:
    """Returns [groups, outputs, inputs] in the shape that the operation has its weights in."""
    return (weights.transpose(2, 0, 1) if layer.is_depthwise else weights).reshape(shape)


# What the inputs of layers are


def _observe(model: Any, layers: list[Layer], images: Sequence[np.ndarray], say: Say) -> None:
    """Runs the model on the images and adds to each layer the inputs at some positions of its output."""
    random, sizes = np.random.default_rng(0), {}
    for interpreter in tflite_objects.runs(model, images, say, "looking at"):
        sizes = sizes or {detail["index"]: detail["shape"] for detail in interpreter.get_tensor_details()}
        for layer in layers:
            source = interpreter.get_tensor(layer.operator.inputs[0])
            size = sizes[layer.operator.outputs[0]]
            layer.add(_rows(layer, source, size, random))
    for layer in layers:
        layer.finish()


def _rows(layer: Layer, source: np.ndarray, size: Sequence[int], random: np.random.Generator) -> np.ndarray:
    """Returns the inputs [groups, positions, inputs] at random positions of an output of that size."""
    inputs = layer.weights.shape[2]
    most = min(POSITIONS, POSITIONS_PER_INPUT * inputs)
    if layer.name == "FULLY_CONNECTED":
        rows = source.reshape(1, -1, inputs)
        return rows[:, random.permutation(rows.shape[1])[:most]]
    places = random.permutation(size[1] * size[2])[:most]
    patches = _patches(source[0], places, size, layer.kernel, layer.operator.builtinOptions)
    if layer.is_depthwise:
        return patches.reshape(len(places), -1, source.shape[-1]).transpose(2, 0, 1)
    return patches.reshape(1, len(places), -1)


def _patches(image: np.ndarray, places: np.ndarray, size: Sequence[int], kernel: tuple, options: Any) -> np.ndarray:
    """Returns the inputs of a convolution [places, kernel height, kernel width, channels] at places of its output."""
    same = options.padding == tflite_schema().Padding.SAME
    strides, dilations = (options.strideH, options.strideW), (options.dilationHFactor, options.dilationWFactor)
    indices, padding = [], []
    for place, axis in zip(np.divmod(places, size[2]), (0, 1), strict=True):
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        missing = max((size[axis + 1] - 1) * strides[axis] + reach - image.shape[axis], 0) if same else 0
        padding.append((missing // 2, missing - missing // 2))
        indices.append(place[:, None] * strides[axis] + np.arange(kernel[axis]) * dilations[axis])
    padded = np.pad(image, [*padding, (0, 0)])
    return padded[indices[0][:, :, None], indices[1][:, None, :]]


# Rounding; weights are [groups, outputs, inputs]


def _steps(weights: np.ndarray, levels: int, importance: np.ndarray) -> np.ndarray:
    """Returns the step of each output [groups, outputs, 1] that makes the smallest error, by importance of inputs."""
    most = np.abs(weights).max(2, keepdims=True)
    most = np.maximum(most, max(float(most.max()) * MIN_SHARE, 1e-9))
    best, smallest = most, np.full_like(most, np.inf)
    for share in CLIPPING:
        step = most * share / levels
        error = ((_nearest(weights, step, levels) - weights) ** 2 * importance).sum(2, keepdims=True)
        best, smallest = np.where(error < smallest, step, best), np.minimum(error, smallest)
    return best


def _nearest(weights: np.ndarray, step: np.ndarray, levels: int) -> np.ndarray:
    return np.round(weights / step).clip(-levels, levels) * step


def _gptq(weights: np.ndarray, products: np.ndarray, step: np.ndarray, levels: int) -> np.ndarray:
    """Returns the weights rounded one input after the other, the most important first.

    products: [groups, inputs, inputs], the mean outer product of the inputs.
    """
    diagonal = products.diagonal(axis1=1, axis2=2)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    damping = DAMPING * diagonal.mean(1) + 1e-12
    damped = products + np.eye(products.shape[1]) * damping[:, None, None]
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None], 2)
    passes = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)  # upper triangular
    left = np.take_along_axis(weights, order[:, None], 2)
    rounded, inputs = np.empty_like(left), left.shape[2]
    for start in range(0, inputs, BLOCK):
        end = min(start + BLOCK, inputs)
        errors = np.empty((*left.shape[:2], end - start))
        for i in range(start, end):
            column = left[:, :, i : i + 1]
            rounded[:, :, i : i + 1] = _nearest(column, step, levels)
            error = (column - rounded[:, :, i : i + 1]) / passes[:, None, i, i : i + 1]
            left[:, :, i + 1 : end] -= error * passes[:, None, i, i + 1 : end]
            errors[:, :, i - start : i - start + 1] = error
        left[:, :, end:] -= errors @ passes[:, start:end, end:]
    return np.take_along_axis(rounded, np.argsort(order, axis=1)[:, None], 2)
