"""What `inspection.inspect` reads from a .tflite file, without TensorFlow."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.analysis.inspection import QUANTIZED, Operation, Tensor, free_shape
from mobilenet_tf.analysis.npu import fitness
from mobilenet_tf.inference import tflite_metadata, tflite_versions
from mobilenet_tf.inference.tflite import POST_PROCESS, open_tflite, tflite_outputs
from mobilenet_tf.inference.tflite_schema import operators, text, tflite_schema


def inspect_tflite(path: Path) -> dict[str, Any]:
    """Returns the fields of `Inspection` that can be read from a .tflite file."""
    schema = tflite_schema()
    interpreter = open_tflite(path)  # first, since it raises UserError where the file is damaged
    content = path.read_bytes()
    model = schema.Model.GetRootAs(content, 0)
    runtime, unknown = tflite_versions.needed(content, path)
    types = {value: name.lower() for name, value in vars(schema.TensorType).items()}
    rows = [
        row
        for i in range(model.SubgraphsLength())
        for row in _graph_rows(model, model.Subgraphs(i), operators(model), types)
    ]
    builtin = vars(schema.BuiltinOperator)
    inputs = {detail["name"]: detail for detail in interpreter.get_input_details()}
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        inputs = interpreter.get_signature_runner(next(iter(signatures))).get_input_details()
    return {
        "inputs": [_detail(name, detail) for name, detail in inputs.items()],
        "outputs": [_detail(name, detail) for name, detail in tflite_outputs(interpreter).items()],
        "rows": rows,
        "weights": _constants(model, types),
        "unsupported_ops": sorted({row.type for row in rows if row.type not in builtin and row.type != POST_PROCESS}),
        "min_runtime": runtime,
        "unknown_versions": unknown,
        "npu": fitness(model),
        "tflite_metadata": tflite_metadata.read(path) is not None,
    }


def _graph_rows(model, graph, names, types) -> list[Operation]:
    rows = []
    for i in range(graph.OperatorsLength()):
        op = graph.Operators(i)
        tensors = [graph.Tensors(index) for index in op.InputsAsNumpy() if index >= 0] if op.InputsLength() else []
        outputs = [graph.Tensors(op.Outputs(j)) for j in range(op.OutputsLength())]
        constants = [tensor for tensor in tensors if model.Buffers(tensor.Buffer()).DataLength()]
        scales = [_scales(tensor) for tensor in constants if types[tensor.Type()] in QUANTIZED]
        name = names[op.OpcodeIndex()]
        cost = MULT_ADDS.get(name)
        rows.append(
            Operation(
                name=text(outputs[0].Name()).partition(";")[0] if outputs else name,
                type=name,
                dtype=types[outputs[0].Type()] if outputs else "",
                bytes=sum(model.Buffers(tensor.Buffer()).DataLength() for tensor in constants),
                mult_adds=cost([_shape(t) for t in tensors], _shape(outputs[0])) if cost else 0,
                per_channel=max(scales) > 1 if scales and max(scales) else None,
            )
        )
    return rows


MULT_ADDS: dict[str, Callable] = {  # (shapes of the inputs, shape of the output) -> multiply-adds
    "CONV_2D": lambda inputs, output: math.prod(output) * math.prod(inputs[1][1:]),
    "DEPTHWISE_CONV_2D": lambda inputs, output: math.prod(output) * math.prod(inputs[1][1:3]),
    "FULLY_CONNECTED": lambda inputs, output: math.prod(output) * inputs[1][1],
    "TRANSPOSE_CONV": lambda inputs, output: math.prod(inputs[2][:-1]) * math.prod(inputs[1]),
}


def _shape(tensor) -> list[int]:
    return tensor.ShapeAsNumpy().tolist() if tensor.ShapeLength() else []


def _scales(tensor) -> int:
    return tensor.Quantization().ScaleLength() if tensor.Quantization() else 0


def _constants(model, types) -> dict[str, int]:
    """Returns the bytes of the constants by type; each buffer counts once."""
    buffers: dict[int, str] = {}
    for i in range(model.SubgraphsLength()):
        graph = model.Subgraphs(i)
        tensors = (graph.Tensors(j) for j in range(graph.TensorsLength()))
        buffers |= {tensor.Buffer(): types[tensor.Type()] for tensor in tensors}
    total: Counter[str] = Counter()
    for buffer, type_ in buffers.items():
        total[type_] += model.Buffers(buffer).DataLength()
    return {type_: size for type_, size in total.most_common() if size}


def _detail(name, detail) -> Tensor:
    signature = detail.get("shape_signature", detail["shape"])
    signature = signature if len(signature) else detail["shape"]
    scale, zero_point = detail["quantization"]
    quantization = {"scale": float(scale), "zero_point": int(zero_point)} if scale else {}
    return Tensor(name, free_shape(signature), np.dtype(detail["dtype"]).name, **quantization)
