"""Quantization by calibration: int8, and int8 weights with int16 activations; the error that int8 makes by layer."""

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
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.util import modify_model_io_type

from mobilenet_tf.inference.tflite import POST_PROCESS
from mobilenet_tf.inference.tflite_schema import operators
from mobilenet_tf.utils.errors import UserError

FLOAT_ENDS = {"DEQUANTIZE", "SOFTMAX", "LOGISTIC", POST_PROCESS}  # operations after the network that may be in float32
COMPARED_IMAGES = 50  # calibration images on which the error of each layer is measured

Refine = Callable[..., bytes]  # `refinement.refined` with its images
Examples = Callable[..., Iterator[list[np.ndarray]]]  # (stage, count) -> an iterator over [image [1, H, W, 3]]
FloatLayers = int | Sequence[str]  # how many of the layers with the largest error, or patterns of layer names


def int8(
    converter: Any,
    examples: Examples,
    inputs: str,
    outputs: str,
    float_layers: FloatLayers = 0,
    refine: Refine | None = None,
) -> bytes:
    """Converts to int8: weights by channel, activations by the ranges that they have on the examples.

    Args:
        converter: a tf.lite.TFLiteConverter.
        inputs, outputs: the types of the file's inputs and outputs: "float32", "int8" or "uint8".
        float_layers: the layers that stay in float32. A number means so many of those with the largest error; in a
            MobileNet often one or two layers, its first depthwise convolutions, make nearly all of the error. A list
            holds names of layers, in which "*" stands for any characters and "?" for one, or the tensors of a
            `LayerError`.
        refine: prepares the float network, see `refinement.refined`; None: TensorFlow rounds each weight to the nearest
            level and takes ranges from the smallest to the largest value.

    Returns the content of a .tflite file. Raises UserError for a pattern that no layer's name matches.
    """
    prepared = _refined(converter, examples, refine) if not float_layers else None
    if prepared:
        content: Any = mlir_quantize(prepared)
        return _with_io_types(content, inputs, outputs)
    _calibrate(converter, examples, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
    if not float_layers:
        converter.inference_input_type, converter.inference_output_type = tf.as_dtype(inputs), tf.as_dtype(outputs)
        return converter.convert()
    debugger, names = _float_tensors(converter, examples, float_layers, refine)
    debugger.calibrated_model = _refined(converter, examples, refine, float_layers=names) or debugger.calibrated_model
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=names)
    return _with_io_types(debugger.get_nondebug_quantized_model(), inputs, outputs)


def float_tensors(converter: Any, examples: Examples, float_layers: FloatLayers) -> list[str]:
    """Returns the tensors that the layers which stay in float32 put out; arguments as for `int8`."""
    _calibrate(converter, examples, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
    return _float_tensors(converter, examples, float_layers)[1]


def _float_tensors(converter, examples, float_layers, refine=None):
    """Returns TensorFlow's debugger and the outputs of the layers that stay in float32."""
    by_number = isinstance(float_layers, int)
    debugger = _debugger(converter, examples, COMPARED_IMAGES if by_number else 1, refine)
    errors = _errors(debugger)
    chosen = _largest_first(errors)[:float_layers] if by_number else _named(errors, float_layers)
    return debugger, [error.tensor for error in chosen]


def _refined(converter: Any, examples: Examples, refine: Refine | None, **options: Any) -> bytes | None:
    """Returns the float file that TensorFlow's quantizer takes, refined; None where LiteRT alone cannot run it."""
    if refine is None:
        return None
    _calibrate(converter, partial(examples, "converting to TFLite", 1), tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
    converter._experimental_calibrate_only = True
    content = converter.convert()
    converter._experimental_calibrate_only = False
    try:
        return refine(content, **options)
    except (RuntimeError, ValueError):
        return None


def _with_io_types(content: bytes, inputs: str, outputs: str) -> bytes:
    """Changes the types of the inputs and outputs of a .tflite file that has them in float32."""
    types: list[Any] = [tf.as_dtype(inputs), tf.as_dtype(outputs)]
    return modify_model_io_type(content, *types)


def int16(converter: Any, examples: Examples) -> bytes:
    """Converts to int8 weights, by channel, and int16 activations; inputs and outputs stay float32.

    Operations for which TFLite has no such kernel stay in float32: V3's hard-swish, the post-processing of detectors.
    """
    int16_weights_int8 = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    _calibrate(converter, examples, int16_weights_int8, tf.lite.OpsSet.TFLITE_BUILTINS)
    return converter.convert()


@dataclass(frozen=True)
class LayerError:
    """The error that int8 makes in one operation whose inputs are exact."""

    layers: tuple[str, ...]  # the layers of the Keras model that are fused in the operation, the convolution last
    operation: str
    rms_lsb: float  # root mean square in LSB, the smallest difference of two int8 outputs; rounding alone makes 0.29
    tensor: str  # the name of its output in the file

    @property
    def layer(self) -> str:
        """The layer that the operation is named after, the convolution."""
        return self.layers[-1]


def layer_errors(converter: Any, examples: Examples, refine: Refine | None = None) -> list[LayerError]:
    """Returns the errors of all operations but the one that quantizes the input, the largest first.

    The arguments are those of `int8`.
    """
    _calibrate(converter, examples, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
    return _largest_first(_errors(_debugger(converter, examples, COMPARED_IMAGES, refine)))


def trained(converter: Any, inputs: str, outputs: str) -> bytes:
    """Converts a network from quantization-aware training to int8, by its own ranges; arguments as for `int8`.

    Raises UserError where the converter has left a layer in float32, of which it does not warn.
    """
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    content = converter.convert()
    remaining = _float_operations(content)
    if remaining:
        raise UserError(f"every operation of the network must become int8. Received: float32 in {', '.join(remaining)}")
    return _with_io_types(content, inputs, outputs)


def _float_operations(content: bytes) -> list[str]:
    """Returns the operations of a .tflite file that compute in float32, each with the name of its output."""
    model: Any = schema.Model.GetRootAs(content, 0)
    names, graph = operators(model), model.Subgraphs(0)
    operations = []
    for i in range(graph.OperatorsLength()):
        name, output = names[graph.Operators(i).OpcodeIndex()], graph.Tensors(graph.Operators(i).Outputs(0))
        if output.Type() == schema.TensorType.FLOAT32 and name not in FLOAT_ENDS:
            operations.append(f"{name} {output.Name().decode()}")
    return operations


def _calibrate(converter, examples, *operations):
    """Makes a converter quantize by the examples, to operations of these sets; earlier sets are preferred."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = list(operations)
    converter.representative_dataset = examples


def _debugger(converter, examples, count, refine=None):
    """Returns TensorFlow's comparison of the float and the int8 outputs of each operation on `count` examples.

    With `refine`, the network is refined before, but for its weights: rounded ones would show no error.
    """
    compared = partial(examples, "comparing the layers", count)
    prepared = _refined(converter, examples, refine, is_rounded=False)
    if prepared is None:
        converter.representative_dataset = examples
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=compared)
    if prepared:
        debugger.calibrated_model = prepared
        debugger.options = tf.lite.experimental.QuantizationDebugOptions()  # quantizes anew
    return debugger


def _errors(debugger) -> list[LayerError]:
    """Returns the errors of all operations in the order of the graph."""
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
    """Returns the layers in a tensor's name.

    An example: "model_1/backbone_1/bn_1/mul;model_1/backbone_1/conv_1/Conv2D" -> ("bn", "conv"). Keras opens each
    layer's scope a second time for the call, so TensorFlow appends a number to it.
    """
    paths = [part.split("/") for part in tensor.split(";")]
    names = [re.sub(r"_\d+$", "", path[-2]) for path in paths if len(path) > 1]
    return tuple(dict.fromkeys(names)) or (tensor,)


def _largest_first(errors: list[LayerError]) -> list[LayerError]:
    return sorted(errors[1:], key=lambda error: -error.rms_lsb)


def _named(errors: list[LayerError], patterns: Sequence[str]) -> list[LayerError]:
    """Returns the errors whose layers or tensors the patterns name. Raises UserError for a pattern without any."""
    known, tensors = {name: None for error in errors for name in error.layers}, {error.tensor for error in errors}
    for pattern in patterns:
        if not fnmatch.filter(known, pattern) and pattern not in tensors:
            near = difflib.get_close_matches(pattern.strip("*"), known, n=3, cutoff=0.3)
            examples = ", ".join(near or [error.layer for error in errors[:3]])
            raise UserError(f"float_layers must name layers, such as {examples}. Received: {pattern}")
    return [
        error
        for error in errors
        if error.tensor in patterns or any(fnmatch.filter(error.layers, pattern) for pattern in patterns)
    ]
