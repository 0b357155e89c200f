"""The old place of `mobilenet_tf.training.train`, which ends with the next release."""

import warnings

from mobilenet_tf.training.train import Run, train

__all__ = ["Run", "train"]

warnings.warn(
    "import train from mobilenet_tf.training.train; mobilenet_tf.train ends with the next release", stacklevel=2
)
