"""Who is held out: which identities, and which of their images, each split has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mobilenet_tf.data import image_lists
from mobilenet_tf.data.image_lists import LabeledFile
from mobilenet_tf.data.source import Source, file_source
from mobilenet_tf.data.splits import HELD_OUT
from mobilenet_tf.tasks.embedding.config import Data
from mobilenet_tf.tasks.embedding.pairs import read_pairs
from mobilenet_tf.utils.errors import UserError

DEFAULT_SHARE = 0.1  # of the identities held out for a split that the data does not have
HeldOut = float | Sequence[str] | None  # see `config.HeldOut`


def identity_source(rows: Sequence[LabeledFile], data: Data, split: str, seed: int) -> Source:
    """The Source of a split of a list of files, with the pairs of the test split where `data.pairs` names them."""
    held_out: dict[str, HeldOut] = data.held_out.model_dump()
    if not data.pairs:
        return _source(rows_of(rows, data, held_out, split, seed), data, split)
    pairs = read_pairs(data.pairs, {row.path: row.label for row in rows}, data.path, data.encoding)
    in_pairs = set(pairs.first) | set(pairs.second)
    held_out["test"] = sorted({row.label for row in rows if str(row.path) in in_pairs})
    chosen = rows_of(rows, data, held_out, split, seed)
    if split != "test":
        return _source(chosen, data, split)
    chosen = [row for row in chosen if str(row.path) in in_pairs]
    return replace(_source(chosen, data, split), ground_truth=pairs)


def _source(rows: Sequence[LabeledFile], data: Data, split: str) -> Source:
    identities, labels = number_identities(rows, split)
    return file_source([row.path for row in rows], {"label": labels}, identities, on_corrupt=data.on_corrupt)


def number_identities(rows: Sequence[LabeledFile], split: str) -> tuple[list[str], np.ndarray]:
    """(the identities of a split, sorted; the label of each row, int32 [N]: an index into them).

    Raises UserError where there are fewer than two.
    """
    identities = sorted({row.label for row in rows})
    if len(identities) < 2:
        received = ", ".join(identities) or "none"
        raise UserError(f"the {split} split must have images of at least two identities. Received: {received}")
    label_of = {identity: label for label, identity in enumerate(identities)}
    return identities, np.array([label_of[row.label] for row in rows], np.int32)


def rows_of(
    rows: Sequence[LabeledFile], data: Data, held_out: Mapping[str, HeldOut], split: str, seed: int
) -> list[LabeledFile]:
    """The rows of a split; training leaves out identities with fewer than `data.min_images` images."""
    chosen = divide(rows, held_out, data.image_fraction, seed)[split]
    if split != "train":
        return chosen
    counts = Counter(row.label for row in chosen)
    return [row for row in chosen if counts[row.label] >= data.min_images]


def divide(
    rows: Sequence[LabeledFile], held_out: Mapping[str, HeldOut], fraction: float, seed: int
) -> dict[str, list[LabeledFile]]:
    """{split: rows}; identities held out for validation or test are in no other split, train least of all.

    A split that holds out no identity has images of the training identities: those of its own folder, or else this
    `fraction` of their training images. An identity named for both has the images of each split's own folder.
    Raises UserError for unknown identities.
    """
    undivided = [row for row in rows if row.split in ("train", None)]
    names = {row.label for row in rows}
    shares = _shares(held_out, {row.split for row in rows})
    unseen = choose_identities(names, sorted({row.label for row in undivided}), shares, seed)
    seen = names.difference(*unseen.values())
    parts = {"train": [row for row in undivided if row.label in seen]}
    for split, identities in unseen.items():
        parts[split] = [row for row in rows if row.split == split and row.label in (identities or seen)]
        if parts[split]:
            continue
        if identities:
            parts[split] = [row for row in undivided if row.label in identities]
        else:
            parts |= image_lists.divide(parts["train"], [split], fraction, seed)
    return parts


def _shares(held_out: Mapping[str, HeldOut], splits: Collection[str | None]) -> dict[str, float | Sequence[str]]:
    """What is held out for validation and test: for None, nobody where the data has that split, else a tenth."""
    shares = {}
    for split in HELD_OUT:
        share = held_out.get(split)
        if share is None:
            share = 0.0 if split in splits else DEFAULT_SHARE
        shares[split] = share
    return shares


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
    left = [left[index] for index in np.random.default_rng(seed).permutation(len(left))]
    for split, share in shares.items():
        if not isinstance(share, float | int):
            continue
        if not 0 <= share < 1:
            raise UserError(f"data.held_out.{split} must be a share of at least 0 and below 1. Received: {share}")
        count = max(2, round(share * len(free))) if share else 0  # one alone has nobody to differ from
        chosen[split], left = set(left[:count]), left[count:]
    return {split: chosen[split] for split in shares}
