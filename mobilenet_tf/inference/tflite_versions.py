"""Which runtime a .tflite file needs at least, by the versions of its operations.

A runtime that is older refuses the file: "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'".
Source: tensorflow/compiler/mlir/lite/tools/versioning/runtime_version.cc, for the operations of MobileNets.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mobilenet_tf.inference import tflite_metadata
from mobilenet_tf.inference.tflite_schema import operators, tflite_schema

ENTRY = "min_runtime_version"  # the name under which converters write what they think in the model's metadata
# operation -> the runtime that brought its version 1, 2, 3, ...
TABLE = {
    "ADD": "1.5 1.14 2.4 2.6 2.13 2.23",
    "ARG_MAX": "1.9 1.14 2.9",
    "AVERAGE_POOL_2D": "1.5 1.14 2.3",
    "BATCH_TO_SPACE_ND": "1.6 1.14 2.3 2.12",
    "CAST": "1.5 2.7 2.8 2.9 2.12 2.15 2.17 2.21",
    "CONCATENATION": "1.5 1.14 2.3 2.14 2.21",
    "CONV_2D": "1.5 1.14 1.14 2.3 2.4 2.9 2.11 2.15",
    "DEPTHWISE_CONV_2D": "1.5 1.12 1.14 2.2 2.3 2.3 2.11",
    "DEQUANTIZE": "1.13 1.14 1.15 2.2 2.7 2.18 2.21 2.22",
    "DIV": "1.6 2.3",
    "EXP": "1.7 2.12",
    "FULLY_CONNECTED": "1.5 1.10 1.14 1.14 2.0 2.1 2.3 2.3 2.3 2.11 2.15 2.17 2.18 2.21",
    "GATHER": "1.6 1.14 1.15 2.4 2.5 2.13 2.15",
    "HARD_SWISH": "1.15",
    "L2_NORMALIZATION": "1.5 1.14",
    "LEAKY_RELU": "1.13 2.3",
    "LOGISTIC": "1.14 1.14 2.3",
    "MAXIMUM": "1.14 1.14 2.3 2.3",
    "MAX_POOL_2D": "1.5 1.14 2.3",
    "MEAN": "1.6 1.14 2.4",
    "MINIMUM": "1.14 1.14 2.3 2.3",
    "MUL": "1.5 1.14 1.15 2.3 2.6 2.11 2.13 2.23",
    "NON_MAX_SUPPRESSION_V4": "2.1",
    "NON_MAX_SUPPRESSION_V5": "2.1",
    "PACK": "1.11 1.14 2.3 2.13",
    "PAD": "1.5 1.14 2.4 2.6 2.20",
    "PADV2": "1.9 1.14 2.4 2.6 2.20",
    "PRELU": "1.8",
    "QUANTIZE": "1.14 1.15 2.7 2.21 2.21 2.21",
    "RELU": "1.5 2.1 2.5",
    "RELU6": "1.5 1.14 2.5",
    "RESHAPE": "1.5",
    "RESIZE_BILINEAR": "1.7 1.14 2.2 2.5",
    "RESIZE_NEAREST_NEIGHBOR": "1.13 1.14 2.3 2.4",
    "RSQRT": "1.10 2.5 2.15",
    "SELECT_V2": "2.2 2.12",
    "SHAPE": "1.10",
    "SLICE": "1.14 1.14 1.14 2.4 2.5 2.14 2.21",
    "SOFTMAX": "1.5 1.14 2.3",
    "SPACE_TO_BATCH_ND": "1.6 1.14 2.3 2.12",
    "SPLIT": "1.5 1.14 1.14 2.3",
    "SQRT": "1.10 2.21",
    "SQUEEZE": "1.6 2.5",
    "STRIDED_SLICE": "1.6 1.14 2.1 2.2 2.5 2.6 2.14 2.14",
    "SUB": "1.6 1.14 2.3 2.4 2.4",
    "SUM": "1.10 1.15",
    "TILE": "1.10 2.2 2.8",
    "TOPK_V2": "1.7 1.14 2.13",
    "TRANSPOSE": "1.6 1.14 1.15 2.3 2.4 2.12 2.14 2.22",
    "TRANSPOSE_CONV": "1.9 2.2 2.3 2.13 2.15",
}
VERSIONS = {name: tuple(row.split()) for name, row in TABLE.items()}


def needed(content: bytes, path: Path) -> tuple[str, list[str]]:
    """Returns the oldest runtime that has the operations of a verified .tflite file, and what is not known of it.

    Returns:
        A version of TensorFlow Lite, such as "2.17" (from 2.18 on it is LiteRT's too, which goes on counting), by the
        table above and by what the converter wrote; "" where neither tells it. Then the operations of which the table
        lacks the version, such as "CUMSUM 1"; custom ones have none.
    """
    model = tflite_schema().Model.GetRootAs(content, 0)
    known, unknown = [], []
    for number, name in enumerate(operators(model)):
        version = max(1, model.OperatorCodes(number).Version())
        row = VERSIONS.get(name, ())
        if version <= len(row):
            known.append(row[version - 1])
        elif name in vars(tflite_schema().BuiltinOperator):
            unknown.append(f"{name} {version}")
    said = (tflite_metadata.entry(content, ENTRY, path) or b"").rstrip(b"\0").decode("ascii", "replace")
    if re.fullmatch(r"\d{1,4}\.\d{1,4}(\.\d{1,4})?", said):
        known.append(".".join(said.split(".")[:2]))
        unknown = []  # the converter knew them
    return max(known, key=_order, default=""), unknown


def _order(version: str) -> Any:
    return [int(part) for part in version.split(".")]
