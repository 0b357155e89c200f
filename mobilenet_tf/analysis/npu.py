"""Whether a .tflite file is fit for the NPUs of phones, by the types and shapes of its tensors. Imports no TensorFlow.

What LiteRT's compilers for NPUs take differs by vendor and chip, and what they do not take runs on the CPU. Fit is here
what all of them are made for: int8 throughout, or int8 weights with int16 activations, with ranges and shapes that are
in the file. QUANTIZE and DEQUANTIZE may have float32 on their other side: the compilers have both.
Source: Qualcomm_QNN_Compiler.md and its like for MediaTek in litert/vendors/ of github.com/google-ai-edge/LiteRT.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mobilenet_tf.inference.tflite_schema import operators, text, tflite_schema

EXAMPLES = 3  # that are named; the others are counted
FLOATS = {"float16", "float32", "float64", "bfloat16"}
QUANTIZED = {"int8", "int16"}
OTHERS = {"uint8", "int4", "uint4", "int2", "uint16"}  # quantized too, but not in the way that every NPU takes
CHANGES = {"QUANTIZE", "DEQUANTIZE"}  # have float32 on one side
WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"}  # whose second input are weights

REASONS = {  # of an obstacle -> how one is told, and several
    "float": ("1 operation computes in floats", "{} operations compute in floats"),
    "quantization": ("1 operation is quantized otherwise", "{} operations are quantized otherwise"),
    "shape": ("1 tensor has no fixed shape", "{} tensors have no fixed shape"),
    "operation": ("1 operation is none of LiteRT's own", "{} operations are none of LiteRT's own"),
    "unquantized": ("nothing in it is quantized to int8 or int16", ""),
}


@dataclass(frozen=True)
class Obstacle:
    """What keeps a file from an NPU. `reason` is a key of `REASONS`."""

    reason: str
    count: int
    examples: list[str]  # the first of them, such as "float32 CONV_2D at conv_1"

    def __str__(self) -> str:
        one, several = REASONS[self.reason]
        said = one if self.count == 1 else several.format(self.count)
        more = ", …" if self.count > len(self.examples) else ""
        return f"{said} ({', '.join(self.examples)}{more})" if self.examples else said


@dataclass(frozen=True)
class Fitness:
    """Whether a file is fit for NPUs, the types of its quantized activations, and what keeps it from them."""

    fit: bool
    activations: list[str]
    obstacles: list[Obstacle]

    def __str__(self) -> str:
        if self.fit:
            return "yes: " + ("int8" if self.activations == ["int8"] else "int8 weights, int16 activations")
        return f"no, because {'; '.join(map(str, self.obstacles))}"


def fitness(model: Any) -> Fitness:
    """Returns whether a verified .tflite model, by the classes of `tflite_schema`, is fit for NPUs."""
    found: dict[str, list[str]] = {reason: [] for reason in REASONS}
    activations: set[str] = set()
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        for index in _indices(graph.InputsAsNumpy(), graph.InputsLength()):
            found["shape"] += _unfixed(graph.Tensors(index))
        for operation in _operations(model, graph):
            activations |= QUANTIZED & {kind for kind, constant in operation.tensors if not constant}
            found["shape"] += operation.unfixed
            reason = _obstacle(operation.type, operation.tensors)
            if reason:
                kind, dtype = reason
                found[kind].append(f"{dtype} {operation.type} at {operation.layer}".strip())
    obstacles = [Obstacle(reason, len(all_), all_[:EXAMPLES]) for reason, all_ in found.items() if all_]
    if not activations and not obstacles:
        obstacles = [Obstacle("unquantized", 1, [])]
    return Fitness(not obstacles, sorted(activations), obstacles)


@dataclass(frozen=True)
class _Operation:
    type: str
    layer: str  # the name of its first output
    tensors: list[tuple[str, bool]]  # (type, whether it is constant) of each input and output
    unfixed: list[str]  # names of outputs whose size the file leaves open


def _operations(model: Any, graph: Any) -> Iterator[_Operation]:
    types = {value: name.lower() for name, value in vars(tflite_schema().TensorType).items()}
    names = operators(model)
    for op in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        inputs = [graph.Tensors(i) for i in _indices(op.InputsAsNumpy(), op.InputsLength()) if i >= 0]
        outputs = [graph.Tensors(i) for i in _indices(op.OutputsAsNumpy(), op.OutputsLength())]
        yield _Operation(
            type=names[op.OpcodeIndex()],
            layer=text(outputs[0].Name()).partition(";")[0] if outputs else "",
            tensors=[(types[t.Type()], bool(model.Buffers(t.Buffer()).DataLength())) for t in (*inputs, *outputs)],
            unfixed=[name for tensor in outputs for name in _unfixed(tensor)],
        )


def _obstacle(type_: str, tensors: list[tuple[str, bool]]) -> tuple[str, str] | None:
    """Returns (reason, type of tensor) of an operation that is not for every NPU, None of another."""
    if type_ not in vars(tflite_schema().BuiltinOperator):
        return "operation", ""
    if type_ in CHANGES:
        return None
    kinds = {kind for kind, _ in tensors}
    if floats := kinds & FLOATS:
        return "float", min(floats)
    weights = {kind for kind, constant in tensors[1:2] if constant} if type_ in WEIGHTED else set()
    if others := (kinds & OTHERS) | (weights - {"int8"}):
        return "quantization", min(others)
    return None


def _indices(values: Any, count: int) -> list[int]:
    return values.tolist() if count else []


def _unfixed(tensor: Any) -> list[str]:
    """Returns the name of a tensor whose size the file leaves open, in a list; of another an empty list."""
    sizes = _indices(tensor.ShapeSignatureAsNumpy(), tensor.ShapeSignatureLength())
    sizes += _indices(tensor.ShapeAsNumpy(), tensor.ShapeLength())
    return [text(tensor.Name())] if min(sizes, default=0) < 0 else []
