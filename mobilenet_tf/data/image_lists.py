"""Lists of labeled image files: folders of classes and CSV files, for every task that has one label an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mobilenet_tf.data.images import EXTENSIONS, files_below
from mobilenet_tf.data.splits import SPLIT_NAMES, draw_by_class, parse_split
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import UTF8, listed_file, read_table


class LabeledFile(NamedTuple):
    """One image file and its label; `split` is None where the data has no splits of its own."""

    path: Path
    label: str
    split: str | None


def read_folder(root: Path, kind: str = "class") -> list[LabeledFile]:
    """The images of root/split/label/*.jpg or root/label/*.jpg; `kind` is what messages call a label.

    Raises UserError: no such folder, no images in it or in one of its folders.
    """
    if not root.is_dir():
        raise UserError(f"data.root must be a folder that exists. Received: {root}")
    split_folders = {folder: SPLIT_NAMES[folder.name] for folder in _folders(root) if folder.name in SPLIT_NAMES}
    rows = []
    for parent, split in (split_folders or {root: None}).items():
        for folder in _folders(parent):
            paths = files_below(folder)
            if not paths:
                raise UserError(f"{folder} must have images ({' '.join(EXTENSIONS)}). Received: none")
            rows += [LabeledFile(path, folder.name, split) for path in paths]
    if not rows:
        wanted = f"{kind} folders with images ({' '.join(EXTENSIONS)}), with or without train/ and test/ above them"
        raise UserError(f"{root} must have {wanted}. Received: none")
    return rows


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


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


def divide(
    rows: Sequence[LabeledFile], held_out: Sequence[str], fraction: float, seed: int
) -> dict[str, list[LabeledFile]]:
    """{split: rows} for train and the splits in `held_out`, which are drawn class by class: see `draw_by_class`."""
    parts = draw_by_class([row.label for row in rows], held_out, fraction, seed)
    return {split: [rows[index] for index in indices] for split, indices in parts.items()}
