"""Folders of images and masks, in either of two layouts, with or without splits."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.data.images import EXTENSIONS, files_below
from mobilenet_tf.data.label_files import check_class_count
from mobilenet_tf.data.splits import HELD_OUT, SPLITS, draw, names_of
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data.layout import check_folder, class_names
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.tasks.segmentation.data.masks import MaskFiles, identity_table
from mobilenet_tf.utils.errors import UserError

MASK_SUFFIXES = ("", "_mask", "_label", "_L")  # the mask of image x is x.png, x_mask.png, ...
Pairs = list[tuple[Path, Path]]  # an image and its mask


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """root/SPLIT/images and root/SPLIT/masks, or root/images/SPLIT and root/masks/SPLIT, or both without splits.

    Masks are PNG files of the image's name (or with _mask, _label, _L behind it). Class names come from `data.classes`
    or root/classes.txt, one a line, or from the table of colors. Without splits, validation and test are drawn from
    all; without a validation split, from train.
    """
    root = check_folder(data.path)
    classes, read_mask = _classes(data)
    pairs = _pairs_of(root, split, data.validation_fraction, seed)
    return MaskedImages([image for image, _ in pairs], [str(mask) for _, mask in pairs], classes, read_mask)


def _pairs_of(root: Path, split: str, fraction: float, seed: int) -> Pairs:
    """The images and masks of a split, drawn where it has no folders."""
    folders = {name: _split_folders(root, name) for name in SPLITS}
    if of_split := folders[split]:
        pairs = _pairs(*of_split)
        if split == "train" and not folders["validation"]:
            return _draw(pairs, ["validation"], fraction, seed, split)
        return pairs
    if split == "validation" and (of_train := folders["train"]):
        return _draw(_pairs(*of_train), ["validation"], fraction, seed, split)
    if any(folders.values()) or not (root / "images").is_dir():
        raise UserError(f"{root} must have images and masks for the split {split}. Received: none")
    return _draw(_pairs(root / "images", root / "masks"), HELD_OUT, fraction, seed, split)


def _split_folders(root: Path, split: str) -> tuple[Path, Path] | None:
    """(the folder of a split's images, that of its masks), or None."""
    for name in names_of(split):
        for images, masks in (
            (root / name / "images", root / name / "masks"),
            (root / "images" / name, root / "masks" / name),
        ):
            if images.is_dir():
                return images, masks
    return None


def _pairs(images: Path, masks: Path) -> Pairs:
    """Every image of a folder with its mask."""
    paths = files_below(images)
    if not paths:
        raise UserError(f"{images} must have images ({' '.join(EXTENSIONS)}). Received: none")
    pairs = []
    for path in paths:
        stem = masks / path.relative_to(images).with_suffix("")
        candidates = [stem.with_name(f"{stem.name}{suffix}.png") for suffix in MASK_SUFFIXES]
        mask = next((candidate for candidate in candidates if candidate.is_file()), None)
        if mask is None:
            raise UserError(f"{path} must have a mask {candidates[0]}. Received: no such file")
        pairs.append((path, mask))
    return pairs


def _draw(pairs: Pairs, held_out: Sequence[str], fraction: float, seed: int, split: str) -> Pairs:
    drawn = draw(len(pairs), held_out, fraction, seed)[split]
    if not len(drawn):
        raise UserError(f"there must be images enough to draw a {split} split. Received: {len(pairs)} images")
    return [pairs[index] for index in drawn]


def _classes(data: Data) -> tuple[list[str], MaskFiles]:
    """(class names, what reads the masks)."""
    if not data.mask_colors:
        names = class_names(data.classes or data.path / "classes.txt")
        return names, MaskFiles(identity_table(len(names)))
    table = _color_table(data.mask_colors)
    names = list(dict.fromkeys(name for _, name in table if name != "ignore"))
    ids = {name: i for i, name in enumerate(names)} | {"ignore": IGNORE}
    check_class_count(names, data.mask_colors, most=IGNORE)
    return names, MaskFiles(identity_table(0), {color: ids[name] for color, name in table})


def _color_table(path: Path) -> list[tuple[tuple[int, int, int], str]]:
    """[(color, class name)] of a CSV file with columns red, green, blue, name; the name "ignore" stands for 255."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
        return [((int(row["red"]), int(row["green"]), int(row["blue"])), row["name"]) for row in rows]
    except OSError as error:
        raise UserError(f"data.mask_colors must be a CSV file. Received: {path}: {error.strerror}") from None
    except (KeyError, ValueError, TypeError):
        raise UserError(
            f"{path} must have the columns red, green, blue (0..255) and name. Received: other rows"
        ) from None
