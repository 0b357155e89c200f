"""Which layer of a Keras model makes an operation that TFLite lacks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def lacking(error: Any, net: Any) -> str:
    """The operations that a ConverterError speaks of, as one line: "Erfinv (layer backbone/act), IFFT2D (layer x)"."""
    found = [
        (entry.operator.name.removeprefix("tf."), next((call.name for call in entry.location.call), ""))
        for entry in reversed(error.errors)  # which has the last of the graph first
        if entry.operator.name
    ]
    return with_layers(found, net) if found else str(error).strip().partition("\n")[0]


def with_layers(operations: Iterable[tuple[str, str]], net: Any) -> str:
    """(operation, its name in the graph) -> each kind of operation with the layers that make it, as one line."""
    layers: dict[str, dict[str, None]] = {}
    for operation, name in operations:
        layers.setdefault(operation, {})[_layer(name, net)] = None
    lists = {operation: ", ".join(filter(None, paths)) for operation, paths in layers.items()}
    return ", ".join(f"{operation} (layer {paths})" if paths else operation for operation, paths in lists.items())


def _layer(name: str, net: Any) -> str:
    """The layer that an operation lies in, by its scopes, as backbone/block/act; empty where it lies in none.

    TensorFlow numbers a scope that is opened again, and Keras opens a layer's to build it and to call it.
    """
    layer, path = net, []
    for scope in name.split("/")[1:]:  # the first is the network's own
        inner = {each.name: each for each in layer._flatten_layers(include_self=False, recursive=False)}
        found = inner.get(re.sub(r"_\d+$", "", scope)) or inner.get(scope)
        if found is not None:
            layer = found
            path.append(found.name)
    return "/".join(path)
