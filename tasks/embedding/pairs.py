"""Pairs of images to verify: read from LFW's lists or a CSV file, or drawn from a split."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import UTF8, read_lines, read_table

COUNT = re.compile("[0-9]{1,6}")


@dataclass(frozen=True)
class Pairs:
    """Pairs by the paths of their images; `fold` is int [P], None where the list has no folds."""

    first: list[str]
    second: list[str]
    same: np.ndarray  # bool [P]
    fold: np.ndarray | None = None


def read_pairs(path: str | Path, labels: Mapping[Path, str], root: str | Path, encoding: str = UTF8) -> Pairs:
    """The pairs of a list over the images in `labels` ({path: identity}), which lie below `root`.

    LFW's pairs.txt ("folds pairs" in its first line, e.g. 10 300) and pairsDevTrain.txt, pairsDevTest.txt ("pairs");
    or a CSV file with the columns a, b (paths relative to it) and same (1 or 0). Format: the README of LFW's View 1, 2.
    Raises UserError with the line that is wrong, or names no image.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        return _read_csv(path, encoding, {os.path.abspath(p): str(p) for p in labels})
    return _read_lfw(path, encoding, {p.stem: str(p) for p in labels}, root)


def _read_lfw(path, encoding, by_stem, root) -> Pairs:
    lines = [line.split() for line in read_lines(path, encoding)]
    header, lines = (lines or [[]])[0], [line for line in lines[1:] if line]
    if len(header) not in (1, 2) or not all(COUNT.fullmatch(number) for number in header):
        raise UserError(f"{path} must begin with LFW's header, '10 300' or '1000'. Received: {' '.join(header)[:40]!r}")
    numbers = [int(number) for number in header]
    expected = 2 * math.prod(numbers)
    if len(lines) != expected or not lines:
        raise UserError(f"{path} must have the {expected} pairs of its header. Received: {len(lines)}")
    first, second, same = [], [], []
    for row, line in enumerate(lines, 2):
        if len(line) not in (3, 4) or not all(COUNT.fullmatch(number) for number in (line[1], line[-1])):
            wanted = "'NAME NUMBER NUMBER' or 'NAME NUMBER NAME NUMBER'"
            raise UserError(f"{path}, line {row}: a pair must be {wanted}. Received: {' '.join(line)[:60]}")
        stems = [f"{line[0]}_{int(line[1]):04d}", f"{line[-2] if len(line) == 4 else line[0]}_{int(line[-1]):04d}"]
        for stem, side in zip(stems, (first, second), strict=True):
            if stem not in by_stem:
                raise UserError(f"{path}, line {row}: {stem} must be an image below {root}. Received: no such file")
            side.append(by_stem[stem])
        same.append(len(line) == 3)
    fold = np.arange(len(lines)) // (2 * numbers[1]) if len(numbers) == 2 else None
    return Pairs(first, second, np.array(same), fold)


def _read_csv(path, encoding, known) -> Pairs:
    sides, same = {"a": [], "b": []}, []
    for where, row in read_table(path, ["a", "b", "same"], encoding):
        for side, paths in sides.items():
            image = os.path.abspath(path.parent / row[side].strip())
            if image not in known:
                raise UserError(f"{where}: {side} must be an image below data.root. Received: {row[side]}")
            paths.append(known[image])
        if row["same"].strip() not in ("0", "1"):
            raise UserError(f"{where}: same must be 1 or 0. Received: {row['same']}")
        same.append(row["same"].strip() == "1")
    if not same:
        raise UserError(f"{path} must have one pair a line. Received: none")
    return Pairs(sides["a"], sides["b"], np.array(same, bool))


def draw_pairs(labels: np.ndarray, limit: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The indices int64 [P, 2] of pairs of different images, and whether they are of the `same` identity, bool [P].

    All pairs where they are no more than `limit`; else `limit`, half of them same as far as there are so many.
    """
    labels, rng = np.asarray(labels), np.random.default_rng(seed)
    total = len(labels) * (len(labels) - 1) // 2
    if total <= limit:
        indices = _unrank(np.arange(total))
        return indices, labels[indices[:, 0]] == labels[indices[:, 1]]
    same = _same_pairs(labels, limit // 2, rng)
    wanted = min(limit - len(same), total - _same_count(labels).sum())
    different = np.empty((0, 2), np.int64)
    while len(different) < wanted:  # a draw from all pairs without the same ones
        indices = _unrank(rng.integers(total, size=2 * (wanted - len(different)) + 100))
        indices = indices[labels[indices[:, 0]] != labels[indices[:, 1]]]
        different = np.unique(np.concatenate([different, indices]), axis=0)
    different = different[np.sort(rng.permutation(len(different))[:wanted])]
    return np.concatenate([same, different]), np.arange(len(same) + wanted) < len(same)


def _same_pairs(labels, limit, rng) -> np.ndarray:
    order = np.argsort(labels, kind="stable")
    pairs = _same_count(labels)  # of each identity
    ends, starts = np.cumsum(pairs), np.cumsum(np.unique(labels, return_counts=True)[1])
    count = min(limit, int(pairs.sum()))
    ranks = np.sort(rng.choice(int(pairs.sum()), count, replace=False))
    owner = np.searchsorted(ends, ranks, side="right")
    sizes = np.diff(starts, prepend=0)
    return order[_unrank(ranks - (ends - pairs)[owner]) + (starts - sizes)[owner, None]]


def _same_count(labels) -> np.ndarray:
    counts = np.unique(labels, return_counts=True)[1].astype(np.int64)
    return counts * (counts - 1) // 2


def _unrank(ranks: np.ndarray) -> np.ndarray:
    """The pair i < j, int64 [P, 2], at each rank of the order (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    j = ((1 + np.sqrt(1 + 8 * ranks.astype(np.float64))) / 2).astype(np.int64)
    j -= j * (j - 1) // 2 > ranks  # what the square root rounded
    j += j * (j + 1) // 2 <= ranks
    return np.stack([ranks - j * (j - 1) // 2, j], 1)
