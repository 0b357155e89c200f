"""MobileNets from training to the phone. Importing this package imports no TensorFlow; using a builder does."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilenet_tf import weights
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

__version__ = "0.1.0"
__all__ = ["MobileNetV1", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "backbone", "weights"]


def __getattr__(name: str):
    if name == "weights":
        return import_module("mobilenet_tf.weights")
    if name in __all__:
        return getattr(import_module("mobilenet_tf.models.builder"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
