"""Which layers of a Keras model make the operations that TFLite does not support."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from mobilenet_tf.models.graph import child_layers


def unsupported_ops(error: Any, net: Any) -> str:
    """Returns the operations that a ConverterError names and their layers, as one line.

    An example: "Erfinv (layer backbone/act), IFFT2D (layer x)".
    """
    operations = [
        (entry.operator.name.removeprefix("tf."), next((call.name for call in entry.location.call), ""))
        for entry in reversed(error.errors)  # the converter starts with the last one of the graph
        if entry.operator.name
    ]
    return with_layers(operations, net) if operations else str(error).strip().partition("\n")[0]


def with_layers(operations: Iterable[tuple[str, str]], net: Any) -> str:
    """Returns each kind of operation with the layers that make it, as one line.

    operations: (kind, the operation's name in the graph).
    """
    layers: dict[str, dict[str, None]] = {}
    for operation, name in operations:
        layers.setdefault(operation, {})[_layer(name, net)] = None
    lists = {operation: ", ".join(filter(None, paths)) for operation, paths in layers.items()}
    return ", ".join(f"{operation} (layer {paths})" if paths else operation for operation, paths in lists.items())


def _layer(name: str, net: Any) -> str:
    """Returns the layer that an operation's name lies in, as "backbone/block/act"; empty where it lies in none.

    TensorFlow appends a number to a scope that is opened again, and Keras opens that of a layer to build it and to
    call it.
    """
    layer, path = net, []
    for scope in name.split("/")[1:]:  # the first is the network's own
        children = {child.name: child for child in child_layers(layer)}
        child = children.get(re.sub(r"_\d+$", "", scope)) or children.get(scope)
        if child is not None:
            layer = child
            path.append(child.name)
    return "/".join(path)
