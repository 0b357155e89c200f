"""Lists of labelled picture files: folders of classes and CSV files, for every task that has one label a picture."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mobilenet_tf.data import images
from mobilenet_tf.utils.errors import UserError

SPLIT_NAMES = {"train": "train", "training": "train", "validation": "validation", "val": "validation",
               "valid": "validation", "test": "test"}  # fmt: skip


class Row(NamedTuple):
    """One labelled picture; `split` is None where the data has no splits of its own."""

    path: Path
    label: str
    split: str | None


def folder_rows(root: Path, kind: str = "class") -> list[Row]:
    """The pictures of root/split/label/*.jpg or root/label/*.jpg; `kind` is what messages call a label.

    Raises UserError: no such folder, no pictures in it or in one of its folders.
    """
    if not root.is_dir():
        raise UserError(f"data.root must be a folder that exists. Received: {root}")
    top = _folders(root)
    with_splits = {folder: SPLIT_NAMES[folder.name] for folder in top if folder.name in SPLIT_NAMES}
    parents = with_splits or {root: None}
    rows = []
    for parent, split in parents.items():
        for folder in _folders(parent):
            found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in images.EXTENSIONS)
            if not found:
                raise UserError(f"{folder} must have pictures ({' '.join(images.EXTENSIONS)}). Received: none")
            rows += [Row(path, folder.name, split) for path in found]
    if not rows:
        wanted = f"{kind} folders with pictures ({' '.join(images.EXTENSIONS)}), with or without train/ and test/ above"
        raise UserError(f"{root} must have {wanted}. Received: none")
    return rows


def _folders(parent):
    return sorted(path for path in parent.iterdir() if path.is_dir() and not path.name.startswith("."))


def csv_rows(root: Path, column: str = "label") -> list[Row]:
    """The pictures of a CSV file with the columns path, `column` and, if you like, split; paths are relative to it.

    Raises UserError: no such file or column, a path without a file, an empty label, an unknown split.
    """
    if not root.is_file():
        raise UserError(f"data.root must be a CSV file that exists. Received: {root}")
    with open(root, newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        columns = table.fieldnames or []
        if not {"path", column} <= set(columns):
            received = ", ".join(columns) or "none"
            raise UserError(f"{root} must have the columns path and {column}. Received: {received}")
        rows = []
        for row in table:
            where = f"{root}, line {table.line_num}"
            path = root.parent / (row["path"] or "")
            if not path.is_file():
                raise UserError(f"{where}: path must be a file that exists. Received: {path}")
            if not row[column]:
                raise UserError(f"{where}: {column} must not be empty. Received: {row['path']}")
            own = row.get("split") or None
            if own is not None and own not in SPLIT_NAMES:
                raise UserError(f"{where}: split must be one of {', '.join(SPLIT_NAMES)}. Received: {own}")
            rows.append(Row(path, row[column], SPLIT_NAMES.get(own)))
    if not rows:
        raise UserError(f"{root} must have one picture a line. Received: none")
    return rows


def stratified(rows: Sequence[Row], fractions: Mapping[str, float], seed: int) -> dict[str, list[Row]]:
    """Divides every label: at least one picture to each of `fractions`, the rest, at least one too, to train."""
    parts = {"train": [], **{name: [] for name in fractions}}
    labels = {}
    for row in rows:
        labels.setdefault(row.label, []).append(row)
    for index, (_, own) in enumerate(sorted(labels.items())):
        order = list(np.random.default_rng([seed, index]).permutation(len(own)))
        for name, fraction in fractions.items():
            take = min(max(1, round(fraction * len(own))), len(order) - 1)
            parts[name] += [own[place] for place in sorted(order[:take])]
            order = order[take:]
        parts["train"] += [own[place] for place in sorted(order)]
    return parts
