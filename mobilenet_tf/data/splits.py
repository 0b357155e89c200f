"""The splits of a data set: their names, and how validation and test are drawn from what has no split of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import get_args

import numpy as np

from mobilenet_tf.config import Split
from mobilenet_tf.utils.errors import UserError

SPLITS: tuple[Split, ...] = get_args(Split)
HELD_OUT = SPLITS[1:]  # validation and test, which training never sees: drawn from train where there are none
# What folders, CSV files and columns may call them; the name of the split itself comes first.
SPLIT_NAMES: dict[str, Split] = {
    "train": "train", "training": "train", "validation": "validation", "val": "validation", "valid": "validation",
    "test": "test",
}  # fmt: skip


def check_split(split: str) -> Split:
    """The split, one of SPLITS. Raises UserError for any other name."""
    for known in SPLITS:
        if split == known:
            return known
    raise UserError(f"split must be one of {', '.join(SPLITS)}. Received: split={split}")


def names_of(split: str) -> list[str]:
    """All names that a data set may give to a split."""
    return [name for name, named in SPLIT_NAMES.items() if named == split]


def parse_split(name: str | None, where: str) -> Split | None:
    """The split that a cell of a table names, None for an empty cell. Raises UserError, saying `where` it stands."""
    if not name or not name.strip():
        return None
    split = SPLIT_NAMES.get(name.strip().lower())
    if split is None:
        raise UserError(f"{where}: split must be one of {', '.join(SPLIT_NAMES)}. Received: {name}")
    return split


def draw(count: int, held_out: Sequence[str], fraction: float, seed: int) -> dict[str, np.ndarray]:
    """Draws the splits in `held_out` from `count` samples; what is left is train. The same for the same seed.

    Each gets this fraction of all samples, at least one, but never so many that train has none.
    Returns {split: indices int64, ascending} for train and each of `held_out`.
    """
    share = min(max(1, round(fraction * count)), max(0, count - 1) // max(1, len(held_out)))
    return _cut(np.random.default_rng(seed).permutation(count), dict.fromkeys(held_out, share))


def draw_by_class(labels: Iterable[str], held_out: Sequence[str], fraction: float, seed: int) -> dict[str, np.ndarray]:
    """As `draw`, but from each class by itself, so that every split has the classes in the same shares.

    labels: the class of each sample. Of a class with few samples the last of `held_out` may get none: train keeps one.
    Returns {split: indices int64}, class after class in the order of their names, ascending within each.
    """
    members: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        members.setdefault(label, []).append(index)
    parts: dict[str, list[np.ndarray]] = {split: [] for split in ("train", *held_out)}
    for number, (_, indices) in enumerate(sorted(members.items())):
        sizes, left = {}, len(indices)
        for split in held_out:
            sizes[split] = min(max(1, round(fraction * len(indices))), left - 1)
            left -= sizes[split]
        order = np.random.default_rng([seed, number]).permutation(len(indices))
        for split, positions in _cut(order, sizes).items():
            parts[split].append(np.array(indices)[positions])
    return {split: np.concatenate([np.empty(0, np.int64), *chosen]) for split, chosen in parts.items()}


def _cut(order: np.ndarray, sizes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The first `sizes` entries of an order for one split after the other, the rest for train; each part ascending."""
    parts, start = {}, 0
    for split, size in sizes.items():
        parts[split] = np.sort(order[start : start + size])
        start += size
    return {"train": np.sort(order[start:]), **parts}
