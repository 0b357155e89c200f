"""Layouts of data sets on disk: image and mask folders, VOC, Cityscapes, COCO -> the Pairs of a split."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mobilenet_tf.tasks.segmentation.data import IGNORE, UNKNOWN, Pairs, PathReader, identity_table
from mobilenet_tf.utils.errors import UserError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test",),
}
MASK_SUFFIXES = ("", "_mask", "_label", "_L")  # mask file of picture x: x.png, x_mask.png, ...

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
# label id -> class, in the order of the train ids: cityscapesscripts/helpers/labels.py
CITYSCAPES_CLASSES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip

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
    train = _split_folders(root, "train")
    if images is None and split == "validation" and train[0]:
        drawn = _draw(_pair(*train), validation_fraction, seed, "validation", test=False)
    elif images is None:
        if any(_split_folders(root, other)[0] for other in SPLIT_NAMES) or not (root / "images").is_dir():
            raise UserError(f"{root} must have pictures and masks for the split {split}. Received: none")
        drawn = _draw(_pair(root / "images", root / "masks"), validation_fraction, seed, split, test=True)
    else:
        drawn = _pair(images, masks)
        if split == "train" and not _split_folders(root, "validation")[0]:
            drawn = _draw(drawn, validation_fraction, seed, "train", test=False)
    return _pairs(drawn, names, reader)


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
    chosen = classes or root / "classes.txt"
    names = _several(read_names(chosen), chosen)
    return names, PathReader(identity_table(len(names)))


def read_names(classes: Sequence[str] | str | Path) -> list[str]:
    """The class names, or those in a file, one a line. Raises UserError."""
    path = "data.classes" if isinstance(classes, list) else Path(classes)
    try:
        lines = classes if isinstance(classes, list) else path.read_text(encoding="utf-8").splitlines()
        names = [line.strip() for line in lines if line.strip()]
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


# VOC


def read_voc(root: Path, split: str, *, classes, **_) -> Pairs:
    """VOC 2012: ImageSets/Segmentation/*.txt, JPEGImages, SegmentationClass; `root` is VOC2012 or a folder above it.

    Where SegmentationClassAug is there too (the masks of SBD), train is the list trainaug.txt or, without one, all
    masks in it that are not in val.txt. The test split is val: VOC publishes no masks of its own.
    """
    root = next((folder for folder in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
                 if (folder / "JPEGImages").is_dir()), _folder(root))  # fmt: skip
    lists, augmented = root / "ImageSets" / "Segmentation", root / "SegmentationClassAug"
    masks = root / "SegmentationClass"
    if split == "train" and augmented.is_dir():
        masks = augmented
        if (lists / "trainaug.txt").is_file():
            names = _list(lists / "trainaug.txt")
        else:
            held_out = set(_list(lists / "val.txt"))
            names = sorted(path.stem for path in augmented.glob("*.png") if path.stem not in held_out)
    else:
        names = _list(lists / ("train.txt" if split == "train" else "val.txt"))
    chosen = _several(read_names(classes), classes) if classes else list(VOC_CLASSES)
    pairs = [(_file(root / "JPEGImages" / f"{name}.jpg"), _file(masks / f"{name}.png")) for name in names]
    return _pairs(pairs, chosen, PathReader(identity_table(len(chosen))))


def _list(path: Path) -> list[str]:
    names = _file(path).read_text(encoding="utf-8").split()
    if not names:
        raise UserError(f"{path} must list pictures, one a line. Received: none")
    return names


def _file(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path} must exist, as this layout has it. Received: no such file")
    return path


# Cityscapes


def read_cityscapes(root: Path, split: str, **_) -> Pairs:
    """Cityscapes: leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY; labelIds become the 19 trainIds, the rest 255.

    The test split is val: Cityscapes publishes no masks of its own.
    """
    folder = "train" if split == "train" else "val"
    images = sorted((_folder(root) / "leftImg8bit" / folder).glob("*/*_leftImg8bit.png"))
    if not images:
        raise UserError(f"{root} must have leftImg8bit/{folder}/CITY/*_leftImg8bit.png. Received: none")
    masks = [
        _file(root / "gtFine" / folder / path.parent.name / path.name.replace("leftImg8bit", "gtFine_labelIds"))
        for path in images
    ]
    table = np.full(256, UNKNOWN, np.int16)
    table[:34] = table[IGNORE] = IGNORE
    table[list(CITYSCAPES_CLASSES)] = np.arange(len(CITYSCAPES_CLASSES))
    return _pairs(list(zip(images, masks, strict=True)), list(CITYSCAPES_CLASSES.values()), PathReader(table))


def _pairs(pairs, classes, reader) -> Pairs:
    return Pairs([image for image, _ in pairs], [str(mask) for _, mask in pairs], classes, reader)


# COCO


def read_coco(root: Path, split: str, *, classes, annotations, **_) -> Pairs:
    """COCO: annotations/{instances,panoptic}_{train,val}*.json beside the folder of the pictures. test is val.

    instances: "background" and the categories, all or those that `classes` names; pixels of two classes are 255, as in
    torchvision's references/segmentation/coco_utils.py. panoptic: things and stuff, 255 where there is neither.
    """
    part = "train" if split == "train" else "val"
    found = sorted((_folder(root) / "annotations").glob(f"{annotations}_{part}*.json"))
    if not found:
        raise UserError(f"{root} must have annotations/{annotations}_{part}*.json. Received: none")
    name = found[0].stem.removeprefix(f"{annotations}_")
    folder = next((f for f in (root / name, root / "images" / name) if f.is_dir()), None)
    if folder is None:
        raise UserError(f"{root} must have the pictures of {found[0].name} in {name} or images/{name}. Received: none")
    try:
        content = json.loads(found[0].read_text(encoding="utf-8"))
        categories = sorted(content["categories"], key=lambda category: category["id"])
        files = {image["id"]: image for image in content["images"]}
        entries = content["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{found[0]} must be COCO's JSON. Received: {type(error).__name__}: {error}") from None
    labels, names = _coco_classes(categories, classes, annotations, found[0])
    if annotations == "panoptic":
        masks = {entry["image_id"]: entry for entry in entries}
        files = {key: image for key, image in files.items() if key in masks}
        reader = PanopticReader(root / "annotations" / found[0].stem, masks, labels, bool(classes))
    else:
        reader = InstanceReader(files, _by_image(entries), labels)
    images = [folder / image["file_name"] for image in files.values()]
    return Pairs(images, [str(key) for key in files], names, reader)


def _coco_classes(categories, chosen, annotations, path) -> tuple[dict[int, int], list[str]]:
    """({category id: class id}, class names)"""
    known = {category["name"]: category["id"] for category in categories}
    wanted = read_names(chosen) if chosen else list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UserError(f"data.classes must name categories of {path.name}. Received: {', '.join(unknown[:6])}")
    names = wanted if annotations == "panoptic" and not chosen else ["background", *wanted]
    offset = len(names) - len(wanted)
    return {known[name]: i + offset for i, name in enumerate(wanted)}, _several(names, path)


def _by_image(entries) -> dict[int, list[dict]]:
    grouped = {}
    for entry in entries:
        grouped.setdefault(entry["image_id"], []).append(entry)
    return grouped


@dataclass(frozen=True)
class InstanceReader:
    """Paints the objects of an image, named by its id, over background 0; where classes overlap, 255."""

    images: dict[int, dict]
    objects: dict[int, list[dict]]
    labels: dict[int, int]

    def __call__(self, key: str) -> np.ndarray:
        image = self.images[int(key)]
        height, width = image["height"], image["width"]
        mask = np.zeros((height, width), np.uint8)
        for entry in self.objects.get(int(key), []):
            label = self.labels.get(entry["category_id"])
            if label is None:
                continue
            try:
                inside = self._decode(entry["segmentation"], height, width)
            except Exception as error:  # pycocotools raises whatever its C code meets
                text = f"a polygon or RLE of {height}x{width}. Received: {type(error).__name__}: {error}"
                raise UserError(f"annotation {entry.get('id')} of {image['file_name']} must have {text}") from None
            mask[inside] = np.where((mask[inside] == 0) | (mask[inside] == label), label, IGNORE)
        return mask

    @staticmethod
    def _decode(segmentation, height, width) -> np.ndarray:
        from pycocotools import mask as rle

        if isinstance(segmentation, list):
            encoded = rle.merge(rle.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], list):
            encoded = rle.frPyObjects(segmentation, height, width)
        else:
            encoded = segmentation
        return rle.decode(encoded).astype(bool)


@dataclass(frozen=True)
class PanopticReader:
    """Reads the PNG of an image, named by its id; its colours are segment ids. rest: other categories are class 0."""

    folder: Path
    entries: dict[int, dict]
    labels: dict[int, int]
    rest: bool

    def __call__(self, key: str) -> np.ndarray:
        entry = self.entries[int(key)]
        path = self.folder / entry["file_name"]
        try:
            with Image.open(path) as image:
                ids = np.asarray(image.convert("RGB")).astype(np.int32) @ [1, 1 << 8, 1 << 16]
        except OSError as error:
            raise UserError(f"{path} must be a mask that can be read. Received: {error.strerror or error}") from None
        mask = np.full(ids.shape, IGNORE, np.uint8)
        for segment in entry["segments_info"]:
            label = self.labels.get(segment["category_id"], 0 if self.rest else IGNORE)
            mask[ids == segment["id"]] = label
        return mask


READERS = {"folder": read_folder, "voc": read_voc, "cityscapes": read_cityscapes, "coco": read_coco}
