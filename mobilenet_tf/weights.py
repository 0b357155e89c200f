"""The public face of `mobilenet_tf.models.weights`: published files, loading with a report, conversion."""

from mobilenet_tf.models import weights
from mobilenet_tf.models.weights import *  # noqa: F403

__all__ = weights.__all__
