"""What a model ends in, one record each: what its outputs mean to whoever runs, checks or describes a file.

The endings that several tasks share are below. A task declares its own beside them in `endings` of its config's Export
section. A file names its ending in `Metadata.outputs`. No TensorFlow here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

Named = dict[str, np.ndarray]  # a file's outputs by name, batch first
Shapes = Mapping[str, Sequence[int | None]]  # shapes of tensors by name, batch first

MIN_PROBABILITY = np.float32(1e-9)  # a quantized probability may be 0, which has no logarithm


def unchanged(outputs: Named) -> Named:
    """Returns the outputs as they are."""
    return outputs


def unknown_classes(shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
    """Returns no number: the shapes do not tell how many classes there are."""
    return []


@dataclass(frozen=True)
class Ending:
    """What a model ends in. The defaults describe an ending about which nothing is known but its name."""

    name: str
    to_raw: Callable[[Named], Named] = unchanged  # a file's outputs -> what the task's decode takes, such as logits
    probabilities: Callable[[np.ndarray], np.ndarray] | None = None  # of logits, where the outputs are probabilities
    is_layer: bool = False  # whether a layer of this name makes it, whose inputs are what `class_counts` looks at
    # Shapes of the model's outputs, or of that layer's inputs, and the experiment's config as plain values -> the
    # numbers of classes that fit them; none where they do not tell.
    class_counts: Callable[[Shapes, Mapping[str, Any]], Sequence[int]] = unknown_classes
    has_post_process: bool = False  # whether TFLite's custom operation for detectors makes it; see POST_PROCESS
    mediapipe_names: Mapping[str, str] = field(default_factory=dict)  # output -> its name in a detector's metadata
    map_activation: Literal["none", "softmax"] = "none"  # what turns maps [N, H, W, C] into probabilities


def last_axis(shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
    """Returns the size of a single output's last axis, which has one value a class."""
    sizes = [shape[-1] for shape in shapes.values()]
    return [size for size in sizes if size is not None] if len(sizes) == 1 else []


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns the sigmoid, without overflow for large negative logits."""
    return np.exp(-np.logaddexp(0, -logits))


def _log(value: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(value, MIN_PROBABILITY))


def _from_softmax(outputs: Named) -> Named:
    """Returns logits up to a constant, which does not change their softmax."""
    return {name: _log(value) for name, value in outputs.items()}


def _from_sigmoid(outputs: Named) -> Named:
    return {name: _log(value) - _log(1 - value) for name, value in outputs.items()}


LOGITS = Ending("logits", class_counts=last_axis, map_activation="softmax")
SOFTMAX = Ending("softmax", to_raw=_from_softmax, probabilities=softmax, class_counts=last_axis)
SIGMOID = Ending("sigmoid", to_raw=_from_sigmoid, probabilities=sigmoid, class_counts=last_axis)
SHARED = {ending.name: ending for ending in (LOGITS, SOFTMAX, SIGMOID)}


@cache
def find(name: str, task: str) -> Ending:
    """Returns the ending of that name: a shared one, or one that the task declares.

    For a name that neither knows, such as one of a later version, it is an ending with nothing but the name: the
    outputs stay as they are.
    """
    if name in SHARED:
        return SHARED[name]
    module = f"mobilenet_tf.tasks.{task}.config"
    if not task.isidentifier() or find_spec(f"mobilenet_tf.tasks.{task}") is None or find_spec(module) is None:
        return Ending(name)
    declared = importlib.import_module(module).Config.model_fields["export"].annotation.endings
    return next((ending for ending in declared if ending.name == name), Ending(name))
