"""Walking through Keras networks. All access to private attributes of Keras is in this file.

Keras has no public interface for the calls of a functional model, only for its layers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import keras


def leaves(layer) -> Iterable[keras.layers.Layer]:
    """All layers of a model that hold no others, nested models included, in topological order."""
    for child in getattr(layer, "layers", []):
        yield from leaves(child) if getattr(child, "layers", None) else (child,)


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer or model and everything in it at any depth, layers within layers included; each layer once."""
    return list(layer._flatten_layers())


def child_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns what a layer or model holds directly."""
    return list(layer._flatten_layers(include_self=False, recursive=False))


def inputs_of(layer: keras.layers.Layer) -> Any:
    """Returns the symbolic tensors of the last call of a layer, in the structure of its first argument."""
    return layer._inbound_nodes[-1].arguments.args[0]


def consumed_tensors(model: keras.Model) -> list[keras.KerasTensor]:
    """Returns the symbolic tensors that the layers of a functional model take, and its outputs.

    A nested model counts as one layer.
    """
    taken = [tensor for layer in model.layers for node in layer._inbound_nodes for tensor in node.input_tensors]
    return taken + keras.tree.flatten(model.output)


def producer(tensor: Any) -> tuple[keras.layers.Layer, int]:
    """Returns (the layer or model that a symbolic tensor comes from, the tensor's index among its outputs)."""
    return tensor._keras_history.operation, tensor._keras_history.tensor_index


def only_consumer(layer: keras.layers.Layer) -> keras.layers.Layer | None:
    """Returns the layer that takes the outputs of `layer`; None where there are none or several."""
    nodes = layer._outbound_nodes
    return nodes[0].operation if len(nodes) == 1 else None


def calls(model: keras.Model) -> Iterator[Any]:
    """Yields the nodes of a functional model in the order of computation, those of its inputs left out.

    A node is one call of a layer: `operation` is the layer, `arguments.fill_in` puts other tensors in the place of
    those that the layer was called with, `outputs` are the tensors that came of it.
    """
    for depth in sorted(model._nodes_by_depth, reverse=True):
        yield from (node for node in model._nodes_by_depth[depth] if not node.is_input)


def input_structure(model: keras.Model) -> Any:
    """Returns the inputs of a functional model in the structure that it was made with: a tensor, a list, a dict."""
    return model._inputs_struct


def output_structure(model: keras.Model) -> Any:
    """Returns the outputs of a functional model in the structure that it was made with: a tensor, a list, a dict."""
    return model._outputs_struct
