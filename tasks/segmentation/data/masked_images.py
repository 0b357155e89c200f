"""What every reader of files gives: images and their masks, and the Source made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_tf.config import Rendering
from mobilenet_tf.data.source import Sample, Source, image_loader
from mobilenet_tf.tasks.segmentation.data.masks import checked_mask


@dataclass(frozen=True)
class MaskedImages:
    """The images of one split and what their masks are made of.

    masks: the key of each image's mask: for most readers its path.
    read_mask: key -> uint8 [H, W] of class ids and 255; raises UserError.
    findings: what is worth a line about the files, before any is opened.
    """

    images: Sequence[Path]
    masks: Sequence[str]
    classes: Sequence[str]
    read_mask: Callable[[str], np.ndarray]
    findings: Sequence[str] = ()


def source(
    masked: MaskedImages,
    *,
    on_corrupt: str = "skip",
    rendering: Rendering = Rendering(),  # noqa: B008 - immutable
) -> Source:
    """The Source of images with masks. Images that cannot be read are skipped; a wrong mask is an error."""
    columns: Any = {
        "id": [os.fsencode(path) for path in masked.images],
        "mask": [os.fsencode(key) for key in masked.masks],
    }
    items = tf.data.Dataset.from_tensor_slices(columns)
    corrupt: dict[str, str] = {}
    load_image = image_loader(len(masked.images), corrupt, on_corrupt=on_corrupt, rendering=rendering)

    def load(record: Sample) -> Sample:
        sample = load_image(record)
        mask = checked_mask(masked.read_mask, sample["id"], sample["mask"], sample["original_size"])
        return {**sample, "mask": mask}

    return Source(items, load, len(masked.images), list(masked.classes), corrupt)
