"""Changes the graph of a .tflite file: reads it into objects, and writes them as a file again. No TensorFlow here.

Source: the schema of TFLite, and for the versions of operations tensorflow/compiler/mlir/lite/tools/versioning/
op_version.cc.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flatbuffers
import numpy as np

from mobilenet_tf.inference import tflite_metadata
from mobilenet_tf.inference.tflite_schema import text, tflite_schema
from mobilenet_tf.utils.console import quiet
from mobilenet_tf.utils.errors import UserError

SIGNATURE = "serving_default"  # the name of the signature in a file that had none
INPUT = "image"  # what that signature calls the input

# The version of an operation with activations in int8; in int16; in float32 with int8 weights by channel; and with int4
# weights. 0 where there is no such kernel. ai-edge-quantizer leaves versions as those of float operations.
VERSIONS = {
    "ADD": (2, 3, 0, 0),
    "AVERAGE_POOL_2D": (2, 3, 0, 0),
    "CONCATENATION": (2, 3, 0, 0),
    "CONV_2D": (3, 4, 5, 7),
    "DEPTHWISE_CONV_2D": (3, 5, 6, 7),
    "DEQUANTIZE": (2, 3, 0, 6),
    "FULLY_CONNECTED": (4, 7, 12, 12),
    "GATHER": (2, 4, 0, 0),
    "LOGISTIC": (2, 3, 0, 0),
    "MAXIMUM": (2, 4, 0, 0),
    "MAX_POOL_2D": (2, 3, 0, 0),
    "MEAN": (2, 3, 0, 0),
    "MUL": (2, 4, 0, 0),
    "PACK": (2, 3, 0, 0),
    "PAD": (2, 3, 0, 0),
    "PADV2": (2, 3, 0, 0),
    "RELU": (2, 3, 0, 0),
    "RESIZE_BILINEAR": (2, 4, 0, 0),
    "RESIZE_NEAREST_NEIGHBOR": (2, 4, 0, 0),
    "RSQRT": (2, 3, 0, 0),
    "SLICE": (2, 4, 0, 0),
    "SOFTMAX": (2, 3, 0, 0),
    "SPLIT": (2, 4, 0, 0),
    "STRIDED_SLICE": (2, 2, 0, 0),
    "SUB": (2, 5, 0, 0),
    "TRANSPOSE": (2, 5, 0, 0),
    "TRANSPOSE_CONV": (2, 3, 2, 2),
}
QUANTIZE_TO_INT16 = 2  # the version of QUANTIZE for an int16 output
MUL_BY_MORE = 3  # the version of MUL where one step of the product is more than one of the output
CHANNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0, "TRANSPOSE_CONV": 0}  # axis of weights' outputs
DATA_INPUT = {"SPLIT": 1, "TRANSPOSE_CONV": 2}  # which input holds the activations, where it is not the first


def unpacked(content: bytes | bytearray | memoryview) -> Any:
    """Returns a whole and verified .tflite file as a ModelT, with all data inside, unique names and a signature.

    What describes its tensors for MediaPipe is left out, since they change.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model: Any = flatbuffer_utils.read_model_from_bytearray(bytes(content))
    for code in model.operatorCodes:  # files for old runtimes have the code in the deprecated byte only
        code.builtinCode = max(code.builtinCode, code.deprecatedBuiltinCode)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    model.metadata = [entry for entry in model.metadata or [] if text(entry.name) != tflite_metadata.ENTRY]
    for operator in (operator for graph in model.subgraphs for operator in graph.operators):
        if hasattr(operator.builtinOptions, "potScaleInt16"):  # of ADD and SUB; true by default, and refused with int16
            operator.builtinOptions.potScaleInt16 = False
    _name_tensors(model)
    model.signatureDefs = model.signatureDefs or [_signature(model.subgraphs[0])]
    return model


def _name_tensors(model: Any) -> None:
    """Gives each tensor a name of its own."""
    taken: set[bytes] = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            name = stem = text(tensor.name).encode() or b"tensor"
            number = 1
            while name in taken:
                name, number = stem + f"_{number}".encode(), number + 1
            tensor.name = name
            taken.add(name)


def _signature(graph: Any) -> Any:
    """Returns a signature of the graph, whose outputs have the names of their tensors."""
    schema = tflite_schema()
    inputs = [graph.tensors[index] for index in graph.inputs]
    names = [INPUT.encode()] if len(inputs) == 1 else [tensor.name for tensor in inputs]
    outputs = [graph.tensors[index].name for index in graph.outputs]

    def maps(indices, names):
        return [schema.TensorMapT(name, index) for name, index in zip(names, indices, strict=True)]

    return schema.SignatureDefT(maps(graph.inputs, names), maps(graph.outputs, outputs), SIGNATURE.encode(), 0)


class _Aligned(flatbuffers.Builder):
    """Aligns the vectors of bytes, the weights, which the generated classes do not do."""

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - its name in flatbuffers
        if x.dtype != np.uint8:
            return super().CreateNumpyVector(x)
        self.StartVector(1, x.size, tflite_metadata.ALIGNMENT)
        self.head -= x.size
        self.Bytes[self.head : self.head + x.size] = x.tobytes()
        return self.EndVector()


def packed(model: Any) -> bytes:
    """Returns a ModelT as the content of a file, all data inside, each operation with the version that it needs."""
    _set_versions(model)
    size = sum(buffer.data.nbytes for buffer in model.buffers if buffer.data is not None)
    builder = _Aligned(size + 65536)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operations(model: Any, graph: Any) -> Iterator[tuple[str, Any]]:
    """Yields (name, operation) of each operation of a graph, in their order."""
    names = {value: name for name, value in vars(tflite_schema().BuiltinOperator).items()}
    for operator in graph.operators:
        yield names.get(model.operatorCodes[operator.opcodeIndex].builtinCode, ""), operator


def constant(model: Any, graph: Any, operator: Any, number: int) -> np.ndarray | None:
    """Returns an input of an operation that is a float32 constant; None of any other, or where it is left out."""
    index = operator.inputs[number] if number < len(operator.inputs) else -1
    tensor = graph.tensors[index] if index >= 0 else None
    data = None if tensor is None else model.buffers[tensor.buffer].data
    if tensor is None or data is None or tensor.type != tflite_schema().TensorType.FLOAT32:
        return None
    return data.view(np.float32).reshape(tensor.shape)


def store(model: Any, tensor: Any, values: np.ndarray) -> None:
    """Gives a constant other float32 values, in a buffer of its own."""
    buffer = tflite_schema().BufferT(np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8))
    if sum(other.buffer == tensor.buffer for graph in model.subgraphs for other in graph.tensors) > 1:
        model.buffers.append(buffer)
        tensor.buffer = len(model.buffers) - 1
    else:
        model.buffers[tensor.buffer] = buffer


def buffer_uses(graph: Any) -> Counter[int]:
    """Returns how often the operations of a graph read each buffer."""
    return Counter(graph.tensors[i].buffer for operator in graph.operators for i in operator.inputs if i >= 0)


def runs(model: Any, images: Sequence[np.ndarray], say: Callable[[str], None], step: str) -> Iterator[Any]:
    """Runs a ModelT with one input on images [H, W, C]; yields LiteRT's interpreter after each, with all tensors.

    `say` is told the step before each image.
    """
    from ai_edge_litert.interpreter import Interpreter

    with quiet(), warnings.catch_warnings(action="ignore"):
        interpreter = Interpreter(model_content=packed(model), num_threads=2, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    for count, image in enumerate(images, 1):
        say(f"{step} image {count} of {len(images)}")
        interpreter.set_tensor(model.subgraphs[0].inputs[0], np.ascontiguousarray(image, np.float32)[None])
        interpreter.invoke()
        yield interpreter


def with_constant(model: Any, name: str, source: int, values: np.ndarray, target: int) -> Any:
    """Returns the operation MUL, ADD or SUB of tensor `source` and a constant, into tensor `target`.

    The caller inserts it.
    """
    schema = tflite_schema()
    stem = model.subgraphs[0].tensors[target].name
    number = _add_constant(model, stem + f"/{name.lower()}_by".encode(), values)
    model.operatorCodes.append(_code(getattr(schema.BuiltinOperator, name)))
    operator = schema.OperatorT(len(model.operatorCodes) - 1, [source, number], [target])
    kind = f"{name.capitalize()}Options"
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    operator.builtinOptions = getattr(schema, f"{kind}T")()
    if hasattr(operator.builtinOptions, "potScaleInt16"):
        operator.builtinOptions.potScaleInt16 = False
    return operator


# Versions of operations


def _set_versions(model: Any) -> None:
    """Makes of each operation code as many as its operations need versions."""
    names = {value: name for name, value in vars(tflite_schema().BuiltinOperator).items()}
    codes: dict[tuple, int] = {}
    old, model.operatorCodes = model.operatorCodes, []
    for graph in model.subgraphs:
        for operator in graph.operators:
            code = old[operator.opcodeIndex]
            version = max(1, code.version, _version(names.get(code.builtinCode, ""), operator, graph.tensors))
            key = (code.builtinCode, code.customCode, version)
            if key not in codes:
                codes[key] = len(model.operatorCodes)
                model.operatorCodes.append(_code(code.builtinCode, version, code.customCode))
            operator.opcodeIndex = codes[key]


def _code(number: int, version: int = 1, custom: bytes | None = None) -> Any:
    return tflite_schema().OperatorCodeT(min(number, 127), custom, version, number)


def _version(name: str, operator: Any, tensors: Sequence) -> int:
    """Returns the version that an operation needs at least, by the types of its tensors."""
    types = tflite_schema().TensorType
    if name == "QUANTIZE":
        return QUANTIZE_TO_INT16 if tensors[operator.outputs[0]].type == types.INT16 else 1
    if name not in VERSIONS:
        return 1
    inputs = [tensors[index] for index in operator.inputs if index >= 0]
    of_int8, of_int16, hybrid, of_int4 = VERSIONS[name]
    kinds = [tensor.type for tensor in inputs]
    if types.INT4 in kinds:
        return of_int4
    data = kinds[min(DATA_INPUT.get(name, 0), len(kinds) - 1)]
    if data == types.FLOAT32:
        return hybrid if types.INT8 in kinds else 1
    if name == "MUL" and data == types.INT8:
        scales = [float(tensor.quantization.scale[0]) for tensor in (*inputs, tensors[operator.outputs[0]])]
        return MUL_BY_MORE if scales[0] * scales[1] >= scales[2] else of_int8
    return {types.INT8: of_int8, types.INT16: of_int16}.get(data, 1)


# Inputs in another range


def rescaled(content: bytes, scale: float | Sequence[float], offset: float | Sequence[float]) -> bytes:
    """Puts a rescaling in front of a float .tflite file's only input: the file then computes f(image * scale + offset).

    So a file whose input is in -1..1 takes images in 0..255 with scale 1 / 127.5 and offset -1. The name of the input
    and the signature stay; what described the tensors for MediaPipe goes.

    Args:
        content: a whole and verified .tflite file.
        scale, offset: a number, or one for each channel, the last axis of the input.

    Raises UserError for a file with several inputs, or one that is not float32, and for a wrong number of channels.
    """
    model = unpacked(content)
    graph = model.subgraphs[0]
    number = image_input(model)
    tensor = graph.tensors[number]
    shape = [int(size) for size in tensor.shape]
    factors, offsets = (_per_channel(name, value, shape) for name, value in (("scale", scale), ("offset", offset)))
    options = [("MUL", factors, 1.0), ("ADD", offsets, 0.0)]
    steps = [(name, values) for name, values, neutral in options if (values != neutral).any()]
    if not steps:
        return packed(model)
    name, tensor.name = tensor.name, tensor.name + b"/rescaled"
    source = entry = _add_tensor(model, name, tensor)
    operators = []
    for i, (operation, values) in enumerate(steps):
        last = i == len(steps) - 1
        target = number if last else _add_tensor(model, name + f"/{operation.lower()}".encode(), tensor)
        operators.append(with_constant(model, operation, source, values, target))
        source = target
    graph.operators = operators + graph.operators
    graph.inputs = [entry]
    for signature in model.signatureDefs:
        for tensor_map in signature.inputs:
            if signature.subgraphIndex == 0 and tensor_map.tensorIndex == number:
                tensor_map.tensorIndex = entry
    return packed(model)


def image_input(model: Any) -> int:
    """Returns the number of the tensor that is the only input of a model, float32 [N, H, W, C].

    Raises UserError for any other inputs.
    """
    graph, types = model.subgraphs[0], tflite_schema().TensorType
    inputs = [graph.tensors[index] for index in graph.inputs]
    names = {value: name for name, value in vars(types).items()}
    found = ", ".join(f"{names[tensor.type].lower()} {[int(n) for n in tensor.shape]}" for tensor in inputs)
    if len(inputs) != 1 or inputs[0].type != types.FLOAT32 or len(inputs[0].shape) != 4:
        raise UserError(f"the model must have one input, float32 [N, H, W, C]. Received: {found or 'no input'}")
    return graph.inputs[0]


def _per_channel(name: str, value: float | Sequence[float], shape: list[int]) -> np.ndarray:
    values = np.atleast_1d(np.asarray(value, np.float32))
    if values.ndim != 1 or len(values) not in (1, shape[-1]) or not np.isfinite(values).all():
        raise UserError(f"{name} must be a number, or one for each of {shape[-1]} channels. Received: {value}")
    return values


def _add_tensor(model: Any, name: bytes, like: Any) -> int:
    """Adds a float32 tensor of the shape of another one and returns its number."""
    tensor = tflite_schema().TensorT(shape=list(like.shape), type=like.type, buffer=0, name=name)
    tensor.shapeSignature = None if like.shapeSignature is None else list(like.shapeSignature)
    tensor.hasRank = like.hasRank
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def _add_constant(model: Any, name: bytes, values: np.ndarray) -> int:
    """Adds a float32 constant and returns the number of its tensor."""
    schema = tflite_schema()
    model.buffers.append(schema.BufferT(values.view(np.uint8)))
    tensor = schema.TensorT(
        shape=[len(values)], type=schema.TensorType.FLOAT32, buffer=len(model.buffers) - 1, name=name
    )
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1
