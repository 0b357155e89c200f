"""CSV files with the columns path, split if you like, and one an attribute.

`data.root` is one file, or a folder of such files without a split column: train.csv, validation.csv, test.csv. Paths
are relative to the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mobilenet_tf.config import Split
from mobilenet_tf.data.source import Source, file_source
from mobilenet_tf.data.splits import HELD_OUT, SPLIT_NAMES, SPLITS, divide, no_such_split, parse_split
from mobilenet_tf.tasks.attributes.config import Data
from mobilenet_tf.tasks.attributes.data.values import choose, parse
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import listed_file, read_table


class Line(NamedTuple):
    """One line of a CSV file; `where` names file and line, `split` is None where it has none."""

    file: Path
    where: str
    split: str | None
    cells: dict[str, str]


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split. Splits that are missing are drawn: see `splits.to_draw`."""
    known, lines = _all_lines(data.path, data.encoding)
    names = [known[index] for index in choose(known, data.attributes, data.root)]
    cells = [[_whole_number(line.cells[name]) for name in names] for line in lines]
    values = parse(cells, names, [line.where for line in lines])
    has_label = np.any(values >= 0, axis=1)
    parts = _parts(lines, has_label, data, seed)
    chosen = parts[split]
    if not len(chosen):
        raise no_such_split(split, data.root, [name for name, found in parts.items() if len(found)])
    paths = [_path(lines[index]) for index in chosen]
    return file_source(
        paths, {"attributes": values[chosen]}, names, on_corrupt=data.on_corrupt, rendering=data.rendering
    )


def _all_lines(root: Path, encoding: str) -> tuple[list[str], list[Line]]:
    """(names of the attributes, the lines of all files)."""
    names, lines = None, []
    files = _csv_files(root)
    for file, split in files.items():
        columns, more = _lines_of(file, split, encoding)
        if names is not None and sorted(columns) != sorted(names):
            odd = sorted(set(columns) ^ set(names))
            raise UserError(
                f"{file} must have the attributes of {next(iter(files))}. Received: others, such as {odd[0]}"
            )
        names, lines = names or columns, lines + more
    return names or [], lines


def _csv_files(root: Path) -> dict[Path, str | None]:
    """{file: its split, or None for a file of all splits}."""
    if root.is_file():
        return {root: None}
    files: dict[Path, str | None] = {
        root / f"{name}.csv": split for name, split in SPLIT_NAMES.items() if (root / f"{name}.csv").is_file()
    }
    if "train" not in files.values():
        raise UserError(f"data.root must be a CSV file, or a folder with train.csv. Received: {root}")
    return files


def _lines_of(file: Path, split_of_file: str | None, encoding: str) -> tuple[list[str], list[Line]]:
    """(names of the attributes, the lines of a file)."""
    lines = [
        Line(file, where, parse_split(split_of_file or cells.get("split"), where), cells)
        for where, cells in read_table(file, ["path"], encoding)
    ]
    if not lines:
        raise UserError(f"{file} must have one image a line. Received: none")
    return [column for column in lines[0].cells if column and column not in ("path", "split")], lines


def _whole_number(cell: str) -> str:
    """A cell as text of a whole number: a column with empty cells is often written with decimals."""
    return cell.strip().removesuffix(".0")


def _path(line: Line) -> Path:
    return listed_file(line.cells["path"], line.file.parent, f"{line.where}: path")


def _parts(lines: Sequence[Line], has_label: np.ndarray, data: Data, seed: int) -> dict[Split, np.ndarray]:
    """{split: the indices of its lines, ascending}; only lines with a label are drawn, the others stay in train."""
    of_line = np.array([line.split or "train" for line in lines])
    free = np.flatnonzero(of_line == "train")
    pool = [lines[index] for index in free.tolist()]
    paths = [os.path.join(line.file.parent, line.cells["path"].strip()) for line in pool]
    given, drawable = set(of_line), has_label[free]
    drawn = divide(paths, data, seed, fraction=data.validation_fraction, given=given, drawable=drawable)
    named = {split: np.flatnonzero(of_line == split) for split in HELD_OUT}
    return {split: np.sort(np.append(named.get(split, free[:0]), free[drawn.get(split, free[:0])])) for split in SPLITS}
