"""Folders of images and masks, in any of the layouts of `pairing`, with or without splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data import pairing, parts
from mobilenet_tf.tasks.segmentation.data.layout import check_folder
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.tasks.segmentation.data.masks import LOSSY
from mobilenet_tf.tasks.segmentation.data.pairing import Pairs
from mobilenet_tf.tasks.segmentation.data.value_tables import mask_reader


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """The images and masks of a split: root/SPLIT/images and root/SPLIT/masks and others, see `pairing.LAYOUTS`.

    Masks have the image's name (or _mask, _label, _L behind it). What their values stand for says
    `value_tables.mask_reader`. Without splits, validation and test are drawn from all; without a validation split,
    from train.
    """
    root, folders = pairing.find(check_folder(data.path))
    findings: list[str] = []

    def pairs_of(origin: Split) -> Pairs:
        pairs = pairing.pair(folders[origin])
        findings.extend(_remarks(pairs, pairing.without_image(folders[origin], pairs)))
        return pairs

    pairs = parts.part(pairs_of, lambda pair: pair[0], folders, split, data, seed)
    classes, read_mask = mask_reader(data, root)
    return MaskedImages([image for image, _ in pairs], [str(mask) for _, mask in pairs], classes, read_mask, findings)


def _remarks(pairs: Pairs, unused: Sequence[Path]) -> list[str]:
    """What is worth a line about the files of masks."""
    remarks = []
    lossy = [mask for _, mask in pairs if mask.suffix.lower() in LOSSY]
    if lossy:
        remarks.append(
            f"{len(lossy)} masks are JPEG files, such as {lossy[0]}: JPEG smears values at edges; PNG keeps them"
        )
    shared = [mask for mask, count in Counter(mask for _, mask in pairs).items() if count > 1]
    if shared:
        remarks.append(f"{len(shared)} masks are those of several images, such as {shared[0]}")
    if unused:
        remarks.append(f"{len(unused)} masks have no image and are left out, such as {unused[0]}")
    return remarks
