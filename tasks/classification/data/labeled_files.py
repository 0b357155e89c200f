"""The Source of a list of image files with one label each: the class names, and the rows of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mobilenet_tf.data.counts import check_readable, count_lines, warn_of_missing
from mobilenet_tf.data.folder_names import matcher, standard_form
from mobilenet_tf.data.image_lists import LabeledFile, divide
from mobilenet_tf.data.label_files import check_class_count, read_class_names
from mobilenet_tf.data.source import Source, file_source
from mobilenet_tf.data.splits import HELD_OUT, no_such_split
from mobilenet_tf.tasks.classification.config import Data
from mobilenet_tf.utils.errors import UserError


def labeled_source(rows: Sequence[LabeledFile], data: Data, split: str, seed: int, notes: Sequence[str] = ()) -> Source:
    """The Source of a split of a list; `notes` are what else is said of the data.

    Raises UserError: no images, classes that do not fit `data.classes`, a class to train on whose files are no images.
    """
    if data.classes:  # whose spelling counts
        match = matcher(read_class_names(data.classes, data.encoding))
        rows = [row._replace(label=match(row.label)) for row in rows]
    classes = _class_names(rows, data)
    parts = divide(rows, data, data.validation_fraction, seed)
    chosen = parts[split]
    if not chosen:
        raise no_such_split(split, data.root, [name for name, found in parts.items() if found])
    warn_of_missing(parts, classes)
    if split == "train":
        check_readable(chosen)
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[row.label] for row in chosen], np.int32)
    source = file_source(
        [row.path for row in chosen], {"label": labels}, classes, on_corrupt=data.on_corrupt, rendering=data.rendering
    )
    drawn = set(HELD_OUT).difference(row.split for row in rows) if not data.split_file else ()
    return replace(source, notes=(*notes, *count_lines(parts, drawn)))


def _class_names(rows: Sequence[LabeledFile], data: Data) -> list[str]:
    """The names in the label file, or those of the training rows, sorted; all rows must have one of them."""
    training = [row for row in rows if row.split in ("train", None)] or rows
    names = sorted({row.label for row in training})
    if data.classes:
        names = [standard_form(name) for name in read_class_names(data.classes, data.encoding)]
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
