"""What `inspection.inspect` reads from an ONNX file."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.analysis.inspection import Operation, Tensor
from mobilenet_tf.inference.metadata_storage import load_onnx
from mobilenet_tf.utils.errors import UserError


def inspect_onnx(path: Path) -> dict[str, Any]:
    """Returns the fields of `Inspection` that can be read from an ONNX file. Raises UserError where it is damaged."""
    onnx, model = load_onnx(path)
    if not model.graph.output:
        raise UserError(f"{path} must be a whole ONNX model. Received: a graph without outputs")
    graph = onnx.shape_inference.infer_shapes(model).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    known = {value.name: value for value in [*graph.input, *graph.value_info, *graph.output]}
    shapes = {name: _dimensions(value) for name, value in known.items()}
    shapes |= {name: tuple(tensor.dims) for name, tensor in constants.items()}

    def dtype(number: int) -> str:
        return onnx.helper.tensor_dtype_to_np_dtype(number).name if number else ""

    sizes = {name: math.prod(t.dims) * np.dtype(dtype(t.data_type)).itemsize for name, t in constants.items()}
    weights: Counter[str] = Counter()
    for name, tensor in constants.items():
        weights[dtype(tensor.data_type)] += sizes[name]

    def tensor(value) -> Tensor:
        return Tensor(value.name, _dimensions(value), dtype(value.type.tensor_type.elem_type))

    rows = [
        Operation(
            name=node.output[0],
            type=node.op_type,
            dtype=dtype(known[node.output[0]].type.tensor_type.elem_type) if node.output[0] in known else "",
            bytes=sum(sizes.get(name, 0) for name in node.input),
            mult_adds=_onnx_cost(node, shapes),
        )
        for node in graph.node
    ]
    return {
        "inputs": [tensor(value) for value in graph.input if value.name not in constants],
        "outputs": [tensor(value) for value in graph.output],
        "rows": rows,
        "weights": dict(weights.most_common()),
        "unsupported_ops": sorted({node.op_type for node in graph.node if node.domain not in ("", "ai.onnx")}),
    }


def _dimensions(value) -> tuple[int | None, ...]:
    return tuple(size.dim_value or None for size in value.type.tensor_type.shape.dim)


def _onnx_cost(node, shapes) -> int | None:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    image, weight, output = (shapes.get(name) for name in (*node.input[:2], node.output[0]))
    if image is None or weight is None or output is None or None in (*image[1:], *weight, *output[1:]):
        return None
    image, output = ([1, *shape[1:]] for shape in (image, output))  # of one image
    if node.op_type == "Conv":
        return math.prod(output) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(image[2:]) * math.prod(weight)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return math.prod(output) * weight[-1 if transposed else -2]
