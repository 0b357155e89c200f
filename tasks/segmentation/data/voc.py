"""VOC 2012: ImageSets/Segmentation/*.txt, JPEGImages and SegmentationClass."""

from __future__ import annotations

from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data.layout import check_file, check_folder, class_names
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.tasks.segmentation.data.masks import MaskFiles, identity_table
from mobilenet_tf.utils.errors import UserError

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """The images and masks of a split; `data.root` is VOC2012 or a folder above it.

    Where SegmentationClassAug is there too (the masks of SBD), train is the list trainaug.txt or, without one, all
    masks in it that are not in val.txt. The test split is val: VOC publishes no masks of its own.
    """
    root = check_folder(data.path)
    candidates = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012")
    root = next((folder for folder in candidates if (folder / "JPEGImages").is_dir()), root)
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
    classes = class_names(data.classes) if data.classes else list(CLASSES)
    images, paths = [], []
    for name in names:
        images.append(check_file(root / "JPEGImages" / f"{name}.jpg"))
        paths.append(str(check_file(masks / f"{name}.png")))
    return MaskedImages(images, paths, classes, MaskFiles(identity_table(len(classes))))


def _list(path: Path) -> list[str]:
    names = check_file(path).read_text(encoding="utf-8").split()
    if not names:
        raise UserError(f"{path} must list images, one a line. Received: none")
    return names
