"""VOC 2012 and what is laid out like it: ImageSets/Segmentation/*.txt, JPEGImages and SegmentationClass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.data.images import EXTENSIONS as IMAGE_EXTENSIONS
from mobilenet_tf.data.splits import SPLITS, names_of, warn_test_is_validation
from mobilenet_tf.data.walk import files_with
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data import masks, parts
from mobilenet_tf.tasks.segmentation.data.layout import check_file, check_folder, visible
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.tasks.segmentation.data.pairing import Pairs
from mobilenet_tf.tasks.segmentation.data.value_tables import mask_reader, voc_colors
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import read_lines

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
Names = dict[Split, list[str]]  # the images of each split; train where one list has all


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """The images and masks of a split; `data.root` is VOC2012 or a folder above it.

    Where SegmentationClassAug is there too (the masks of SBD), train is the list trainaug.txt or, without one, all
    masks in it that are not in val.txt. The test split is val where there are no masks for test.txt: VOC publishes
    none. CVAT's export "segmentation mask" is read too: colors by its labelmap.txt, and one list, default.txt, from
    which validation and test are drawn.
    """
    root = _root(check_folder(data.path))
    lists = root / "ImageSets" / "Segmentation"
    folder = root / "SegmentationClass"
    augmented = root / "SegmentationClassAug"
    given = _lists(lists, data)
    mask_of = _by_name(folder, masks.EXTENSIONS)
    if "test" in given and given["test"][0] not in mask_of:
        del given["test"]
    if split == "test" and "test" not in given and "validation" in given:
        warn_test_is_validation(data.root)
        split = "validation"
    if augmented.is_dir() and "validation" not in given:
        check_file(lists / "val.txt")  # none is drawn from train, whose masks are others
    if split == "train" and augmented.is_dir():
        mask_of = _by_name(augmented, masks.EXTENSIONS)
        given["train"] = _augmented(lists, given, mask_of, data)
    image_of = _by_name(root / "JPEGImages", IMAGE_EXTENSIONS)

    def pairs_of(origin: Split) -> Pairs:
        return [
            (_file(image_of, name, root / "JPEGImages", ".jpg"), _file(mask_of, name, folder, ".png"))
            for name in given[origin]
        ]

    pairs = parts.part(pairs_of, lambda pair: pair[0], given, split, data, seed)
    classes, read_mask = mask_reader(data, root, CLASSES)
    if read_mask.colors is None:
        read_mask = replace(read_mask, colors=voc_colors(len(classes)))
    return MaskedImages([image for image, _ in pairs], [str(mask) for _, mask in pairs], classes, read_mask)


def _root(root: Path) -> Path:
    inside = [path for path in visible(root).values() if path.is_dir()]
    below = [path for folder in inside if folder.name == "VOCdevkit" for path in visible(folder).values()]
    candidates = (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012", *inside, *below)
    return next((folder for folder in candidates if (folder / "JPEGImages").is_dir()), root)


def _lists(folder: Path, data: Data) -> Names:
    """The lists that there are: those that `data.splits` names, or else train.txt, val.txt and so on, or one alone."""
    if data.splits:
        return {split: _names(folder / f"{name}.txt", data.encoding) for split, name in data.splits.items()}
    found = {name: path for name, path in visible(_check_lists(folder)).items() if path.suffix == ".txt"}
    given: Names = {}
    for split in SPLITS:
        path = next((found[f"{name}.txt"] for name in names_of(split) if f"{name}.txt" in found), None)
        if path:
            given[split] = _names(path, data.encoding)
    if given:
        return given
    if len(found) != 1:
        received = ", ".join(found) or "none"
        raise UserError(
            f"{folder} must have train.txt and val.txt, or one list such as default.txt. Received: {received}"
        )
    return {"train": _names(next(iter(found.values())), data.encoding)}


def _check_lists(folder: Path) -> Path:
    if not folder.is_dir():
        raise UserError(f"{folder} must exist, with train.txt and val.txt or default.txt. Received: no such folder")
    return folder


def _augmented(lists: Path, given: Names, masks_by_name: dict[str, Path], data: Data) -> list[str]:
    if (lists / "trainaug.txt").is_file():
        return _names(lists / "trainaug.txt", data.encoding)
    held_out = {*_names(lists / "val.txt", data.encoding), *given.get("test", [])}
    return sorted(name for name in masks_by_name if name not in held_out)


def _names(path: Path, encoding: str) -> list[str]:
    """The names in a list, one a line."""
    names = [line for line in read_lines(check_file(path), encoding) if line]
    if not names:
        raise UserError(f"{path} must list images, one a line. Received: none")
    return names


def _by_name(folder: Path, extensions: Iterable[str]) -> dict[str, Path]:
    """{path below the folder without its suffix: file} of a folder and those below it."""
    order = list(extensions)
    paths = files_with(folder, order)
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: (order.index(path.suffix.lower()), path)):
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return found


def _file(files: dict[str, Path], name: str, folder: Path, suffix: str) -> Path:
    """The file that a line of a list names: without its suffix, with it, or with something behind it."""
    for written in (name, Path(name).with_suffix("").as_posix(), name.split()[0]):
        if written in files:
            return files[written]
    return check_file(folder / f"{name}{suffix}")
