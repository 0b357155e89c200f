"""What the masks of a split hold, looked at before anything is trained on them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from PIL import Image

from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.tasks.segmentation.data.masks import MaskFiles
from mobilenet_tf.utils.errors import UserError

SAMPLE = 32  # masks from all over the split that shares and palettes are taken from
MOSTLY = 0.5  # share of ignored pixels from which that is worth a line


def survey(masked: MaskedImages) -> list[str]:
    """What is worth a line about the masks of a training split.

    Raises UserError where they hold nothing to learn: one class and 255, which is ignored, as black and white masks
    do. All masks are read only where that is so.
    """
    order = [int(index) for index in np.random.default_rng(0).permutation(len(masked.masks))]
    counts, read = np.zeros(256, np.int64), 0
    for index in order:
        try:
            mask = masked.read_mask(masked.masks[index])
        except UserError:  # told where the image is used, if it can be
            continue
        counts += np.bincount(mask.ravel(), minlength=256)
        read += 1
        if read >= SAMPLE and np.count_nonzero(counts[:IGNORE]) > 1:
            break
    return [*_of_counts(masked, counts, read), *_of_palettes(masked, order[:SAMPLE])]


def _of_counts(masked: MaskedImages, counts: np.ndarray, read: int) -> list[str]:
    present = np.flatnonzero(counts[:IGNORE]).tolist()
    ignored = counts[IGNORE] / max(1, counts.sum())
    names = [masked.classes[label] for label in present]
    advice = ""
    if isinstance(masked.read_mask, MaskFiles):
        object_name = next((name for name in masked.classes if name not in names), "object")
        first = f"{present[0]}: {names[0]}, " if len(names) == 1 else ""
        advice = f"; where 255 is a class, set data.values={{{first}255: {object_name}}}"
    if read and ignored and len(present) < 2:
        received = f"255, which is ignored, {f'and {names[0]}' if names else 'alone'}, in all {read} masks{advice}"
        raise UserError(f"the masks of train must hold two classes or more. Received: {received}")
    if len(present) == 1:
        return [f"all pixels of the {read} masks of train are {names[0]}: there is nothing to tell it from"]
    if advice and ignored > MOSTLY:
        return [f"{ignored:.0%} of the pixels of {read} masks are 255, which is ignored{advice}"]
    return []


def _of_palettes(masked: MaskedImages, indices: list[int]) -> list[str]:
    """Palettes that give one index several colors: then the colors may be the classes, not the indices."""
    if not isinstance(masked.read_mask, MaskFiles) or masked.read_mask.table is None:
        return []
    colors: dict[int, dict[tuple[int, ...], str]] = defaultdict(dict)
    for key in (masked.masks[index] for index in indices):
        for value, color in _palette(key).items():
            colors[value].setdefault(color, key)
    for value, found in colors.items():
        if len(found) > 1:
            (one, first), (other, second) = list(found.items())[:2]
            return [
                f"the palettes of the masks differ: {value} is {_hex(one)} in {first} and {_hex(other)} in {second}; "
                "the values are taken as classes; where the colors are, name them in data.mask_colors"
            ]
    return []


def _palette(path: str) -> dict[int, tuple[int, ...]]:
    """{index: color} of the indices that a palette image uses."""
    try:
        with Image.open(path) as image:
            if image.mode != "P" or (palette := image.getpalette("RGB")) is None:
                return {}
            used = np.unique(np.asarray(image)).tolist()
            return {index: tuple(palette[3 * index : 3 * index + 3]) for index in used if 3 * index + 3 <= len(palette)}
    except (OSError, ValueError):
        return {}


def _hex(color: tuple[int, ...]) -> str:
    return "#" + bytes(color).hex()
