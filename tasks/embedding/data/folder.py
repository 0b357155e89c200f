"""Folders of identities: root/identity/*.jpg or root/split/identity/*.jpg, see `class_folders`."""

from __future__ import annotations

from mobilenet_tf.config import Split
from mobilenet_tf.data.class_folders import read_folder
from mobilenet_tf.data.source import Source
from mobilenet_tf.tasks.embedding.config import Data
from mobilenet_tf.tasks.embedding.data.identities import identity_source


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split."""
    listing = read_folder(data.path, "identity")
    return identity_source(listing.rows, data, split, seed, listing.notes)
