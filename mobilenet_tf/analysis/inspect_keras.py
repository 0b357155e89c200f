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
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import load_keras, open_saved_model
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
    """Returns the fields of `Inspection` that can be read from a SavedModel."""
    _model, serve = open_saved_model(path)
    graph = serve.graph.as_graph_def()
    nodes = [node for function in graph.library.function for node in function.node_def]
    weights: Counter[str] = Counter()
    for variable in serve.variables:
        weights[variable.dtype.name] += _bytes(variable)

    def tensors(specs) -> list[Tensor]:
        return [Tensor(name, free_shape(spec.shape), spec.dtype.name) for name, spec in specs.items()]

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
