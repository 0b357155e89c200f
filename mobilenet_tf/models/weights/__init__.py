"""Weights: the published files, loading from every Keras format with a report, and conversion from torchvision."""

from mobilenet_tf.models.weights.catalog import PUBLISHED, Published, cache_folder, download, published
from mobilenet_tf.models.weights.identity import Identity, identify
from mobilenet_tf.models.weights.loading import LoadReport, load
from mobilenet_tf.models.weights.torchvision import from_torchvision

__all__ = [
    "PUBLISHED",
    "Identity",
    "LoadReport",
    "Published",
    "cache_folder",
    "download",
    "from_torchvision",
    "identify",
    "load",
    "published",
]
