"""Quantisation by calibration, to int8 and to int8 weights with int16 activations; what each layer loses by int8."""

from __future__ import annotations

import csv
import difflib
import fnmatch
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.util import modify_model_io_type

from mobilenet_tf.inference.artifact import POST_PROCESS
from mobilenet_tf.inference.tflite import operators
from mobilenet_tf.utils.errors import UserError

IO_TYPES = {"float32": tf.float32, "int8": tf.int8, "uint8": tf.uint8}
FLOAT_ENDS = {"DEQUANTIZE", "SOFTMAX", "LOGISTIC", POST_PROCESS}  # what may follow a network in float32
EXAMINED = 50  # calibration images that the layers are compared on

Examples = Callable[..., Iterator[list[np.ndarray]]]  # (stage, count) -> [image [1, H, W, 3]] after [image]
FloatLayers = int | Sequence[str]  # so many of those that lose the most, or patterns of layers' names


def int8(converter: Any, examples: Examples, inputs: str, outputs: str, float_layers: FloatLayers = 0) -> bytes:
    """Quantises weights by channel and activations by the ranges that the examples have.

    Args:
        converter: a tf.lite.TFLiteConverter.
        inputs, outputs: the types of the file's inputs and outputs, keys of IO_TYPES.
        float_layers: what stays in float32. A number: so many of the layers that lose the most; often one or two of a
            MobileNet lose nearly all that is lost, its first depthwise convolutions. Or names of layers, in which "*"
            and "?" stand for any letters and any letter, or of the tensors in a `LayerError`.

    Raises UserError for a pattern that no layer's name fits.
    """
    _calibrate(converter, examples, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
    if not float_layers:
        converter.inference_input_type, converter.inference_output_type = IO_TYPES[inputs], IO_TYPES[outputs]
        return converter.convert()
    by_number = isinstance(float_layers, int)
    debugger = _debugger(converter, examples, EXAMINED if by_number else 1)
    errors = _errors(debugger)
    chosen = _worst_first(errors)[:float_layers] if by_number else _named(errors, float_layers)
    names = [error.tensor for error in chosen]
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=names)
    return modify_model_io_type(debugger.get_nondebug_quantized_model(), IO_TYPES[inputs], IO_TYPES[outputs])


def int16(converter: Any, examples: Examples) -> bytes:
    """Weights in int8 by channel, activations in int16; inputs and outputs are float32.

    What TFLite has no such kernel for stays in float32: V3's hard-swish, the post-processing of detectors.
    """
    int16_weights_int8 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    _calibrate(converter, examples, int16_weights_int8, tf.lite.OpsSet.TFLITE_BUILTINS)
    return converter.convert()


@dataclass(frozen=True)
class LayerError:
    """What int8 makes of one operation, given the float outputs of those before it."""

    layers: tuple[str, ...]  # of the Keras model, those that are fused in the operation; the convolution comes last
    operation: str
    steps: float  # root mean square of its error in steps of its int8; rounding alone makes 0.29
    tensor: str  # its output's name in the file

    @property
    def layer(self) -> str:
        """The one to call it by."""
        return self.layers[-1]


def layer_errors(converter: Any, examples: Examples) -> list[LayerError]:
    """Of every operation that has a choice, the largest error first; not of the one that reads the input."""
    _calibrate(converter, examples, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
    return _worst_first(_errors(_debugger(converter, examples, EXAMINED)))


def trained(converter: Any, inputs: str, outputs: str) -> bytes:
    """Quantises a network that was trained for it, by the ranges it has found; arguments as in `int8`.

    Raises UserError where the converter has left a layer in float32, which it does in silence.
    """
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = converter.convert()
    left = _float_operations(content)
    if left:
        raise UserError(f"every operation of the network must become int8. Received: float32 in {', '.join(left)}")
    return modify_model_io_type(content, IO_TYPES[inputs], IO_TYPES[outputs])


def _float_operations(content: bytes) -> list[str]:
    """The operations of a .tflite model that compute in float32, each with the name of its output."""
    model = schema.Model.GetRootAs(content, 0)
    names, graph = operators(model), model.Subgraphs(0)
    found = []
    for i in range(graph.OperatorsLength()):
        name, output = names[graph.Operators(i).OpcodeIndex()], graph.Tensors(graph.Operators(i).Outputs(0))
        if output.Type() == schema.TensorType.FLOAT32 and name not in FLOAT_ENDS:
            found.append(f"{name} {output.Name().decode()}")
    return found


def _calibrate(converter, examples, *operations):
    """Sets a converter to quantise by the examples into these sets of operations, the first that has one."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = list(operations)
    converter.representative_dataset = examples


def _debugger(converter, examples, count):
    some = partial(examples, "comparing the layers", count)
    return tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=some)


def _errors(debugger) -> list[LayerError]:
    """In the order of the graph."""
    debugger.run()
    table = io.StringIO()
    debugger.layer_statistics_dump(table)
    table.seek(0)
    rows = [row for row in csv.DictReader(table) if float(row["scale"]) > 0]
    return [
        LayerError(
            _layers(row["tensor_name"]),
            row["op_name"],
            math.sqrt(float(row["mean_squared_error"])) / float(row["scale"]),
            row["tensor_name"],
        )
        for row in rows
    ]


def _layers(tensor: str) -> tuple[str, ...]:
    """The layers in a tensor's name, "model_1/backbone_1/bn_1/mul;model_1/backbone_1/conv_1/Conv2D" -> ("bn", "conv").

    Keras opens each layer's scope a second time for the call, for which TensorFlow counts it on.
    """
    paths = [part.split("/") for part in tensor.split(";")]
    names = [re.sub(r"_\d+$", "", path[-2]) for path in paths if len(path) > 1]
    return tuple(dict.fromkeys(names)) or (tensor,)


def _worst_first(errors: list[LayerError]) -> list[LayerError]:
    return sorted(errors[1:], key=lambda error: -error.steps)


def _named(errors: list[LayerError], patterns: Sequence[str]) -> list[LayerError]:
    known, tensors = {name: None for error in errors for name in error.layers}, {error.tensor for error in errors}
    for pattern in patterns:
        if not fnmatch.filter(known, pattern) and pattern not in tensors:
            near = difflib.get_close_matches(pattern.strip("*"), known, n=3, cutoff=0.3)
            such = ", ".join(near or [error.layer for error in errors[:3]])
            raise UserError(f"float_layers must name layers, such as {such}. Received: {pattern}")
    return [
        error
        for error in errors
        if error.tensor in patterns or any(fnmatch.filter(error.layers, pattern) for pattern in patterns)
    ]
