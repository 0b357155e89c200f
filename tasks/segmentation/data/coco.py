"""COCO: annotations/{instances,panoptic}_{train,val}*.json beside the folder of the images."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mobilenet_tf.config import Split
from mobilenet_tf.data.label_files import check_class_count
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data.layout import check_folder, read_classes
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.utils.errors import UserError


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """The images and masks of a split; test is val.

    `data.annotations` is instances: "background" and the categories, all or those that `data.classes` names; pixels of
    two classes are 255, as in torchvision's references/segmentation/coco_utils.py. Or panoptic: things and stuff, 255
    where there is neither.
    """
    root, annotations = check_folder(data.path), data.annotations
    part = "train" if split == "train" else "val"
    path = next(iter(sorted((root / "annotations").glob(f"{annotations}_{part}*.json"))), None)
    if path is None:
        raise UserError(f"{root} must have annotations/{annotations}_{part}*.json. Received: none")
    name = path.stem.removeprefix(f"{annotations}_")
    folder = next((f for f in (root / name, root / "images" / name) if f.is_dir()), None)
    if folder is None:
        raise UserError(f"{root} must have the images of {path.name} in {name} or images/{name}. Received: none")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        categories = sorted(content["categories"], key=lambda category: category["id"])
        files = {image["id"]: image for image in content["images"]}
        entries = content["annotations"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} must be COCO's JSON. Received: {type(error).__name__}: {error}") from None
    labels, names = _classes(categories, data, path)
    if annotations == "panoptic":
        masks = {entry["image_id"]: entry for entry in entries}
        files = {key: image for key, image in files.items() if key in masks}
        read_mask = PanopticMasks(root / "annotations" / path.stem, masks, labels, bool(data.classes))
    else:
        read_mask = InstanceMasks(files, _by_image(entries), labels)
    images = [folder / image["file_name"] for image in files.values()]
    return MaskedImages(images, [str(key) for key in files], names, read_mask)


def _classes(categories: list[dict], data: Data, path: Path) -> tuple[dict[int, int], list[str]]:
    """({category id: class id}, class names)"""
    known = {category["name"]: category["id"] for category in categories}
    wanted = read_classes(data.classes, data.encoding) if data.classes else list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UserError(f"data.classes must name categories of {path.name}. Received: {', '.join(unknown[:6])}")
    names = wanted if data.annotations == "panoptic" and not data.classes else ["background", *wanted]
    offset = len(names) - len(wanted)
    return {known[name]: i + offset for i, name in enumerate(wanted)}, check_class_count(names, path, most=IGNORE)


def _by_image(entries) -> dict[int, list[dict]]:
    grouped = {}
    for entry in entries:
        grouped.setdefault(entry["image_id"], []).append(entry)
    return grouped


@dataclass(frozen=True)
class InstanceMasks:
    """Paints the objects of an image, named by its id, over background 0; where classes overlap, 255."""

    images: dict[int, dict]
    objects: dict[int, list[dict]]
    labels: dict[int, int]

    def __call__(self, key: str) -> np.ndarray:
        """The mask of an image, uint8 [H, W]. Raises UserError for an object without a polygon or RLE."""
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
class PanopticMasks:
    """Reads the PNG of an image, named by its id; its colors are segment ids. rest: other categories are class 0."""

    folder: Path
    entries: dict[int, dict]
    labels: dict[int, int]
    rest: bool

    def __call__(self, key: str) -> np.ndarray:
        """The mask of an image, uint8 [H, W]. Raises UserError where its PNG cannot be read."""
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
