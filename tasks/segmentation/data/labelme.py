"""labelme: one JSON file of shapes an image, beside it or in a folder of its own."""

from __future__ import annotations

import base64
import io
import math
from functools import partial

import numpy as np
from PIL import Image

from mobilenet_tf.config import Split
from mobilenet_tf.data import labelme, tree
from mobilenet_tf.data.coco_objects import object_mask
from mobilenet_tf.data.images import MAX_PIXELS
from mobilenet_tf.data.labelme import LabelmeSet, Shape
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data import areas, parts
from mobilenet_tf.tasks.segmentation.data.areas import Area, LabeledImage
from mobilenet_tf.tasks.segmentation.data.masked_images import MaskedImages
from mobilenet_tf.utils.errors import UserError


def read(data: Data, split: Split, seed: int, size: int) -> MaskedImages:
    """The images and masks of a split: folders of the usual names, or drawn.

    The classes are as `areas.masked_images` has them. Later shapes lie over earlier ones, as in labelme's converter.
    """
    found = labelme.read(data.path, data.splits, data.encoding)
    images = tree.images_of({path: file.image_name for path, file in found.files.items()}, found.root)
    lost = [path for path, image in images.items() if image is None]
    if len(lost) == len(images):
        raise UserError(f"{lost[0]} must lie beside its image. Received: no image for any of {len(lost)} files")
    given: dict[Split, list[LabeledImage]] = {}
    for name, files in found.splits.items():
        if of_split := [LabeledImage(image, _areas(found, path)) for path in files if (image := images[path])]:
            given[name] = of_split
    chosen = parts.part(lambda origin: given[origin], lambda image: image.path, given, split, data, seed)
    labels = {shape.label for file in found.files.values() for shape in file.shapes}
    lines = [*found.findings, *tree.left_out(found.left_out, found.root, "have no area")]
    if lost:
        lines.insert(0, f"{len(lost)} files of labelme have no image and are left out, such as {lost[0]}")
    return areas.masked_images(chosen, labels, data, lines, as_stored=False)


def _areas(found: LabelmeSet, path) -> list[Area]:
    return [Area([shape.label], partial(_pixels, shape), shape.where) for shape in found.files[path].shapes]


def _pixels(shape: Shape, height: int, width: int) -> np.ndarray:
    """The pixels inside a shape, bool [H, W]. Raises ValueError."""
    if shape.kind == "mask":
        return _painted(shape, height, width)
    xs, ys = zip(*shape.points, strict=True)
    outline = shape.points
    if shape.kind == "rectangle":  # by two opposite corners, or by all four
        left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
        outline = [(left, top), (right, top), (right, bottom), (left, bottom)]
    elif shape.kind == "circle":  # by its center and a point on it
        radius = math.dist(*shape.points[:2])
        outline = areas.ellipse(*shape.points[0], radius, radius)
    return object_mask([[value for point in outline for value in point]], height, width)


def _painted(shape: Shape, height: int, width: int) -> np.ndarray:
    """A shape that was painted: a PNG file, as text, whose first corner is the first point."""
    left, top = shape.points[0]
    try:
        data = base64.b64decode(str(shape.fields.get("mask")), validate=True)
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError("too large a mask")
            part = np.asarray(image.convert("L")) > 0
    except Exception as error:  # Pillow's plugins raise nearly any exception on damaged files
        raise ValueError(f"a mask that cannot be read ({type(error).__name__})") from None
    row, column = round(top), round(left)
    whole = np.zeros((height, width), bool)
    if not (0 <= row < height and 0 <= column < width):
        raise ValueError(f"the corner {left:g}, {top:g}")
    part = part[: height - row, : width - column]
    whole[row : row + part.shape[0], column : column + part.shape[1]] = part
    return whole
