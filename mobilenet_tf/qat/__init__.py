"""Quantisation-aware training: a network that trains as the int8 file made from it will compute."""

from mobilenet_tf.qat.calibration import calibrated
from mobilenet_tf.qat.graph import aware, is_aware, strip

__all__ = ["aware", "calibrated", "is_aware", "strip"]
