"""What is inside a model file: inputs, outputs, operations, quantization, size and cost by type, metadata.

Imports TensorFlow only for the formats that need it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.formats import KERAS, KINDS, resolve
from mobilenet_tf.inference.metadata_storage import load_onnx
from mobilenet_tf.inference.predict import load_keras, open_saved_model
from mobilenet_tf.inference.tflite import POST_PROCESS, open_tflite, operators, tflite_outputs, tflite_schema
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError

QUANTIZED = {"int4", "int8", "uint8", "int16"}


@dataclass(frozen=True)
class Tensor:
    """An input or output. A quantized number stands for scale * (number - zero_point)."""

    name: str
    shape: tuple[int | None, ...]  # None where any size will do
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Operation:
    """One operation of a file, or one layer of a Keras model."""

    name: str
    type: str
    dtype: str  # of its output
    bytes: int = 0  # of its weights
    mult_adds: int | None = 0  # for one image; None where not known
    per_channel: bool | None = None  # whether its weights are quantized by channel or as a whole; None: they are not


@dataclass(frozen=True)
class Total:
    """A sum over the operations of a type."""

    count: int
    quantized: int  # how many of them have quantized outputs
    bytes: int
    mult_adds: int | None


@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`."""

    file: str
    format: str
    size: int  # bytes
    inputs: list[Tensor]
    outputs: list[Tensor]
    rows: list[Operation]
    weights: dict[str, int]  # bytes by type
    metadata: artifact.Metadata | None
    unsupported_ops: list[str] = field(default_factory=list)  # operations that the runtime does not have itself
    tflite_metadata: bool | None = None  # whether it has the metadata that MediaPipe reads; None: not a .tflite file
    dead_kernels: list[dict] | None = None  # see `dead_channels.dead_kernels_by_layer`
    dead_channels: list[dict] | None = None  # see `dead_channels.dead_channels_by_layer`

    @property
    def mult_adds(self) -> int | None:
        """The multiply-adds for one image; None where not known."""
        return _sum(row.mult_adds for row in self.rows)

    def by_type(self) -> dict[str, Total]:
        """Returns the sums over the operations of each type, the most multiply-adds first."""
        groups: dict[str, list[Operation]] = {}
        for row in self.rows:
            groups.setdefault(row.type, []).append(row)
        totals = {
            type_: Total(
                count=len(rows),
                quantized=sum(row.dtype in QUANTIZED for row in rows),
                bytes=sum(row.bytes for row in rows),
                mult_adds=_sum(row.mult_adds for row in rows),
            )
            for type_, rows in groups.items()
        }
        return dict(sorted(totals.items(), key=lambda item: (-(item[1].mult_adds or 0), -item[1].bytes)))

    def per_channel(self) -> dict[bool, int]:
        """Returns how many operations have weights that are quantized by channel (True) and as a whole (False)."""
        return Counter(row.per_channel for row in self.rows if row.per_channel is not None)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain types for JSON."""
        return {
            **asdict(self),
            "mult_adds": self.mult_adds,
            "types": {type_: asdict(total) for type_, total in self.by_type().items()},
            "quantized_weights": {
                "per_channel": self.per_channel()[True],
                "per_tensor": self.per_channel()[False],
            },
        }


def inspect(path: str | Path, batches: Iterable[np.ndarray] | None = None) -> Inspection:
    """Inspects a .tflite, .onnx or .keras file, a SavedModel or a run folder (its model.keras).

    Args:
        batches: float32 images [N, H, W, 3] in 0..255, only for a .keras file: counts the channels that are 0 on all
            of them.

    Raises:
        UserError: the file is no model, or batches are given for another kind of file.
    """
    path, kind = artifact.locate(path)
    if batches is not None and kind != KERAS.name:
        raise UserError(f"samples must be given for .keras files only, whose activations can be read. Received: {path}")
    options = {} if batches is None else {"batches": batches}
    fields = resolve(KINDS[kind].inspect)(path, **options)
    return Inspection(path.name, kind, files.size(path), metadata=artifact.read(path), **fields)


def _sum(values: Iterable[int | None]) -> int | None:
    values = list(values)
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


# TFLite


def inspect_tflite(path: Path) -> dict[str, Any]:
    """Returns the fields of `Inspection` that can be read from a .tflite file."""
    from mobilenet_tf.inference import tflite_metadata

    schema = tflite_schema()
    interpreter = open_tflite(path)  # first, since it raises UserError where the file is damaged
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
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
        cost = TFLITE_COSTS.get(name)
        rows.append(
            Operation(
                name=outputs[0].Name().decode().partition(";")[0] if outputs else name,
                type=name,
                dtype=types[outputs[0].Type()] if outputs else "",
                bytes=sum(model.Buffers(tensor.Buffer()).DataLength() for tensor in constants),
                mult_adds=cost([_shape(t) for t in tensors], _shape(outputs[0])) if cost else 0,
                per_channel=max(scales) > 1 if scales and max(scales) else None,
            )
        )
    return rows


TFLITE_COSTS: dict[str, Callable] = {  # (shapes of the inputs, shape of the output) -> multiply-adds
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
    return Tensor(name, _free(signature), np.dtype(detail["dtype"]).name, **quantization)


def _free(shape) -> tuple[int | None, ...]:
    """Returns a shape with None for each free size, which TFLite gives as a negative number."""
    return tuple(None if size is None or size < 0 else int(size) for size in shape)


# ONNX


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


# Keras and SavedModel


def inspect_keras(path: Path, batches: Iterable[np.ndarray] | None = None) -> dict[str, Any]:
    """Returns the fields of `Inspection` that can be read from a .keras file; for batches see `inspect`."""
    from mobilenet_tf import qat
    from mobilenet_tf.analysis import cost, dead_channels
    from mobilenet_tf.models.graph import leaves

    model, metadata = load_keras(path), artifact.read(path)
    network = qat.strip(model) if qat.is_prepared(model) else model
    try:
        costs = {row.name: row.mult_adds for row in cost.cost(model, metadata and metadata.input_size).rows}
    except UserError:  # the model takes images of any size
        costs = None
    weights: Counter[str] = Counter()
    for variable in model.weights:
        weights[variable.dtype] += _bytes(variable)
    return {
        "inputs": [Tensor(x.name, _free(x.shape), x.dtype) for x in model.inputs],
        "outputs": [Tensor(x.name, _free(x.shape), x.dtype) for x in model.outputs],
        "rows": [
            Operation(
                layer.name,
                type(layer).__name__,
                layer.compute_dtype,
                sum(map(_bytes, layer.weights)),
                None if costs is None else costs.get(layer.name, 0),
            )
            for layer in leaves(model)
        ],
        "weights": dict(weights.most_common()),
        "dead_kernels": dead_channels.dead_kernels_by_layer(network),
        "dead_channels": None if batches is None else dead_channels.dead_channels_by_layer(network, batches),
    }


def _bytes(variable) -> int:
    import tensorflow as tf

    return math.prod(variable.shape) * tf.as_dtype(variable.dtype).size


def inspect_savedmodel(path: Path) -> dict[str, Any]:
    """Returns the fields of `Inspection` that can be read from a SavedModel."""
    import tensorflow as tf

    _model, serve = open_saved_model(path)
    graph = serve.graph.as_graph_def()
    nodes = [node for function in graph.library.function for node in function.node_def]
    weights: Counter[str] = Counter()
    for variable in serve.variables:
        weights[variable.dtype.name] += _bytes(variable)

    def tensors(specs) -> list[Tensor]:
        return [Tensor(name, _free(spec.shape), spec.dtype.name) for name, spec in specs.items()]

    return {
        "inputs": tensors(serve.structured_input_signature[1]),
        "outputs": tensors(serve.structured_outputs),
        "rows": [
            Operation(node.name, node.op, tf.as_dtype(node.attr["T"].type).name, mult_adds=None)
            for node in nodes
            if node.attr["T"].type and "Call" not in node.op
        ],
        "weights": dict(weights.most_common()),
    }


# Tables for people


def tables(inspection: Inspection, by_layer: bool = False) -> list:
    """Returns an inspection as `rich` tables: facts, operations by type or one by one, and dead channels."""
    from rich.markup import escape
    from rich.table import Table

    facts = Table(
        title=escape(f"{inspection.file}: {inspection.format}, {inspection.size / 1e6:.2f} MB"), show_header=False
    )
    for name, value in _facts(inspection):
        facts.add_row(name, escape(value))
    result = [facts]
    columns = ["layer", "type", "output"] if by_layer else ["type", "count", "quantized"]
    costs = Table(*columns, title="Operations", show_footer=False)
    for name in ("kB", "mult-adds (M)"):
        costs.add_column(name, justify="right")
    lines = (
        [((row.name, row.type, row.dtype), row) for row in inspection.rows]
        if by_layer
        else [((type_, str(total.count), str(total.quantized)), total) for type_, total in inspection.by_type().items()]
    )
    for labels, line in lines:
        costs.add_row(*map(escape, labels), f"{line.bytes / 1e3:,.1f}", _millions(line.mult_adds))
    result.append(costs)
    dead = {
        "Depthwise kernels that do nothing": inspection.dead_kernels,
        "Channels never active": inspection.dead_channels,
    }
    for title, rows in dead.items():
        if rows:
            result.append(_counts(title, rows, by_layer))
    return result


def _facts(inspection: Inspection) -> list[tuple[str, str]]:
    facts = [("input", _described(tensor)) for tensor in inspection.inputs]
    facts += [("output", _described(tensor)) for tensor in inspection.outputs]
    facts.append(("mult-adds", f"{_millions(inspection.mult_adds)} M"))
    facts.append(("weights", ", ".join(f"{size / 1e6:.2f} MB {dtype}" for dtype, size in inspection.weights.items())))
    ways = inspection.per_channel()
    if ways:
        facts.append(("quantized weights", f"{ways[True]} by channel, {ways[False]} as a whole"))
    facts.append(("unsupported operations", ", ".join(inspection.unsupported_ops) or "none"))
    if inspection.tflite_metadata is not None:
        facts.append(("TFLite metadata", "yes" if inspection.tflite_metadata else "none: MediaPipe will not load it"))
    if inspection.metadata is None:
        return [*facts, ("metadata", "none of mobilenet_tf")]
    metadata = inspection.metadata
    height, width = metadata.input_size
    facts.append(("metadata", f"{metadata.task}, {height}x{width}, ends in {metadata.outputs}, {metadata.version}"))
    facts.append((f"{len(metadata.classes)} classes", ", ".join(metadata.classes)))
    return facts


def _described(tensor: Tensor) -> str:
    shape = "x".join("any" if size is None else str(size) for size in tensor.shape)
    scale = "" if tensor.scale is None else f", {tensor.scale:.6g} * (q - {tensor.zero_point})"
    return f"{tensor.name} {tensor.dtype} {shape}{scale}"


def _millions(mult_adds: int | None) -> str:
    return "-" if mult_adds is None else f"{mult_adds / 1e6:,.2f}"


def _counts(title: str, rows: list[dict], by_layer: bool):
    from rich.table import Table

    keys = [key for key in rows[0] if key != "name"]
    table = Table("layer", *keys, title=title)
    total = {"name": "all", **{key: sum(row[key] for row in rows) for key in keys}}
    for row in [*(rows if by_layer else []), total]:
        table.add_row(row["name"], *(str(row[key]) for key in keys))
    return table
