"""Weights: the published files, loading from every Keras format with a report, conversion from torchvision and timm."""

from mobilenet_tf.models.weights.catalog import PUBLISHED, Published, cache_folder, download, published
from mobilenet_tf.models.weights.identity import Identity, identify
from mobilenet_tf.models.weights.loading import LoadReport, load
from mobilenet_tf.models.weights.timm import from_timm
from mobilenet_tf.models.weights.torchvision import from_torchvision

__all__ = [
    "PUBLISHED",
    "Identity",
    "LoadReport",
    "Published",
    "cache_folder",
    "download",
    "from_timm",
    "from_torchvision",
    "identify",
    "load",
    "published",
]
