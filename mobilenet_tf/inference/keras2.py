"""Makes the configs of Keras 2 and tf.keras those of Keras 3, which stores the same networks in other words.

No Keras here: a config is plain values. Weights need no change.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

# Operations of TensorFlow that a functional model of tf.keras holds as layers, such as the preprocessing of
# keras.applications, and that are one affine change: {function: operand -> (scale, offset)}. The operand is a number.
AFFINE: dict[str, Callable[[float], tuple[float, float]]] = {
    "add": lambda y: (1.0, y),
    "subtract": lambda y: (1.0, -y),
    "multiply": lambda y: (y, 0.0),
    "truediv": lambda y: (1 / y if y else math.inf, 0.0),
}
ALIASES = {"sub": "subtract", "mul": "multiply", "divide": "truediv"}
OPERANDS = ("y", "bias")  # what the second operand is called
RESCALING = {"class_name": "Rescaling", "module": "keras.layers", "registered_name": None}
FLIPPING = {
    "class_name": "FlipChannels",
    "module": "mobilenet_tf.models.layers",
    "registered_name": "mobilenet_tf>FlipChannels",
}
REVERSED = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]  # images[..., ::-1]
UNKNOWN_ARGUMENTS = {"DepthwiseConv2D": ("groups",)}  # which Keras 3 does not know
UNKNOWN_ANYWHERE = ("rng_type",)
FUNCTIONAL = {"class_name": "Functional", "module": "keras.src.models.functional", "registered_name": "Functional"}
SEQUENTIAL = {"class_name": "Sequential", "module": "keras", "registered_name": None}
MODELS = {"Functional": FUNCTIONAL, "Model": FUNCTIONAL, "Sequential": SEQUENTIAL}


def repaired(config: dict, keras_version: str) -> dict:
    """Returns the config of a model that this version of Keras stored as Keras 3 would store it."""
    if not keras_version.startswith(("1.", "2.")):
        return config
    config = copy.deepcopy(config)
    _repair(config)
    return config


def _repair(entry: Any) -> None:
    """Repairs a config, and all configs within it, in place."""
    if isinstance(entry, list):
        for each in entry:
            _repair(each)
        return
    if not isinstance(entry, dict):
        return
    options = entry.get("config")
    if isinstance(entry.get("class_name"), str) and isinstance(options, dict):
        _repair_layer(entry, options)
    for value in entry.values():
        _repair(value)


def _repair_layer(entry: dict, options: dict) -> None:
    name = entry["class_name"]
    for argument in (*UNKNOWN_ARGUMENTS.get(name, ()), *UNKNOWN_ANYWHERE):
        options.pop(argument, None)
    if name != "InputLayer":
        options.pop("batch_input_shape", None)  # the InputLayer in front of it has the same
    axis = options.get("axis")
    if name == "BatchNormalization" and isinstance(axis, list) and len(axis) == 1:
        options["axis"] = axis[0]
    if name == "TFOpLambda":
        _to_rescaling(entry, options)
    if name == "SlicingOpLambda":
        _to_flipping(entry, options)
    if name in MODELS:
        if "module" in entry:  # as in .keras files
            entry |= MODELS[name]
        _without_slashes(options)
        _count_calls_from_zero(options)
        _unwrap(options)


def _to_rescaling(entry: dict, options: dict) -> None:
    """Turns an operation of TensorFlow with one constant operand into a Rescaling layer."""
    function = str(options.get("function", "")).rpartition(".")[2]
    function = ALIASES.get(function, function)
    found = [_operand(node) for node in entry.get("inbound_nodes", [])]
    if len(found) != 1 or found[0] is None or function not in (*AFFINE, "bias_add"):
        return  # Keras then says that it does not know the layer
    operand = found[0]
    if isinstance(operand, list):
        pairs = [AFFINE["add" if function == "bias_add" else function](value) for value in operand]
        scale, offset = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        if len(set(scale)) == 1:
            scale = scale[0]
    else:
        scale, offset = AFFINE[function](operand)
    entry |= RESCALING
    entry["config"] = {"name": options["name"], "scale": scale, "offset": offset}
    _without_arguments(entry)


def _operand(node: Any) -> float | list[float] | None:
    """The constant second operand of a call; None where it is another tensor."""
    arguments = node[-1] if isinstance(node, list) and node and isinstance(node[-1], dict) else {}
    value = next((arguments[key] for key in OPERANDS if key in arguments), None)
    if isinstance(value, list):
        return value if value and all(isinstance(each, int | float) for each in value) else None
    return float(value) if isinstance(value, int | float) else None


def _to_flipping(entry: dict, options: dict) -> None:
    """Turns images[..., ::-1] into a layer; it swaps RGB and BGR."""
    nodes = entry.get("inbound_nodes", [])
    arguments = nodes[0][-1] if len(nodes) == 1 and isinstance(nodes[0], list) else {}
    if isinstance(arguments, dict) and arguments.get("slice_spec") == REVERSED:
        entry |= FLIPPING
        entry["config"] = {"name": options["name"]}
        _without_arguments(entry)


def _without_arguments(entry: dict) -> None:
    """Leaves the tensor alone of the one call of a layer, as Keras stores calls: [[[name, call, output, {}]]]."""
    [node] = entry["inbound_nodes"]
    entry["inbound_nodes"] = [[[*node[:3], {}]]]


def _count_calls_from_zero(options: dict) -> None:
    """Numbers the calls of the models within a model from 0; Keras 2 counts the call that made them too."""
    layers = [layer for layer in options.get("layers", []) if isinstance(layer, dict)]
    for nested in layers:
        nodes = nested.get("inbound_nodes")
        if nested.get("class_name") in MODELS and isinstance(nodes, list):
            uses = [use for use in _uses(options) if use[0] == nested.get("name")]
            numbers = sorted({use[1] for use in uses})
            if len(numbers) <= len(nodes) and numbers and numbers[-1] >= len(nodes):
                first = numbers[-1] - len(nodes) + 1
                for use in uses:
                    use[1] = max(0, use[1] - first)


def _uses(options: dict) -> list[list]:
    """The references to outputs of layers in a model's graph: [name of the layer, number of its call, output, …]."""
    found, waiting = [], [options.get("output_layers")]
    waiting += [layer.get("inbound_nodes") for layer in options.get("layers", []) if isinstance(layer, dict)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
            found.append(value)
        elif isinstance(value, list):
            waiting += value
    return found


def _unwrap(options: dict) -> None:
    """A single input or output is no list of one, for which Keras 3 would take it."""
    for key in ("input_layers", "output_layers"):
        value = options.get(key)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
            options[key] = value[0]


def _without_slashes(options: dict) -> None:
    """Replaces the slashes in the names of a model's layers, as in MobileNetV3's, which Keras 3 does not allow."""
    names = [layer.get("name") for layer in options.get("layers", []) if isinstance(layer, dict)]
    new = {name: name.replace("/", "_") for name in names if isinstance(name, str) and "/" in name}
    if new and len({*new.values(), *names}) == len(new) + len(set(names)):
        _rename(options, new)


def _rename(value: Any, names: dict[str, str]) -> None:
    """Renames the layers of a model wherever their names stand."""
    parts: Sequence = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, part in parts:
        if isinstance(part, str) and part in names:
            value[key] = names[part]
        elif isinstance(part, dict | list):
            _rename(part, names)
