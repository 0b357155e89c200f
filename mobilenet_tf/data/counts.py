"""How many images each split has, of which classes: what is said before a training or an evaluation. No TensorFlow."""

from __future__ import annotations

import statistics
import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from mobilenet_tf.data import images
from mobilenet_tf.data.image_lists import LabeledFile
from mobilenet_tf.utils.errors import UserError, some

FEW = 8  # classes that are all named
PLURAL = {"class": "classes", "identity": "identities"}
Parts = Mapping[str, Sequence[LabeledFile]]  # the images of each split


def count_lines(parts: Parts, drawn: Collection[str] = (), kind: str = "class") -> list[str]:
    """One line a split: its images, and how many there are of each class; `drawn` are the splits that were drawn."""
    return [
        f"{split}{' (drawn)' if split in drawn else ''}: {_counts(Counter(row.label for row in rows), kind)}"
        for split, rows in parts.items()
    ]


def _counts(counts: Counter[str], kind: str) -> str:
    total = counts.total()
    images_of = f"{total:,} image{'' if total == 1 else 's'}"
    if not counts:
        return images_of
    if len(counts) <= FEW:
        return f"{images_of} ({', '.join(f'{label} {count:,}' for label, count in sorted(counts.items()))})"
    numbers = sorted(counts.values())
    spread = f"{numbers[0]:,} to {numbers[-1]:,} each, median {statistics.median(numbers):,g}"
    return f"{images_of} of {len(counts):,} {PLURAL[kind]} ({spread})"


def warn_of_missing(parts: Parts, classes: Collection[str]) -> None:
    """Warns of splits that have images, but none of some classes."""
    for split, rows in parts.items():
        missing = sorted(set(classes).difference(row.label for row in rows)) if rows else []
        if missing:
            warnings.warn(f"the {split} split has no image of the class {some(missing, FEW)}", stacklevel=2)


def check_readable(rows: Sequence[LabeledFile]) -> None:
    """Raises UserError for a class of which no file is an image, by the headers of as few files as can be."""
    paths: dict[str, list] = {}
    for row in rows:
        paths.setdefault(row.label, []).append(row.path)
    for label, found in paths.items():
        faults = list(map(_fault, found[:1]))
        if faults[0]:
            faults += map(_fault, found[1:])
        if all(faults):
            raise UserError(
                f"every class must have images that can be read. Received: {label} without any: of its {len(found)} "
                f"files none is an image, such as {found[0]}: {faults[0]}"
            )


def _fault(path) -> str | None:
    try:
        images.header(path)
    except OSError as error:
        return error.strerror or str(error)
    return None
