"""Train, evaluate and export MobileNets. Importing this package imports no TensorFlow; using a builder does."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from mobilenet_tf.registration import register_with_keras

if TYPE_CHECKING:
    from mobilenet_tf import weights
    from mobilenet_tf.api import load
    from mobilenet_tf.models.builder import (
        MobileNetV1,
        MobileNetV2,
        MobileNetV3Large,
        MobileNetV3Small,
        backbone,
    )

# TensorFlow leaves oneDNN off on CPUs without AVX-512 and so trains a MobileNet at half the speed there. It looks at
# this once, when it is imported.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

register_with_keras()

__version__ = "0.1.0"
BUILDERS = ("MobileNetV1", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "backbone")
HOMES = {"load": "mobilenet_tf.api", **dict.fromkeys(BUILDERS, "mobilenet_tf.models.builder")}
__all__ = ["MobileNetV1", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "backbone", "load", "weights"]


def __getattr__(name: str):
    if name == "weights":
        return import_module("mobilenet_tf.weights")
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
