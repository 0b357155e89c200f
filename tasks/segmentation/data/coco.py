"""COCO's JSON: the official layout, those of labeling tools, or any file and folder of images."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

import numpy as np
from PIL import Image as Pillow

from mobilenet_tf.config import Split
from mobilenet_tf.data.coco_objects import object_mask
from mobilenet_tf.data.images import displayed_size
from mobilenet_tf.data.label_files import check_class_count
from mobilenet_tf.data.splits import SPLIT_NAMES, warn_test_is_validation
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data import coco_file, parts
from mobilenet_tf.tasks.segmentation.data.coco_file import CocoFile, Image, Object, Picture
from mobilenet_tf.tasks.segmentation.data.layout import check_folder, read_classes, visible
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.tasks.segmentation.data.masks import opened, rgb
from mobilenet_tf.utils.errors import UserError

KINDS = ("instances", "panoptic")
OTHERS = ("captions", "person_keypoints", "stuff", "image_info")  # files of COCO without masks to read here
BACKGROUND = "background"
MAX_PARTS = 8  # of a file name that is looked up by its last parts
Found = list[tuple[Image, Path]]  # the images of a file and where they lie


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """The images and masks of a split.

    `data.annotations` and `data.images` are the JSON files and image folders of the splits, relative to `data.root`;
    or `data.annotations` is a kind of COCO's files, which are then looked for: annotations/instances_train2017.json
    with train2017/, Roboflow's train/_annotations.coco.json, or a single file. Splits that are missing are drawn;
    COCO's own test split is val, as it publishes no masks of test.

    Instances: "background" and the categories, all or those that `data.classes` names; pixels of two classes are 255,
    as in torchvision's references/segmentation/coco_utils.py. Panoptic: things and stuff, 255 where there is neither.
    """
    root = check_folder(data.path)
    paths = _files(root, data)
    if split == "test" and "test" not in paths and _is_official(paths.get("validation")):
        warn_test_is_validation(root)
        split = "validation"
    files: list[CocoFile] = []
    findings: list[str] = []

    def found(origin: Split) -> Found:
        files.append(coco_file.read(paths[origin], data.encoding))
        folder = data.images.get(origin, next(iter(data.images.values()), None))
        images, lines = _found(files[0], root, root / folder if folder else None, data)
        findings.extend([*files[0].findings, *lines])
        return images

    images = parts.part(found, lambda pair: pair[1], paths, split, data, seed)
    [file] = files
    is_panoptic = bool(file.pictures)
    labels, names = _classes(file, data, is_panoptic)
    if is_panoptic:
        folders = _png_folders(file.path, root)
        read_mask = PanopticMasks(folders, [file.pictures[i.id] for i, _ in images], labels, bool(data.classes))
    else:
        read_mask = InstanceMasks(images, [file.objects.get(image.id, []) for image, _ in images], labels, file.path)
    return MaskedImages([path for _, path in images], [str(i) for i in range(len(images))], names, read_mask, findings)


def _files(root: Path, data: Data) -> dict[Split, Path]:
    """The JSON file of each split that there is; train where there is one alone."""
    if isinstance(data.annotations, dict):
        return {split: root / path for split, path in data.annotations.items()}
    kind = data.annotations
    if data.splits:
        return {split: root / "annotations" / f"{kind}_{name}.json" for split, name in data.splits.items()}
    folders = [path for path in visible(root).values() if path.is_dir()]
    found = [path for folder in (root, *folders) for path in visible(folder).values() if path.suffix.lower() == ".json"]
    others = tuple(name for name in (*KINDS, *OTHERS) if name != kind)
    usable = [path for path in found if not path.name.startswith(others)]
    chosen = [path for path in usable if path.name.startswith(kind)] or usable
    given: dict[Split, Path] = {}
    for path in chosen:
        for word in re.findall(r"[a-z]+", path.relative_to(root).as_posix().lower())[::-1]:
            if word in SPLIT_NAMES:
                given.setdefault(SPLIT_NAMES[word], path)
                break
    if given:
        return given
    if len(chosen) != 1:
        wanted = f"annotations/{kind}_train*.json or another JSON file that data.annotations.train names"
        received = ", ".join(path.relative_to(root).as_posix() for path in found[:6]) or "no JSON file"
        raise UserError(f"{root} must have {wanted}. Received: {received}")
    return {"train": chosen[0]}


def _is_official(path: Path | None) -> bool:
    return path is not None and bool(re.fullmatch(rf"({'|'.join(KINDS)})_val20\d\d", path.stem))


def _found(file: CocoFile, root: Path, folder: Path | None, data: Data) -> tuple[Found, list[str]]:
    """The images that can be used, and what is worth a line about the others."""
    name = file.path.stem.partition("_")[2]
    beside = (file.path.parent, root / "images", root, file.path.parent / "images")
    folders = [folder] if folder else [root / name, root / "images" / name, *beside] if name else list(beside)
    found, missing, unlabeled = [], [], []
    for image in file.images:
        if file.pictures and image.id not in file.pictures:
            unlabeled.append(image.file_name)
            continue
        path = _image_path(folders, image.file_name)
        if path is None:
            missing.append(image.file_name)
        else:
            found.append((image, path))
    where = ", ".join(str(folder) for folder in dict.fromkeys(folders))
    if missing and (not found or data.on_corrupt == "error"):
        received = f"none of {len(missing)} in {where}" if not found else f"no {missing[0]} in {where}"
        raise UserError(
            f"{file.path} must list images that are there; data.images names their folder. Received: {received}"
        )
    if not found:
        raise UserError(f"{file.path} must have annotations of its images. Received: none")
    lines = (
        [f"{file.path}: {len(missing)} images are not there and are left out, such as {missing[0]}"] if missing else []
    )
    if unlabeled:
        lines.append(f"{file.path}: {len(unlabeled)} images without annotation are left out, such as {unlabeled[0]}")
    return found, lines


def _image_path(folders: Sequence[Path], name: str) -> Path | None:
    """The file of an image; a path of another machine is looked up by its last parts, with slashes of either kind."""
    last = PureWindowsPath(name).parts[-MAX_PARTS:]
    for folder in folders:
        for path in (folder / name, *(folder.joinpath(*last[start:]) for start in range(len(last)))):
            if os.path.isfile(path):
                return path
    return None


def _classes(file: CocoFile, data: Data, is_panoptic: bool) -> tuple[dict[int | str, int], list[str]]:
    """({category id: class id}, class names); a category called background is the class 0 of instances."""
    known = list(dict.fromkeys(file.categories.values()))
    wanted = read_classes(data.classes, data.encoding) if data.classes else known
    has_background = not is_panoptic or bool(data.classes)
    if has_background:
        wanted = [name for name in wanted if name.lower() != BACKGROUND]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UserError(f"data.classes must name categories of {file.path.name}. Received: {', '.join(unknown[:6])}")
    names = [BACKGROUND, *wanted] if has_background else wanted
    check_class_count(names, file.path, most=IGNORE)
    ids = {name: i for i, name in enumerate(names)}
    if has_background:
        ids |= {name: 0 for name in known if name.lower() == BACKGROUND}
    return {number: ids[name] for number, name in file.categories.items() if name in ids}, names


def _png_folders(path: Path, root: Path) -> list[Path]:
    return [path.with_suffix(""), root / path.stem, path.parent, root]


@dataclass(frozen=True)
class InstanceMasks:
    """Paints the objects of an image, named by its place in `images`, over background 0; where classes overlap, 255.

    labels: {category id: class id}; objects of other categories are background.
    """

    images: Found
    objects: Sequence[Sequence[Object]]
    labels: dict[int | str, int]
    where: Path

    def __call__(self, key: str) -> np.ndarray:
        """The mask of an image, uint8 [H, W]. Raises UserError for an object without a usable polygon or RLE."""
        image, path = self.images[int(key)]
        height, width = image.size or _size(path)
        mask = np.zeros((height, width), np.uint8)
        for entry in self.objects[int(key)]:
            label = IGNORE if entry.category is None else self.labels.get(entry.category)
            if label is None:
                continue
            if entry.segmentation is None:
                mask[_box_slices(entry.bbox)] = IGNORE
                continue
            try:
                inside = object_mask(entry.segmentation, height, width)
            except ValueError as error:
                name = f"{entry.where} of {image.file_name} in {self.where}"
                raise UserError(f"{name} must have polygons or run lengths in its image. Received: {error}") from None
            if label:
                mask[inside] = np.where((mask[inside] == 0) | (mask[inside] == label), label, IGNORE)
        return mask


def _size(path: Path) -> tuple[int, int]:
    try:
        return displayed_size(path)
    except (OSError, ValueError, Pillow.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} must be an image that can be read. Received: {reason}") from None


def _box_slices(value: object) -> tuple[slice, slice]:
    """(rows, columns) of the pixels that a box x, y, width, height touches; none where it is no box."""
    box = coco_file.box_of(value)
    if box is None:
        return slice(0, 0), slice(0, 0)
    x, y, width, height = np.clip(box, -1e7, 1e7)
    ends = np.clip(np.ceil([y + max(height, 0), x + max(width, 0)]), 0, None)
    bottom, right = ends.astype(int).tolist()
    return slice(max(0, int(y)), bottom), slice(max(0, int(x)), right)


@dataclass(frozen=True)
class PanopticMasks:
    """Reads the PNG of an image, named by its place; its colors are segment ids. rest: other categories are class 0."""

    folders: Sequence[Path]
    pictures: Sequence[Picture]
    labels: dict[int | str, int]
    rest: bool

    def __call__(self, key: str) -> np.ndarray:
        """The mask of an image, uint8 [H, W]. Raises UserError where its PNG cannot be read."""
        picture = self.pictures[int(key)]
        path = _image_path(self.folders, picture.file_name) or self.folders[0] / picture.file_name
        with opened(str(path)) as image:
            ids = rgb(image).astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32)
        mask = np.full(ids.shape, IGNORE, np.uint8)
        for number, category in picture.segments.items():
            if category is not None:
                mask[ids == number] = self.labels.get(category, 0 if self.rest else IGNORE)
        return mask
