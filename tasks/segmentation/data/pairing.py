"""Finds the folders of images and masks in the layouts that people have, and each image's mask."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.data.images import EXTENSIONS as IMAGE_EXTENSIONS
from mobilenet_tf.data.images import files_below
from mobilenet_tf.data.splits import SPLITS, names_of
from mobilenet_tf.data.walk import files_with
from mobilenet_tf.tasks.segmentation.data.layout import visible
from mobilenet_tf.tasks.segmentation.data.masks import EXTENSIONS, LOSSY
from mobilenet_tf.utils.errors import UserError

Pairs = list[tuple[Path, Path]]  # an image and its mask
Folders = tuple[Path, Path]  # of images and of masks; the same one where they lie side by side

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "annotation", "annots", "annot", "segmentationclass",
                "ground_truth", "groundtruth", "gt")  # fmt: skip
# What follows the name of an image in that of its mask, and what is dropped from it before
MASK_ENDINGS = ("", "_mask", "_label", "_L", "_masks", "_labels", "-mask", "-label", "_gt", "_seg", "_segmentation")
IMAGE_ENDINGS = ("_image", "_img", "_sat")
LAYOUTS = "SPLIT/images and SPLIT/masks, images/SPLIT and masks/SPLIT, images and masks, SPLIT and SPLIT_masks, or " \
    "x.jpg beside x_mask.png"  # fmt: skip
MAX_DEPTH = 2  # folders that hold nothing but one folder


def find(root: Path) -> tuple[Path, dict[Split, Folders]]:
    """The folder of the data set, and the folders of each split that there is, train where there are no splits.

    A folder that holds one folder alone is entered. Raises UserError that says where was looked.
    """
    folder = root
    for _ in range(MAX_DEPTH + 1):
        found: dict[Split, Folders] = {}
        for split in SPLITS:
            if folders := next(_of_split(folder, split), None):
                found[split] = folders
        if found:
            return folder, found
        if folders := _side_by_side(folder) or _beside(folder):
            return folder, {"train": folders}
        inside = [path for path in visible(folder).values() if path.is_dir()]
        if len(inside) != 1:
            break
        folder = inside[0]
    names = ", ".join(list(visible(root))[:8]) or "an empty folder"
    raise UserError(f"{root} must have images and masks: {LAYOUTS}. Received: {names}")


def _of_split(root: Path, split: str) -> Iterator[Folders]:
    inside = visible(root)
    images, masks = _first(inside, IMAGE_FOLDERS), _first(inside, MASK_FOLDERS)
    for name in names_of(split):
        if own := inside.get(name):
            if folders := _side_by_side(own):
                yield folders
            others = [f"{name}{dash}{folder}" for dash in ("_", "", "-") for folder in MASK_FOLDERS]
            if other := _first(inside, others):
                yield own, other
            if folders := _beside(own):
                yield folders
        if images and masks and (images / name).is_dir() and (masks / name).is_dir():
            yield images / name, masks / name


def _side_by_side(folder: Path) -> Folders | None:
    inside = visible(folder) if folder.is_dir() else {}
    images, masks = _first(inside, IMAGE_FOLDERS), _first(inside, MASK_FOLDERS)
    return (images, masks) if images and masks else None


def _beside(folder: Path) -> Folders | None:
    """The folder itself, where a mask lies beside an image."""
    return (folder, folder) if folder.is_dir() and next(iter(_pairs_beside(folder)), None) else None


def _first(inside: dict[str, Path], names: tuple[str, ...] | list[str]) -> Path | None:
    return next((inside[name] for name in names if name in inside and inside[name].is_dir()), None)


def pair(folders: Folders) -> Pairs:
    """Every image of a folder with its mask. Raises UserError: no image, or one without a mask."""
    images, masks = folders
    if images == masks:
        return list(_pairs_beside(images))
    paths = files_below(images)
    if not paths:
        raise UserError(f"{images} must have images ({' '.join(IMAGE_EXTENSIONS)}). Received: none")
    known = _masks_by_name(masks)
    pairs = [(path, _mask_of(path.relative_to(images), known)) for path in paths]
    lost = [path for path, mask in pairs if mask is None]
    if lost:
        stem = masks / lost[0].relative_to(images).with_suffix("")
        tried = f"{stem}.png, or with {', '.join(MASK_ENDINGS[1:4])} and so on behind its name, or {EXTENSIONS[1]}"
        received = f"none for {len(lost)} of {len(paths)} images; {len(known)} masks are there"
        example = f", such as {next(iter(known.values())).name}" if known else ""
        raise UserError(f"{lost[0]} must have a mask {tried}. Received: {received}{example}")
    return [(path, mask) for path, mask in pairs if mask is not None]


def without_image(folders: Folders, pairs: Pairs) -> list[Path]:
    """The masks of a folder that no image has."""
    if folders[0] == folders[1]:
        return []
    used = {mask for _, mask in pairs}
    return [path for path in _masks_by_name(folders[1]).values() if path not in used]


def _masks_by_name(folder: Path) -> dict[str, Path]:
    """{path below the folder without its suffix: mask file}; of one name in several formats the surest."""
    found: dict[str, Path] = {}
    for path in sorted(files_with(folder, EXTENSIONS), key=lambda path: (EXTENSIONS.index(path.suffix.lower()), path)):
        found.setdefault(_name(path.relative_to(folder)), path)
    return found


def _name(path: Path) -> str:
    return path.with_suffix("").as_posix()


def _mask_of(image: Path, masks: dict[str, Path]) -> Path | None:
    name = _name(image)
    stems = [name, *(name.removesuffix(ending) for ending in IMAGE_ENDINGS if name.endswith(ending))]
    names = (f"{stem}{ending}" for stem in stems for ending in MASK_ENDINGS)
    return next((masks[name] for name in names if name in masks), None)


def _pairs_beside(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Images whose mask lies beside them: x.jpg and x_mask.png; or x.jpg and x.png."""
    masks = _masks_by_name(folder)
    marked = {name: path for name, path in masks.items() if name.endswith(MASK_ENDINGS[1:])}
    are_masks = {*marked.values()}
    for path in files_below(folder):
        if path in are_masks or path.name.startswith("."):
            continue
        image = path.relative_to(folder)
        mask = _mask_of(image, marked) or (masks.get(_name(image)) if path.suffix.lower() in LOSSY else None)
        if mask not in (None, path):
            yield path, mask
