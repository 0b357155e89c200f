"""What every reader of files gives: images and their masks, and the Source made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from mobilenet_tf.config import Rendering
from mobilenet_tf.data.images import TRANSPOSITIONS, TURNED, header
from mobilenet_tf.data.source import Sample, Source, image_loader
from mobilenet_tf.tasks.segmentation.data.masks import checked_mask, own_orientation
from mobilenet_tf.utils.errors import some

LOOKED_AT = 256  # images whose EXIF orientation is asked for
ENOUGH = 8  # masks whose size tells


@dataclass(frozen=True)
class MaskedImages:
    """The images of one split and what their masks are made of.

    masks: the key of each image's mask: for most readers its path.
    read_mask: key -> uint8 [H, W] of class ids and 255; raises UserError.
    findings: what is worth a line about the files, before any is opened.
    as_stored: whether masks whose size does not tell are those of the images as they are stored; None: `oriented` has
        still to find it out.
    """

    images: Sequence[Path]
    masks: Sequence[str]
    classes: Sequence[str]
    read_mask: Callable[[str], np.ndarray]
    findings: Sequence[str] = ()
    as_stored: bool | None = None


def oriented(masked: MaskedImages) -> MaskedImages:
    """The same images, with what their EXIF orientations say of the masks.

    A mask of an image that is shown sideways tells by its size whether it is that of the image as it is stored. Masks
    of mirrored, upside-down and square images do not tell: they are taken like the others, for one tool has made all,
    and as shown where no other tells, which is then a finding. Some images from all over the split are looked at.
    """
    if masked.as_stored is not None:
        return masked
    told: list[bool] = []
    unclear: list[Path] = []
    for index in np.random.default_rng(0).permutation(len(masked.images))[:LOOKED_AT]:
        image, key = masked.images[int(index)], masked.masks[int(index)]
        try:
            size, orientation = header(image)
            if orientation not in TRANSPOSITIONS or len(told) >= ENOUGH:
                continue
            if orientation in TURNED and size[0] != size[1]:
                told.append(masked.read_mask(key).shape == size[::-1])
            elif own_orientation(key) == 1:
                unclear.append(image)
        except (OSError, ValueError, Image.DecompressionBombError):  # told where the image is used, if it can be
            continue
    lines = []
    if unclear and not told:
        lines.append(
            f"the masks of {len(unclear)} images do not tell whether they are turned with the image by its EXIF "
            f"orientation, and are taken as it is shown: {some(unclear, 2)}"
        )
    return replace(masked, as_stored=bool(told) and all(told), findings=[*masked.findings, *lines])


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
        mask = checked_mask(
            masked.read_mask, sample["id"], sample["mask"], sample["original_size"], bool(masked.as_stored)
        )
        return {**sample, "mask": mask}

    return Source(items, load, len(masked.images), list(masked.classes), corrupt)
