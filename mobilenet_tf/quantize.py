"""Full int8 quantisation by calibration, and the layers that lose the most by it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.util import modify_model_io_type

from mobilenet_tf.artifact import POST_PROCESS
from mobilenet_tf.errors import UserError
from mobilenet_tf.inspection import operators

IO_TYPES = {"float32": tf.float32, "int8": tf.int8, "uint8": tf.uint8}
FLOAT_ENDS = {"DEQUANTIZE", "SOFTMAX", "LOGISTIC", POST_PROCESS}  # what may follow a network in float32
EXAMINED = 50  # calibration images that the layers are compared on

Examples = Callable[[], Iterator[list[np.ndarray]]]  # () -> [image [1, H, W, 3]] after [image], float32


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
    names = _most_sensitive(debugger)[:float_layers]
    debugger.options = tf.lite.experimental.QuantizationDebugOptions(denylisted_nodes=names)
    return modify_model_io_type(debugger.get_nondebug_quantized_model(), IO_TYPES[inputs], IO_TYPES[outputs])


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


def _debugger(converter, examples):
    def some():
        for _, example in zip(range(EXAMINED), examples(), strict=False):
            yield example

    return tf.lite.experimental.QuantizationDebugger(converter=converter, debug_dataset=some)


def _most_sensitive(debugger) -> list[str]:
    """The output tensors of the layers, those that lose the most first, without that of the one that reads the input.

    What a layer loses is the root mean square of its error, given the float output of the layers before it, in
    quantisation steps; rounding alone makes 0.29.
    """
    debugger.run()
    table = io.StringIO()
    debugger.layer_statistics_dump(table)
    table.seek(0)
    rows = list(csv.DictReader(table))[1:]  # in the order of the graph
    rows = [row for row in rows if float(row["scale"]) > 0]
    rows.sort(key=lambda row: -math.sqrt(float(row["mean_squared_error"])) / float(row["scale"]))
    return [row["tensor_name"] for row in rows]
