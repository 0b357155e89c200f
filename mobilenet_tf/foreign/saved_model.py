"""SavedModels of others: what their signature and graph say, and how they become a part of a Keras model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from mobilenet_tf.foreign.facts import Facts
from mobilenet_tf.inference import saved_model_check
from mobilenet_tf.inference.predict import open_saved_model
from mobilenet_tf.utils.errors import UserError

SIGNATURE = "serving_default"
ENDINGS = {"Softmax": "softmax", "Sigmoid": "sigmoid", "BiasAdd": "logits", "MatMul": "logits"}
PASSING = ("Identity", "Reshape", "Squeeze")  # operations behind which the values are the same
MOST_STEPS = 100  # from the output back to the operation that makes it


def open_layer(folder: Path, trust: bool) -> tuple[keras.layers.Layer, Facts]:
    """A SavedModel as a layer of Keras, and what it says of itself.

    Raises UserError for a damaged one, one that does more than compute (without `trust`), or with several inputs.
    """
    _, serve = open_saved_model(folder, trust)
    specs = serve.structured_input_signature[1]
    if len(specs) != 1:
        raise UserError(f"{folder} must take one input, images. Received: {len(specs)} inputs, {', '.join(specs)}")
    [spec] = specs.values()
    facts = Facts(
        name=folder.name,
        input_shape=tuple(spec.shape) if spec.shape.rank else (),
        outputs={name: tuple(tensor.shape) for name, tensor in sorted(serve.structured_outputs.items())},
        ends_in=_ends_in(folder),
    )
    layer = keras.layers.TFSMLayer(str(folder), call_endpoint=SIGNATURE, name=_layer_name(folder))
    return layer, facts


def _layer_name(folder: Path) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in folder.name) or "saved_model"


def _ends_in(folder: Path) -> str | None:
    """What the last operation behind a single output makes; None where it is another one."""
    message = saved_model_check.parse(folder)
    graph = next((each for each in message.meta_graphs if SIGNATURE in each.signature_def), None)
    outputs = list(graph.signature_def[SIGNATURE].outputs.values()) if graph else []
    if graph is None or len(outputs) != 1:
        return None
    functions = {function.signature.name: function for function in graph.graph_def.library.function}
    nodes: dict[str, Any] = {node.name: node for node in graph.graph_def.node}
    name, _, index = outputs[0].name.partition(":")
    for _ in range(MOST_STEPS):
        node = nodes.get(name)
        if node is None:
            return None
        called = next((functions[each] for each in saved_model_check.references(node) if each in functions), None)
        if called is not None:
            outputs_of = [argument.name for argument in called.signature.output_arg]
            position = int(index.rpartition(":")[2] or 0)
            if position >= len(outputs_of):
                return None
            nodes = {node.name: node for node in called.node_def}
            name, _, index = called.ret[outputs_of[position]].partition(":")
        elif node.op in PASSING and node.input:
            name, _, index = node.input[0].partition(":")
        else:
            return ENDINGS.get(node.op)
    return None
