"""What `inspection.inspect` reads from a .keras file or a SavedModel."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_tf import qat
from mobilenet_tf.analysis import cost, dead_channels
from mobilenet_tf.analysis.inspection import Operation, Tensor, free_shape
from mobilenet_tf.inference import artifact, saved_model_check
from mobilenet_tf.inference.predict import load_keras
from mobilenet_tf.models.graph import leaves
from mobilenet_tf.utils.errors import UserError


def inspect_keras(path: Path, batches: Iterable[np.ndarray] | None = None) -> dict[str, Any]:
    """Returns the fields of `Inspection` that can be read from a .keras file; for batches see `inspect`."""
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
        "inputs": [Tensor(x.name, free_shape(x.shape), x.dtype) for x in model.inputs],
        "outputs": [Tensor(x.name, free_shape(x.shape), x.dtype) for x in model.outputs],
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
    return math.prod(variable.shape) * tf.as_dtype(variable.dtype).size


def inspect_savedmodel(path: Path) -> dict[str, Any]:
    """Returns the fields of `Inspection` that can be read from a SavedModel, of which nothing is run.

    Raises UserError where it has no serving_default signature.
    """
    message = saved_model_check.parse(path)
    found = [graph for graph in message.meta_graphs if "serving_default" in graph.signature_def]
    if not found:
        raise UserError(f"{path} must be a SavedModel with a serving_default signature. Received: none")
    graph, signature = found[0], found[0].signature_def["serving_default"]
    variables = [node.variable for node in graph.object_graph_def.nodes if node.WhichOneof("kind") == "variable"]
    weights: Counter[str] = Counter()
    for variable in variables:
        dtype = tf.as_dtype(variable.dtype)
        weights[dtype.name] += math.prod(_dimensions(variable.shape)) * dtype.size

    def tensors(infos) -> list[Tensor]:
        return [
            Tensor(name, free_shape(_dimensions(info.tensor_shape)), tf.as_dtype(info.dtype).name)
            for name, info in sorted(infos.items())
        ]

    return {
        "inputs": tensors(signature.inputs),
        "outputs": tensors(signature.outputs),
        "rows": [
            Operation(node.name, node.op, tf.as_dtype(node.attr["T"].type).name, mult_adds=None)
            for node in _computed(graph, [info.name for info in signature.outputs.values()])
            if node.attr["T"].type and "Call" not in node.op
        ],
        "weights": dict(weights.most_common()),
        "unsupported_ops": saved_model_check.reaching_out(message),
    }


def _dimensions(shape: Any) -> list[int]:
    return [size.size for size in shape.dim]


def _computed(graph: Any, outputs: Iterable[str]) -> list[Any]:
    """Returns the nodes that the tensors `outputs` come from, those of the functions on the way included."""
    functions = {function.signature.name: function.node_def for function in graph.graph_def.library.function}
    nodes = {node.name: node for node in graph.graph_def.node}
    waiting, called, found = [name.partition(":")[0] for name in outputs], [], {}
    while waiting:
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in found:
            found[name] = nodes[name]
            waiting += nodes[name].input
    result = list(found.values())
    for node in result:  # which grows by the bodies of the functions that its nodes call
        for name in saved_model_check.references(node):
            if name in functions and name not in called:
                called.append(name)
                result += functions[name]
    return result
