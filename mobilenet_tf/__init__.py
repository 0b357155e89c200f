"""MobileNets from training to the phone. Importing this package imports no TensorFlow; using a builder does."""

import os
import sys
from importlib import import_module

# TensorFlow leaves oneDNN off on CPUs without AVX-512 and so trains a MobileNet at half the speed there. It looks at
# this once, when it is imported.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
__all__ = ["MobileNetV1", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "backbone"]


def __getattr__(name):
    if name in __all__:
        return getattr(import_module("mobilenet_tf.build"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
