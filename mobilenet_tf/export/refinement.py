"""Prepares a float .tflite file for int8 by images without labels. No TensorFlow here.

What int8 costs a MobileNet is the error of the weights of its first layers and the error of activations of which single
values stretch the range. So, in this order:

1. gray levels go in as they are: the rescaling of the image becomes part of the first convolution, since a level of
   -1..1 is none of int8's and its error is amplified most;
2. channels are equalized (`equalization`);
3. weights are rounded such that the outputs of their layer change least, and biases take up what is left on average
   (`rounding`);
4. activations get ranges that leave out one value in ten thousand, but not where only outputs follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mobilenet_tf.export import first_layer, rounding, tflite_objects
from mobilenet_tf.export.equalization import equalize
from mobilenet_tf.export.rounding import Rounding
from mobilenet_tf.export.tflite_objects import constant, operations
from mobilenet_tf.inference.tflite_schema import tflite_schema

PERCENTILE = 99.99  # of the values of a tensor; its range ends there
IMAGES = 100  # that are looked at
SAMPLES = 1000  # values of each tensor in each image, from which percentiles are computed
GRAY_LEVELS = 255.0
WEIGHTS = Rounding(127, ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), max_inputs=1300)
LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}
SAME_RANGE = {"PAD", "RESHAPE", "SQUEEZE", "TRANSPOSE", "EXPAND_DIMS"}  # their outputs have the range of their input

Say = Callable[[str], None]


@dataclass
class Seen:
    """What values a tensor has on the images. low, high: of each channel."""

    low: Any = np.inf
    high: Any = -np.inf
    values: list[np.ndarray] = field(default_factory=list)  # some of them
    channels: list[np.ndarray] = field(default_factory=list)  # the channels of these

    def add(self, tensor: np.ndarray, random: np.random.Generator) -> None:
        """Takes the values of one image into account."""
        channels = tensor.shape[-1] if tensor.ndim else 1
        rows = tensor.reshape(-1, channels)
        self.low, self.high = np.minimum(self.low, rows.min(0)), np.maximum(self.high, rows.max(0))
        places = np.arange(rows.size) if rows.size <= SAMPLES else random.integers(0, rows.size, SAMPLES)
        self.values.append(rows.reshape(-1)[places])
        self.channels.append((places % channels).astype(np.uint16))

    @property
    def highest(self) -> np.ndarray:
        """The largest absolute value of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))

    def range(self, factors: Any, percentile: float) -> tuple[float, float]:
        """Returns the range of the values, each multiplied by the factor of its channel; 0 is always in it."""
        low, high = float(np.min(self.low * factors)), float(np.max(self.high * factors))
        if percentile < 100:
            values = np.concatenate(self.values)
            if np.ndim(factors):
                values = values * factors[np.concatenate(self.channels)]
            ends = np.percentile(values, [100 - percentile, percentile])
            low, high = max(low, float(ends[0])), min(high, float(ends[1]))
        return min(low, 0.0), max(high, 0.0)


def refined(
    content: bytes,
    images: Sequence[np.ndarray],
    say: Say = lambda text: None,
    *,
    is_rounded: bool = True,
    float_layers: Sequence[str] = (),
    percentile: float = PERCENTILE,
) -> bytes:
    """Returns a float .tflite file that computes the same, with weights and ranges that are good for int8.

    Args:
        content: a whole and verified file in float32 that takes images in 0..255.
        images: float32 [H, W, C] in 0..255; the first `IMAGES` are used.
        say: is told the current step.
        is_rounded: whether weights are rounded and biases corrected.
        float_layers: the outputs of layers that stay in float32, whose weights and biases are not.
        percentile: of the values of a tensor, at which its range ends, where a layer with weights follows.

    Raises RuntimeError or ValueError where LiteRT cannot run the file, or it computes NaN or infinity.
    """
    images, model = images[:IMAGES], tflite_objects.unpacked(content)
    first_layer.take_gray_levels(model)
    seen = _observe(model, images, say)
    say("equalizing channels")
    factors = equalize(model, {tensor: found.highest for tensor, found in seen.items()})
    if is_rounded:
        kept = _weights(model, float_layers)
        rounding.round_weights(model, images, WEIGHTS, say)
        for tensor, values in kept:
            tflite_objects.store(model, tensor, values)
    _set_ranges(model, seen, factors, percentile)
    return tflite_objects.packed(model)


def _observe(model: Any, images: Sequence[np.ndarray], say: Say) -> dict[int, Seen]:
    """Runs the model on the images and looks at all tensors that it computes."""
    random = np.random.default_rng(0)
    seen = {i: Seen() for i in _computed(model.subgraphs[0])}
    for interpreter in tflite_objects.runs(model, images, say, "calibrating on"):
        for tensor, found in seen.items():
            found.add(interpreter.get_tensor(tensor), random)
    if not all(np.isfinite(found.highest).all() for found in seen.values()):
        raise ValueError("the model must compute finite values")
    return seen


def _weights(model: Any, outputs: Sequence[str]) -> list[tuple[Any, np.ndarray]]:
    """Returns (tensor, values) of the float32 constants of the operations that put out tensors of these names."""
    graph = model.subgraphs[0]
    chosen = [op for op in graph.operators if graph.tensors[op.outputs[0]].name.decode() in outputs]
    pairs = [(op, number) for op in chosen for number in range(len(op.inputs))]
    found = [(graph.tensors[op.inputs[number]], constant(model, graph, op, number)) for op, number in pairs]
    return [(tensor, values.copy()) for tensor, values in found if values is not None]


def _computed(graph: Any) -> list[int]:
    """Returns the float32 tensors that operations put out."""
    found = (i for operator in graph.operators for i in operator.outputs if i >= 0)
    return [i for i in found if graph.tensors[i].type == tflite_schema().TensorType.FLOAT32]


def _set_ranges(model: Any, seen: dict[int, Seen], factors: dict[int, np.ndarray], percentile: float) -> None:
    graph, inside = model.subgraphs[0], _before_layers(model)
    ranges = {i: found.range(factors.get(i, 1.0), percentile if i in inside else 100) for i, found in seen.items()}
    ranges |= dict.fromkeys(graph.inputs, (0.0, GRAY_LEVELS))
    ranges |= first_layer.ranges(model)
    for name, operator in operations(model, graph):
        if name in SAME_RANGE and operator.inputs[0] in ranges:
            ranges[operator.outputs[0]] = ranges[operator.inputs[0]]
    for i, (low, high) in ranges.items():
        graph.tensors[i].quantization = tflite_schema().QuantizationParametersT(min=[low], max=[high])


def _before_layers(model: Any) -> set[int]:
    """Returns the tensors from which a layer with weights follows at any distance."""
    graph, found = model.subgraphs[0], set()
    for name, operator in reversed(list(operations(model, graph))):
        if name in LAYERS or not found.isdisjoint(operator.outputs):
            found |= set(operator.inputs)
    return found
