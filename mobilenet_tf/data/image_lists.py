"""Lists of labeled image files, for every task that has one label an image; `class_folders` makes them of folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mobilenet_tf.config import Data
from mobilenet_tf.data import splits
from mobilenet_tf.data.splits import SPLITS, parse_split
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import UTF8, listed_file, read_table


class LabeledFile(NamedTuple):
    """One image file and its label; `split` is None where the data has no splits of its own."""

    path: Path
    label: str
    split: str | None


def read_csv(root: Path, column: str = "label", encoding: str = UTF8) -> list[LabeledFile]:
    """The images of a CSV file with the columns path, `column` and, if you like, split; paths are relative to it.

    Raises UserError: no such file or column, a path without a file, an empty label, an unknown split.
    """
    if not root.is_file():
        raise UserError(f"data.root must be a CSV file that exists. Received: {root}")
    rows = [_row(cells, root, column, where) for where, cells in read_table(root, ["path", column], encoding)]
    if not rows:
        raise UserError(f"{root} must have one image a line. Received: none")
    return rows


def _row(cells: dict, root: Path, column: str, where: str) -> LabeledFile:
    path = listed_file(cells["path"], root.parent, f"{where}: path")
    label = cells[column].strip()
    if not label:
        raise UserError(f"{where}: {column} must not be empty. Received: {cells['path']}")
    return LabeledFile(path, label, parse_split(cells.get("split"), where))


def divide(rows: Sequence[LabeledFile], data: Data, fraction: float, seed: int) -> dict[str, list[LabeledFile]]:
    """{split: rows}: those that name a split themselves, and the others divided class by class: see `splits.divide`."""
    given = {row.split for row in rows}
    free = [row for row in rows if row.split in ("train", None)]
    labels = [row.label for row in free]
    drawn = splits.divide([row.path for row in free], data, seed, fraction=fraction, given=given, labels=labels)
    return {
        split: [row for row in rows if row.split == split and split != "train"]
        + [free[index] for index in drawn.get(split, ())]
        for split in SPLITS
    }
