"""The public face of `mobilenet_tf.models.weights`: published files, loading with a report, conversion."""

from mobilenet_tf.models.weights import (
    PUBLISHED,
    Identity,
    LoadReport,
    Published,
    cache_folder,
    download,
    from_torchvision,
    identify,
    load,
    published,
)

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
