"""The splits of a data set: their names, and how validation and test are drawn from what has no split of its own."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Collection, Iterable, Sequence
from itertools import repeat
from pathlib import Path
from typing import get_args

import numpy as np

from mobilenet_tf.config import Data, Split
from mobilenet_tf.data import split_lists
from mobilenet_tf.utils.errors import UserError

SPLITS: tuple[Split, ...] = get_args(Split)
HELD_OUT = SPLITS[1:]  # validation and test, which training never sees: drawn from train where there are none
FEWEST_FOR_TEST = 6  # names without classes; of fewer, training needs them more than a score of one image
# What folders, CSV files and columns may call them, in any case; the name of the split itself comes first.
SPLIT_NAMES: dict[str, Split] = {
    "train": "train", "training": "train", "validation": "validation", "val": "validation", "valid": "validation",
    "eval": "validation", "evaluation": "validation", "dev": "validation", "test": "test", "testing": "test",
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


def to_draw(given: Collection[str | None]) -> tuple[Split, ...]:
    """The splits that are drawn from train where the data set itself has those in `given`: one rule for all tasks.

    Validation and test where it has neither; validation alone where it has a test split. Beside a validation split
    nothing is drawn: such a data set has no test split if it does not bring one.
    """
    if "validation" in given:
        return ()
    return ("validation",) if "test" in given else HELD_OUT


class NoSuchSplitError(UserError):
    """A data set neither has a split nor leaves it to be drawn."""


def no_such_split(split: str, where: object, given: Collection[str | None]) -> NoSuchSplitError:
    """The error for a split that the data set neither has nor leaves to be drawn; `where` names the data set."""
    names = [name for name in SPLITS if name in given] or ["train"]
    return NoSuchSplitError(
        f"{where} must have images for the split {split}; another one can be scored, as with --split "
        f"{names[-1]}. Received: {', '.join(names)}"
    )


def origin(split: Split, given: Collection[Split], data: Data) -> tuple[Split, bool]:
    """(the split of the data set that the images of a split come from, whether `divide` has still to choose them).

    given: the splits that the data set has; what is drawn comes from train.
    Raises UserError: the data set neither has the split nor leaves it to be drawn.
    """
    drawn = bool(to_draw(given) or data.split_file)
    if split in given:
        return split, drawn and split == "train"
    if "train" not in given or not (split in to_draw(given) or data.split_file):
        raise no_such_split(split, data.root, given)
    return "train", True


def warn_test_is_validation(where: object) -> None:
    """Says in one line that the validation split is scored as the test split, as is usual for public benchmarks."""
    warnings.warn(
        f"{where} publishes no labels of its test split: the validation split is scored instead", stacklevel=3
    )


def divide(
    paths: Sequence[str | Path],
    data: Data,
    seed: int,
    *,
    fraction: float,
    given: Collection[str | None] = (),
    labels: Sequence[str] | None = None,
    drawable: Sequence[bool] | np.ndarray | None = None,
) -> dict[Split, np.ndarray]:
    """Divides images that are in no split of their own, or in train, into train and what `to_draw` says.

    An image goes where the lists in `data.split_file` say, if there are any; images that they do not name are in no
    split, which is told. What is drawn is noted for `drawn_lists`.

    Args:
        paths: the images, each once or more often; they are known by their names, see `image_names`.
        fraction: the share of each drawn split.
        given: the splits that the data set has beside these images.
        labels: the class of each image: see `draw`.
        drawable: whether each image may be drawn; the others stay in train.

    Returns:
        {split: indices into `paths`, int64, ascending} for train, what is drawn and what the lists name.
    """
    names = image_names(paths, data.root)
    pool, parts = np.arange(len(names)), {}
    given = set(given) - {"train", None}
    if data.split_file:
        parts = split_lists.assign(names, data.split_file, data.root)
        given |= {split for split, indices in parts.items() if len(indices)}
        pool = parts.pop("train", np.empty(0, np.int64))
    wanted = to_draw(given)
    free = pool if drawable is None else pool[np.asarray(drawable)[pool]]
    classes = None if labels is None else [labels[index] for index in free.tolist()]
    drawn = draw([names[index] for index in free.tolist()], wanted, fraction, seed, classes)
    parts |= {split: free[drawn[split]] for split in wanted}
    parts["train"] = np.setdiff1d(pool, np.concatenate([pool[:0], *(parts[split] for split in wanted)]))
    if data.root and (wanted or data.split_file):
        split_lists.note(
            {split: [names[index] for index in parts[split].tolist()] for split in SPLITS if split in parts}
        )
    return parts


def image_names(paths: Sequence[str | Path], root: Path | None) -> list[str]:
    """What images are called in splits: their paths from the data set's root, the same on every machine.

    With slashes, in Unicode's form NFC. Images outside the root, or the folder of a root that is a file, keep their
    paths as they are.
    """
    folder = root if root is None or root.is_dir() else root.parent
    prefixes = () if folder is None else (os.path.join(folder, ""), os.path.join(os.path.abspath(folder), ""))
    names = []
    for path in map(str, paths):
        prefix = next((prefix for prefix in prefixes if path.startswith(prefix)), "")
        names.append(split_lists.plain_name(path[len(prefix) :]))
    return names


def draw(
    names: Sequence[str],
    held_out: Collection[str],
    fraction: float,
    seed: int,
    labels: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Draws the splits in `held_out` by a hash of each name, so that further names move as few as can be.

    In the order of their hashes the first names are test, the next ones validation, the others train. When the shares
    shift by a few names, test then takes over names of validation, but none that were trained on. Each split gets this
    fraction of all names, at least one, but never so many that train has none.

    Args:
        names: what is drawn; equal names go to the same split. Their order does not matter.
        labels: the class of each; the names of each class are drawn by themselves, so that every split has the classes
            in the same shares, within rounding. Of a class with two names test gets none, and so it does of fewer than
            six names without classes.

    Returns:
        {split: indices int64, ascending} for train and each of `held_out`.
    """
    if not held_out:
        return {"train": np.arange(len(names))}
    classes: dict[str, str] = {}
    for name, label in zip(names, repeat("") if labels is None else labels, strict=False):
        if label < classes.get(name, label + " "):
            classes[name] = label
    members: dict[str, list[str]] = {}
    for name in order_by_hash(classes, seed):
        members.setdefault(classes[name], []).append(name)
    split_of: dict[str, str] = {}
    for ordered in members.values():
        too_few = labels is None and len(ordered) < FEWEST_FOR_TEST
        sizes = _sizes(len(ordered), [split for split in held_out if not (too_few and split == "test")], fraction)
        start = 0
        for split in (name for name in reversed(HELD_OUT) if name in sizes):
            split_of.update(dict.fromkeys(ordered[start : start + sizes[split]], split))
            start += sizes[split]
    chosen = np.array([split_of.get(name, "train") for name in names], dtype="U10")
    return {split: np.flatnonzero(chosen == split) for split in ("train", *held_out)}


def order_by_hash(names: Iterable[str], seed: int) -> list[str]:
    """The names in an order that looks random, in which two names stand as they do among any others."""

    def key(name: str) -> tuple[bytes, str]:
        data = f"{seed}:{split_lists.plain_name(name)}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(data, digest_size=8).digest(), name

    return sorted(names, key=key)


def _sizes(count: int, held_out: Collection[str], fraction: float) -> dict[str, int]:
    """How many of `count` names each split gets; of two names validation has the one that train can spare."""
    most = max(0, count - 1) // max(1, len(held_out))
    sizes = dict.fromkeys(held_out, min(max(1, round(fraction * count)), most))
    return sizes | {"validation": 1} if count == 2 and "validation" in held_out else sizes
