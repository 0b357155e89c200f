"""Quantization-aware training (QAT): a network that computes in training what its int8 file will compute."""

from mobilenet_tf.qat.graph import is_prepared, prepare, strip

__all__ = ["is_prepared", "prepare", "strip"]
