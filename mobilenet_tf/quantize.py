"""Full int8 quantisation by calibration, and the layers that lose the most by it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.util import modify_model_io_type

IO_TYPES = {"float32": tf.float32, "int8": tf.int8, "uint8": tf.uint8}
EXAMINED = 50  # calibration images that the layers are compared on

Examples = Callable[[], Iterator[list[np.ndarray]]]  # () -> [image [1, H, W, 3]] after [image], float32


@dataclass(frozen=True)
class Layer:
    """What quantisation does to one layer's output, given the float output of the layers before it."""

    name: str  # of the tensor
    op: str
    error: float  # root mean square, in quantisation steps; rounding alone makes 0.29


def int8(converter: Any, examples: Examples, inputs: str, outputs: str, float_layers: int = 0) -> bytes:
    """Quantises weights by channel and activations by the ranges that the examples have.

    Args:
        converter: a tf.lite.TFLiteConverter.
        inputs, outputs: the types of the file's inputs and outputs, keys of IO_TYPES.
        float_layers: so many of the layers that lose the most stay in float32: often one or two of a MobileNet lose
            nearly all that is lost, its first depthwise convolutions.
    """
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = examples
    if not float_layers:
        converter.inference_input_type, converter.inference_output_type = IO_TYPES[inputs], IO_TYPES[outputs]
        return converter.convert()
    debugger = _debugger(converter, examples)
    names = [layer.name for layer in _sensitivity(debugger)[:float_layers]]
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=names)
    return modify_model_io_type(debugger.get_nondebug_quantized_model(), IO_TYPES[inputs], IO_TYPES[outputs])


def _debugger(converter, examples):
    def some():
        for _, example in zip(range(EXAMINED), examples(), strict=False):
            yield example

    return tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=some)


def _sensitivity(debugger) -> list[Layer]:
    """The layers of a converter's network, those that lose the most first, without the one that reads the input."""
    debugger.run()
    file = io.StringIO()
    debugger.layer_statistics_dump(file)
    rows = list(csv.DictReader(io.StringIO(file.getvalue())))  # in the order of the graph
    layers = [
        Layer(row["tensor_name"], row["op_name"], math.sqrt(float(row["mean_squared_error"])) / float(row["scale"]))
        for row in rows[1:]
        if float(row["scale"]) > 0
    ]
    return sorted(layers, key=lambda layer: -layer.error)
