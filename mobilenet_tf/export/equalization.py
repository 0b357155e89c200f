"""Rescales the channels between the layers of a float .tflite file such that int8 loses least. No TensorFlow here.

All channels of an int8 tensor have one step. A channel whose values are all small is left with few of the 256 levels,
and a layer that amplifies it again amplifies their error. A convolution may give its channel s times as large, and the
next divide its weights by s: the network computes the same, and each channel uses all levels. Between residual blocks
all layers that write to the sum or read it share the factors. Source: cross-layer equalization, Nagel et al. 2019,
arXiv:1906.04721, section 4.1; the factors are those of the ranges of activations, since weights have a step for each
output channel anyway.

ReLU6 clips at 6, so factors are 1 or more there: a channel that reaches 6 stays, the others are clipped at the largest
value that the images gave, with some room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mobilenet_tf.export import tflite_objects
from mobilenet_tf.export.tflite_objects import CHANNELS, constant, operations
from mobilenet_tf.inference.tflite_schema import tflite_schema

RELU6 = 6.0
ROOM = 1.2  # how much more than the images gave a channel may reach before ReLU6 clips it
MAX_FACTOR = 64.0  # channels of almost nothing would make weights of almost nothing, whose steps runtimes refuse
# A depthwise convolution has a step for the weights of each channel, so it bears any factor. All other layers have one
# step for the weights of many channels, which grow unequal by the factors: they get the root, and no more than 4.
MAX_FACTOR_OF_MIXED = 4.0
INPUTS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 1}  # axis of the inputs
# Operations f with f(factor * x) = factor * f(x) for each channel
ALIKE = {"PAD", "MEAN", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"}
ALIKE |= {"RELU", "RELU6", "ADD"}


@dataclass
class Group:
    """Tensors whose channels have the same factors."""

    tensors: list[int] = field(default_factory=list)
    writers: list[tuple[str, Any]] = field(default_factory=list)  # (name, operation) of layers
    readers: list[tuple[str, Any]] = field(default_factory=list)
    clipped: set[int] = field(default_factory=set)  # the tensors that end at 6
    fixed: bool = False  # whether something else writes or reads them


def equalize(model: Any, highest: Mapping[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Rescales the weights in place.

    Args:
        model: a ModelT in float32, see `tflite_objects.unpacked`.
        highest: {tensor: the largest absolute value of each channel}.

    Returns {tensor: the factors of its channels} of the tensors that have changed.
    """
    changed = {}
    graph = model.subgraphs[0]
    for group in _groups(model):
        known = [i for i in group.tensors if i in highest]
        if group.fixed or not group.writers or not group.readers or not known:
            continue
        factors = _factors(group, {i: highest[i] for i in known})
        for name, operator in group.writers:
            _multiply(model, graph.tensors[operator.inputs[1]], factors, CHANNELS[name])
            _multiply(model, graph.tensors[operator.inputs[2]], factors, 0)
        for name, operator in group.readers:
            _multiply(model, graph.tensors[operator.inputs[1]], 1 / factors, INPUTS[name])
        changed |= dict.fromkeys(group.tensors, factors)
    return changed


def _factors(group: Group, highest: Mapping[int, np.ndarray]) -> np.ndarray:
    """Returns the factor of each channel that widens its largest share of the range of a tensor."""
    shares = []
    for tensor, values in highest.items():
        room = ROOM if group.clipped else 1.0
        end = RELU6 if tensor in group.clipped else max(float(values.max()) * room, 1e-9)
        shares.append(np.minimum(values * room / end, 1.0))
    share = np.max(shares, axis=0)
    factors = np.where(share > 0, 1 / np.maximum(share, 1 / MAX_FACTOR), 1.0)
    if all(name == "DEPTHWISE_CONV_2D" for name, _ in group.readers):
        return factors
    return np.minimum(np.sqrt(factors), MAX_FACTOR_OF_MIXED)


def _multiply(model: Any, tensor: Any, factors: np.ndarray, axis: int) -> None:
    values = model.buffers[tensor.buffer].data.view(np.float32).reshape(tensor.shape)
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    tflite_objects.store(model, tensor, values * factors.reshape(shape))


# What belongs together


def _groups(model: Any) -> list[Group]:
    graph = model.subgraphs[0]
    groups: dict[int, Group] = {}
    shared = tflite_objects.buffer_uses(graph)

    def group_of(tensor: int) -> Group:
        return groups.setdefault(tensor, Group([tensor]))

    def join(tensors: list[int]) -> None:
        whole = group_of(tensors[0])
        for part in {id(group_of(i)): group_of(i) for i in tensors}.values():
            if part is whole:
                continue
            whole.tensors += part.tensors
            whole.writers += part.writers
            whole.readers += part.readers
            whole.clipped |= part.clipped
            whole.fixed |= part.fixed
            groups.update(dict.fromkeys(part.tensors, whole))

    for tensor in (*graph.inputs, *graph.outputs):
        group_of(tensor).fixed = True
    for name, operator in operations(model, graph):
        read = [i for i in operator.inputs if i >= 0 and not _is_constant(model, graph.tensors[i])]
        clips = _clips(name, operator)
        if clips is not None and name in INPUTS and _is_layer(model, name, operator, shared):
            group_of(operator.inputs[0]).readers.append((name, operator))
            group_of(operator.outputs[0]).writers.append((name, operator))
        elif clips is not None and _keeps_channels(model, name, operator, read):
            join([*read, operator.outputs[0]])
        elif name == "MUL" and _is_gate(graph, operator, read):
            size = {i: np.prod(graph.tensors[i].shape) for i in read}
            group_of(min(read, key=lambda i: size[i])).fixed = True
            join([max(read, key=lambda i: size[i]), operator.outputs[0]])
        else:
            for tensor in (*read, *operator.outputs):
                group_of(tensor).fixed = True
        if clips:
            group_of(operator.outputs[0]).clipped.add(operator.outputs[0])
    return list({id(group): group for group in groups.values()}.values())


def _clips(name: str, operator: Any) -> bool | None:
    """Returns whether an operation ends in a clipping at 6; None where it ends in something else than a ReLU."""
    kinds = tflite_schema().ActivationFunctionType
    fused = getattr(operator.builtinOptions, "fusedActivationFunction", kinds.NONE)
    if name == "RELU6" or fused == kinds.RELU6:
        return True
    return False if fused in (kinds.NONE, kinds.RELU) else None


def _is_layer(model: Any, name: str, operator: Any, shared: Counter) -> bool:
    """Whether an operation has weights and bias of its own, and each input channel weights of its own."""
    graph = model.subgraphs[0]
    weights, bias = constant(model, graph, operator, 1), constant(model, graph, operator, 2)
    if weights is None or bias is None or any(shared[graph.tensors[i].buffer] > 1 for i in operator.inputs[1:3]):
        return False
    # A depthwise convolution with several outputs a channel, and one in groups, have other numbers of channels.
    return weights.shape[INPUTS[name]] == graph.tensors[operator.inputs[0]].shape[-1]


def _keeps_channels(model: Any, name: str, operator: Any, read: list[int]) -> bool:
    """Whether an operation treats each channel alike, and its outputs have the channels of its inputs."""
    if name not in ALIKE or not read or (name == "ADD" and len(read) != len(operator.inputs)):
        return False
    graph = model.subgraphs[0]
    shapes = [list(graph.tensors[i].shape) for i in (*read, operator.outputs[0])]
    axes = _integers(model, operator.inputs[1]) if name == "MEAN" else []
    if any(axis in (-1, len(shapes[0]) - 1) for axis in axes):
        return False
    return all(shape and shape[-1] == shapes[0][-1] for shape in shapes)


def _is_gate(graph: Any, operator: Any, read: list[int]) -> bool:
    """Whether a product has one factor for each channel of a map, as squeeze-and-excitation does."""
    if len(read) != 2 or read[0] == read[1] or _clips("MUL", operator) is not False:
        return False
    shapes = [list(graph.tensors[i].shape) for i in read]
    sizes = sorted(int(np.prod(shape)) for shape in shapes)
    return all(len(shape) == 4 for shape in shapes) and sizes[0] == shapes[0][-1] == shapes[1][-1] != sizes[1]


def _integers(model: Any, tensor: int) -> list[int]:
    """Returns the numbers in a constant of int32, such as axes."""
    return model.buffers[model.subgraphs[0].tensors[tensor].buffer].data.view(np.int32).tolist()


def _is_constant(model: Any, tensor: Any) -> bool:
    return model.buffers[tensor.buffer].data is not None
