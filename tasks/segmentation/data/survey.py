"""What the masks of a split hold, looked at before anything is trained on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.tasks.segmentation.data.masks import MaskFiles, opened
from mobilenet_tf.utils.errors import UserError

SAMPLE = 32  # masks from all over the split that shares and palettes are taken from
MOSTLY = 0.5  # share of ignored pixels above which that is worth a line
OUTNUMBERED = 10  # the same as a multiple of the pixels of all classes but the commonest


def survey(masked: MaskedImages, split: str) -> list[str]:
    """What is worth a line about the masks of a split.

    Raises UserError where masks of train hold nothing to learn: one class and 255, which is ignored, as black and white
    masks do. All masks are read only where that is so.
    """
    order = [int(index) for index in np.random.default_rng(0).permutation(len(masked.masks))]
    seen: list[tuple[str, np.ndarray]] = []  # masks with their pixels of each value
    classes: set[int] = set()
    for index in order:
        key = masked.masks[index]
        try:
            mask = masked.read_mask(key)
        except UserError:  # told where the image is used, if it can be
            continue
        seen.append((key, np.bincount(mask.ravel(), minlength=256)))
        classes |= {*np.flatnonzero(seen[-1][1][:IGNORE]).tolist()}
        if len(seen) >= SAMPLE and len(classes) > 1:
            break
    fault, lines = _of_counts(masked, seen, sorted(classes), split)
    if fault and split == "train":
        raise UserError(fault)
    return [*([fault] if fault else []), *lines, *_of_palettes(masked, order[:SAMPLE])]


def _of_counts(
    masked: MaskedImages, seen: Sequence[tuple[str, np.ndarray]], classes: Sequence[int], split: str
) -> tuple[str, list[str]]:
    """(why there is nothing to learn, or "", what else is worth a line)."""
    counts = sum((pixels for _, pixels in seen), np.zeros(256, np.int64))
    total, ignored = max(1, counts.sum()), counts[IGNORE]
    names = [masked.classes[label] for label in classes]
    advice = ""
    if isinstance(masked.read_mask, MaskFiles):
        object_name = next((name for name in masked.classes if name not in names), "object")
        first = f"{classes[0]}: {names[0]}, " if len(names) == 1 else ""
        advice = f"; where 255 is a class, set data.values={{{first}255: {object_name}}}"
    if seen and ignored and len(names) < 2:
        received = f"255, which is ignored, {f'and {names[0]}' if names else 'alone'}, in all {len(seen)} masks{advice}"
        return f"the masks of {split} must hold two classes or more. Received: {received}", []
    if len(names) == 1:
        return "", [f"all pixels of the {len(seen)} masks of {split} are {names[0]}: there is nothing to tell it from"]
    if not advice:
        return "", []
    if ignored > MOSTLY * total or ignored > OUTNUMBERED * (total - ignored - counts[:IGNORE].max()):
        return "", [f"{ignored / total:.0%} of the pixels of {len(seen)} masks are 255, which is ignored{advice}"]
    alone = [key for key, pixels in seen if pixels[IGNORE] and np.count_nonzero(pixels) == 2]
    with_classes = [pixels for _, pixels in seen if np.count_nonzero(pixels[:IGNORE]) > 1]
    if alone and with_classes and not any(pixels[IGNORE] for pixels in with_classes):
        return "", [
            f"{alone[0]} holds one class and 255, which is ignored, but masks of several classes have no 255{advice}"
        ]
    return "", []


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
        image = opened(path)
    except UserError:
        return {}
    if image.mode != "P" or (palette := image.getpalette("RGB")) is None:
        return {}
    used = np.unique(np.asarray(image)).tolist()
    return {index: tuple(palette[3 * index : 3 * index + 3]) for index in used if 3 * index + 3 <= len(palette)}


def _hex(color: tuple[int, ...]) -> str:
    return "#" + bytes(color).hex()
