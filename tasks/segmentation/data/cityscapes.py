"""Cityscapes: leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY."""

from __future__ import annotations

import numpy as np

from mobilenet_tf.config import Split
from mobilenet_tf.data.splits import warn_test_is_validation
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data.layout import check_file, check_folder
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.tasks.segmentation.data.masks import MaskFiles, empty_table
from mobilenet_tf.utils.errors import UserError

# label id -> class, in the order of the train ids: cityscapesscripts/helpers/labels.py
CLASSES = {
    7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light",
    20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car", 27: "truck",
    28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle",
}  # fmt: skip
LABEL_IDS = 34  # 0..33, of which 19 are trained on


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """The images and masks of a split; labelIds become the 19 trainIds, the rest 255.

    The test split is val: Cityscapes publishes no masks of its own.
    """
    root, folder = check_folder(data.path), "train" if split == "train" else "val"
    if split == "test":
        warn_test_is_validation("Cityscapes")
    images = sorted((root / "leftImg8bit" / folder).glob("*/*_leftImg8bit.png"))
    if not images:
        raise UserError(f"{root} must have leftImg8bit/{folder}/CITY/*_leftImg8bit.png. Received: none")
    masks = [
        check_file(root / "gtFine" / folder / path.parent.name / path.name.replace("leftImg8bit", "gtFine_labelIds"))
        for path in images
    ]
    table = empty_table()
    table[:LABEL_IDS] = IGNORE
    table[list(CLASSES)] = np.arange(len(CLASSES))
    return MaskedImages(images, [str(mask) for mask in masks], list(CLASSES.values()), MaskFiles(table))
