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
        MNASNetA1,
        MNASNetB1,
        MNASNetSmall,
        MobileDetCPU,
        MobileDetDSP,
        MobileDetEdgeTPU,
        MobileNetEdgeTPUV1,
        MobileNetEdgeTPUV2L,
        MobileNetEdgeTPUV2M,
        MobileNetEdgeTPUV2S,
        MobileNetEdgeTPUV2XS,
        MobileNetMultiAVG,
        MobileNetMultiAVGSeg,
        MobileNetMultiMAX,
        MobileNetMultiMAXSeg,
        MobileNetV1,
        MobileNetV2,
        MobileNetV3Large,
        MobileNetV3Small,
        MobileNetV4ConvLarge,
        MobileNetV4ConvMedium,
        MobileNetV4ConvMediumSeg,
        MobileNetV4ConvSmall,
        MobileNetV4HybridLarge,
        MobileNetV4HybridMedium,
        backbone,
    )

# TensorFlow leaves oneDNN off on CPUs without AVX-512 and so trains a MobileNet at half the speed there. It looks at
# this once, when it is imported.
if "tensorflow" not in sys.modules:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

register_with_keras()

__version__ = "0.1.0"
__all__ = [
    "MNASNetA1",
    "MNASNetB1",
    "MNASNetSmall",
    "MobileDetCPU",
    "MobileDetDSP",
    "MobileDetEdgeTPU",
    "MobileNetEdgeTPUV1",
    "MobileNetEdgeTPUV2L",
    "MobileNetEdgeTPUV2M",
    "MobileNetEdgeTPUV2S",
    "MobileNetEdgeTPUV2XS",
    "MobileNetMultiAVG",
    "MobileNetMultiAVGSeg",
    "MobileNetMultiMAX",
    "MobileNetMultiMAXSeg",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "MobileNetV4ConvLarge",
    "MobileNetV4ConvMedium",
    "MobileNetV4ConvMediumSeg",
    "MobileNetV4ConvSmall",
    "MobileNetV4HybridLarge",
    "MobileNetV4HybridMedium",
    "backbone",
    "load",
    "weights",
]
HOMES = dict.fromkeys(__all__, "mobilenet_tf.models.builder") | {"load": "mobilenet_tf.api"}


def __getattr__(name: str):
    if name == "weights":
        return import_module("mobilenet_tf.weights")
    if name in HOMES:
        return getattr(import_module(HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
