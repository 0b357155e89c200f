"""Pictures of identities from folders (LFW's too), CSV files or the built-in scenes, and who is held out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import tensorflow as tf

from mobilenet_tf.data import scenes
from mobilenet_tf.data.image_lists import Row, csv_rows, folder_rows, stratified
from mobilenet_tf.data.source import Sample, Source, file_source
from mobilenet_tf.tasks.embedding.pairs import read_pairs
from mobilenet_tf.utils.errors import UserError

SPLITS = ("train", "validation", "test")
DEFAULT_SHARE = 0.1  # of the identities held out for a split that the data does not have
HeldOut = float | Sequence[str] | None


def read(
    reader: str,
    root: str | Path | None,
    split: str,
    *,
    pairs: str | Path | None = None,
    held_out: Mapping[str, HeldOut] | None = None,
    picture_fraction: float = 0.1,
    min_pictures: int = 1,
    counts: Mapping[str, int] | None = None,
    size: int = 96,
    seed: int = 0,
    on_corrupt: str = "skip",
) -> Source:
    """The Source of a split: Samples with "id", "image" uint8 [H, W, 3] and "label" int32, an index into its classes.

    The classes are the identities of that split alone. With `pairs`, a `pairs.Pairs` of paths is the ground truth of
    the test split, which then has the pictures in them and whose identities training never sees.

    reader: "folder" (root/identity/*.jpg or root/split/identity/*.jpg), "csv" (`root` is a file with columns path,
        identity and, if you like, split) or "scenes", whose identities are the breeds.
    held_out: {"validation", "test"}: names or a share of the identities, or None: see `config.HeldOut`.
    picture_fraction: of the training identities' pictures, for a split without pictures and identities of its own.
    min_pictures: training leaves out identities with fewer pictures.
    counts, size: pictures a split and their side in pixels, for the scenes.
    Raises UserError: no such reader or split, nothing found, unknown identities, fewer than two of them in a split.
    """
    if reader not in READERS:
        raise UserError(f"data.reader must be one of {', '.join(READERS)}. Received: {reader!r}")
    if split not in SPLITS:
        raise UserError(f"split must be one of {', '.join(SPLITS)}. Received: {split!r}")
    rows = READERS[reader](None if root is None else Path(root), counts or {}, seed)
    held_out, listed = dict(held_out or {}), None
    if pairs:
        listed = read_pairs(pairs, {row.path: row.label for row in rows}, root)
        wanted = set(listed.first) | set(listed.second)
        held_out["test"] = sorted({row.label for row in rows if str(row.path) in wanted})
    chosen = divide(rows, held_out, picture_fraction, seed)[split]
    if split == "test" and listed:
        chosen = [row for row in chosen if str(row.path) in wanted]
    if split == "train":
        chosen = _of_many(chosen, min_pictures)
    identities = sorted({row.label for row in chosen})
    if len(identities) < 2:
        received = ", ".join(identities) or "none"
        raise UserError(f"the {split} split must have pictures of at least two identities. Received: {received}")
    number = {identity: index for index, identity in enumerate(identities)}
    labels = np.array([number[row.label] for row in chosen], np.int32)
    if reader == "scenes":
        return _scenes_source(chosen, labels, identities, split, size, seed)
    source = file_source([row.path for row in chosen], {"label": labels}, identities, on_corrupt=on_corrupt)
    return replace(source, ground_truth=listed if split == "test" else None)


def divide(rows: Sequence[Row], held_out: Mapping[str, HeldOut], fraction: float, seed: int) -> dict[str, list[Row]]:
    """{split: rows}; identities held out for validation or test are in no other split, train least of all.

    An identity named for both has the pictures of each split's own folder. Raises UserError for unknown identities.
    """
    names, have = {row.label for row in rows}, {row.split for row in rows}
    shares = {
        split: (0.0 if split in have else DEFAULT_SHARE) if held_out.get(split) is None else held_out[split]
        for split in ("validation", "test")
    }
    undivided = [row for row in rows if row.split in ("train", None)]
    unseen = choose_identities(names, sorted({row.label for row in undivided}), shares, seed)
    seen = names - unseen["validation"] - unseen["test"]
    parts = {"train": [row for row in undivided if row.label in seen]}
    for split, identities in unseen.items():
        parts[split] = [row for row in rows if row.split == split and row.label in (identities or seen)]
        if not parts[split] and identities:
            parts[split] = [row for row in undivided if row.label in identities]
        elif not parts[split]:
            parts |= stratified(parts["train"], {split: fraction}, seed)
    return parts


def choose_identities(
    names: Collection[str], free: Sequence[str], shares: Mapping[str, float | Sequence[str]], seed: int
) -> dict[str, set[str]]:
    """{split: the identities held out for it}: those named, or a seeded draw from those of `free` that none names."""
    chosen = {split: set(share) for split, share in shares.items() if not isinstance(share, float | int)}
    for split, named in chosen.items():
        if unknown := sorted(named - set(names)):
            received = ", ".join(unknown[:5])
            raise UserError(f"data.held_out.{split} must name identities of the data. Received: {received}")
    left = [name for name in free if not any(name in named for named in chosen.values())]
    left = [left[place] for place in np.random.default_rng(seed).permutation(len(left))]
    for split, share in shares.items():
        if split in chosen:
            continue
        if not 0 <= share < 1:
            raise UserError(f"data.held_out.{split} must be a share of at least 0 and below 1. Received: {share}")
        count = max(2, round(share * len(free))) if share else 0  # one alone has nobody to differ from
        chosen[split], left = set(left[:count]), left[count:]
    return {split: chosen[split] for split in shares}


def _of_many(rows: Sequence[Row], least: int) -> list[Row]:
    counts = {}
    for row in rows:
        counts[row.label] = counts.get(row.label, 0) + 1
    return [row for row in rows if counts[row.label] >= least]


# The built-in set: a row's path is the number of its scene


def _scene_rows(root, counts, seed) -> list[Row]:
    return [
        Row(Path(str(index)), scenes.CLASSES[scenes.label_of(scenes.split_seed(seed, split), index)], split)
        for split, count in counts.items()
        for index in range(count)
    ]


def _scenes_source(rows, labels, identities, split, size, seed) -> Source:
    """Of the scenes of a split those that `rows` name, numbered anew."""
    numbers = np.array([int(row.path.name) for row in rows], np.int64)
    drawn = scenes.source(split, int(numbers.max()) + 1, size, seed)
    names = [f"{split}-{seed}-{number:05d}" for number in numbers]
    items = tf.data.Dataset.from_tensor_slices({"id": names, "scene": numbers, "label": labels})

    def load(record: Sample) -> Sample:
        return {**record, "image": drawn.load(record)["image"]}

    return replace(drawn, items=items, load=load, count=len(rows), classes=identities)


READERS = {
    "folder": lambda root, counts, seed: folder_rows(root, "identity"),
    "csv": lambda root, counts, seed: csv_rows(root, "identity"),
    "scenes": _scene_rows,
}
