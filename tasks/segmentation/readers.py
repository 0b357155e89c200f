"""Layouts of data sets on disk: image and mask folders, VOC, Cityscapes, COCO -> the Pairs of a split."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mobilenet_tf.errors import UserError
from mobilenet_tf.tasks.segmentation.data import IGNORE, Pairs, PathReader, identity_table

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
MASK_SUFFIXES = ("", "_mask", "_label", "_L")  # mask file of picture x: x.png, x_mask.png, ...


# Folders


def read_folder(root: Path, split: str, *, classes, colours, validation_fraction, seed, **_) -> Pairs:
    """root/SPLIT/images and root/SPLIT/masks, or root/images/SPLIT and root/masks/SPLIT, or both without splits.

    Masks are PNG files of the picture's name (or with _mask, _label, _L behind it). Class names come from `classes` or
    root/classes.txt, one a line, or from the colour table. Without splits, validation and test are drawn from all;
    without a validation split, from train.
    """
    _folder(root)
    names, reader = _classes(root, classes, colours)
    images, masks = _split_folders(root, split)
    if images is None and split == "validation":
        drawn = _draw(_pair(*_split_folders(root, "train")), validation_fraction, seed, "validation", test=False)
    elif images is None or not images.is_dir():
        if any(_split_folders(root, other)[0] for other in SPLIT_NAMES) or not (root / "images").is_dir():
            raise UserError(f"{root} must have pictures and masks for the split {split}. Received: none")
        drawn = _draw(_pair(root / "images", root / "masks"), validation_fraction, seed, split, test=True)
    else:
        drawn = _pair(images, masks)
        if split == "train" and not _split_folders(root, "validation")[0]:
            drawn = _draw(drawn, validation_fraction, seed, "train", test=False)
    return Pairs([image for image, _ in drawn], [str(mask) for _, mask in drawn], names, reader)


def _split_folders(root: Path, split: str) -> tuple[Path | None, Path | None]:
    """(the folder of a split's pictures, that of its masks), or (None, None)."""
    for name in SPLIT_NAMES[split]:
        for images, masks in (
            (root / name / "images", root / name / "masks"),
            (root / "images" / name, root / "masks" / name),
        ):
            if images.is_dir():
                return images, masks
    return None, None


def _pair(images: Path | None, masks: Path | None) -> list[tuple[Path, Path]]:
    """Every picture with its mask."""
    if images is None:
        return []
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in PICTURES)
    if not found:
        raise UserError(f"{images} must have pictures ({' '.join(PICTURES)}). Received: none")
    pairs = []
    for image in found:
        stem = masks / image.relative_to(images).with_suffix("")
        candidates = [stem.with_name(f"{stem.name}{suffix}.png") for suffix in MASK_SUFFIXES]
        mask = next((path for path in candidates if path.is_file()), None)
        if mask is None:
            raise UserError(f"{image} must have a mask {candidates[0]}. Received: no such file")
        pairs.append((image, mask))
    return pairs


def _draw(pairs: list, fraction: float, seed: int, split: str, *, test: bool) -> list:
    """The part of a split, drawn the same way for every one: validation, perhaps as much for test, the rest train."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    take = min(max(1, round(fraction * len(pairs))), (len(pairs) - 1) // (2 if test else 1))
    cuts = {"validation": order[:take], "test": order[take : 2 * take], "train": order[take * (2 if test else 1) :]}
    drawn = [pairs[i] for i in sorted(cuts[split])]
    if not drawn:
        raise UserError(f"there must be pictures enough to draw a {split} split. Received: {len(pairs)} pictures")
    return drawn


def _classes(root: Path, classes, colours) -> tuple[list[str], PathReader]:
    if colours:
        table = _colours(Path(colours))
        names = list(dict.fromkeys(name for _, name in table if name != "ignore"))
        ids = {name: i for i, name in enumerate(names)} | {"ignore": IGNORE}
        return _several(names, colours), PathReader(identity_table(0), {colour: ids[name] for colour, name in table})
    path = Path(classes) if classes else root / "classes.txt"
    names = _several(read_names(path), path)
    return names, PathReader(identity_table(len(names)))


def read_names(path: Path) -> list[str]:
    """The class names in a file, one a line. Raises UserError."""
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise UserError(
            f"the class names must be in a text file, one a line. Received: {path}: {error.strerror}"
        ) from None
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{path} must name each class once. Received: {twice} more than once")
    return names


def _colours(path: Path) -> list[tuple[tuple[int, int, int], str]]:
    """[(colour, class name)] of a CSV file with columns red, green, blue, name; the name "ignore" stands for 255."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        return [((int(row["red"]), int(row["green"]), int(row["blue"])), row["name"]) for row in rows]
    except OSError as error:
        raise UserError(f"data.colours must be a CSV file. Received: {path}: {error.strerror}") from None
    except (KeyError, ValueError, TypeError):
        raise UserError(
            f"{path} must have the columns red, green, blue (0..255) and name. Received: other rows"
        ) from None


def _several(names: Sequence[str], where) -> list[str]:
    if not 2 <= len(names) <= IGNORE:
        raise UserError(f"{where} must have 2 to {IGNORE} classes. Received: {len(names)}")
    return list(names)


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise UserError(f"data.root must be a folder that exists. Received: {root}")
    return root


READERS = {"folder": read_folder}
