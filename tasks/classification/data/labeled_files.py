"""The Source of a list of image files with one label each: the class names, and the rows of a split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mobilenet_tf.data.image_lists import LabeledFile, divide
from mobilenet_tf.data.label_files import check_class_count, read_class_names
from mobilenet_tf.data.source import Source, file_source
from mobilenet_tf.data.splits import HELD_OUT
from mobilenet_tf.tasks.classification.config import Data
from mobilenet_tf.utils.errors import UserError


def labeled_source(rows: Sequence[LabeledFile], data: Data, split: str, seed: int) -> Source:
    """The Source of a split of a list. Raises UserError: no images, or classes that do not fit `data.classes`."""
    classes = _class_names(rows, data)
    chosen = _rows_of(rows, split, data.validation_fraction, seed)
    if not chosen:
        raise UserError(f"{data.root} must have images for the split {split}. Received: none")
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[row.label] for row in chosen], np.int32)
    return file_source([row.path for row in chosen], {"label": labels}, classes, on_corrupt=data.on_corrupt)


def _class_names(rows: Sequence[LabeledFile], data: Data) -> list[str]:
    """The names in the label file, or those of the training rows, sorted; all rows must have one of them."""
    training = [row for row in rows if row.split in ("train", None)] or rows
    names = read_class_names(data.classes, data.encoding) if data.classes else sorted({row.label for row in training})
    known = set(names)
    for row in rows:
        if row.label not in known:
            where = data.classes or f"the train split of {data.root}"
            raise UserError(f"{where} must have every class. Received: {row.path} of unknown class {row.label!r}")
    unused = sorted(known - {row.label for row in rows})
    if unused:
        raise UserError(
            f"{data.classes} must only name classes of {data.root}. Received: {', '.join(unused)}, without images"
        )
    return check_class_count(names, data.path)


def _rows_of(rows: Sequence[LabeledFile], split: str, fraction: float, seed: int) -> list[LabeledFile]:
    """The rows of a split; rows without a split are divided class by class, the same way for every split.

    They become train, validation and test; where all rows have a split but none is validation, it is drawn from train.
    """
    of_split = [row for row in rows if row.split == split]
    undivided = [row for row in rows if row.split is None]
    if undivided:
        return of_split + divide(undivided, HELD_OUT, fraction, seed)[split]
    if split == "test" or any(row.split == "validation" for row in rows):
        return of_split
    train = [row for row in rows if row.split == "train"]
    return divide(train, ["validation"], fraction, seed)[split]
