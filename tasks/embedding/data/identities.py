"""Who is held out: which identities, and which of their images, each split has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from mobilenet_tf.data import image_lists, split_lists
from mobilenet_tf.data.counts import count_lines
from mobilenet_tf.data.image_lists import LabeledFile
from mobilenet_tf.data.source import Source, file_source
from mobilenet_tf.data.splits import HELD_OUT, SPLITS, draw, image_names, no_such_split, order_by_hash, to_draw
from mobilenet_tf.tasks.embedding.config import Data
from mobilenet_tf.tasks.embedding.pairs import read_pairs
from mobilenet_tf.utils.errors import UserError

DEFAULT_SHARE = 0.1  # of the identities held out for a split that the data does not have
HeldOut = float | Sequence[str] | None  # see `config.HeldOut`


def identity_source(
    rows: Sequence[LabeledFile], data: Data, split: str, seed: int, notes: Sequence[str] = ()
) -> Source:
    """The Source of a split of a list of files, with the pairs of the test split where `data.pairs` names them.

    `notes` are what else is said of the data.
    """
    source = _identity_source(rows, data, split, seed)
    parts = {"all": rows} if data.pairs else divide(rows, data, data.held_out.model_dump(), seed)
    return replace(source, notes=(*notes, *count_lines(parts, kind="identity")))


def _identity_source(rows: Sequence[LabeledFile], data: Data, split: str, seed: int) -> Source:
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
    if data.split_file and len(chosen) < len(in_pairs):
        other = min(in_pairs.difference(str(row.path) for row in chosen))
        raise UserError(f"data.pairs must name images of the test split in {data.split_file}. Received: {other}")
    return replace(_source(chosen, data, split), ground_truth=pairs)


def _source(rows: Sequence[LabeledFile], data: Data, split: str) -> Source:
    identities, labels = number_identities(rows, split)
    return file_source(
        [row.path for row in rows], {"label": labels}, identities, on_corrupt=data.on_corrupt, rendering=data.rendering
    )


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
    parts = divide(rows, data, held_out, seed)
    chosen = parts[split]
    if not chosen and split in HELD_OUT:
        raise no_such_split(split, data.root or "the data", [name for name, found in parts.items() if found])
    if split != "train":
        return chosen
    counts = Counter(row.label for row in chosen)
    return [row for row in chosen if counts[row.label] >= data.min_images]


def divide(
    rows: Sequence[LabeledFile], data: Data, held_out: Mapping[str, HeldOut], seed: int
) -> dict[str, list[LabeledFile]]:
    """{split: rows}; identities held out for validation or test are in no other split, train least of all.

    A split that holds out no identity has images of the training identities: those of its own folder, or else
    `data.image_fraction` of their training images. An identity named for both has the images of each split's own
    folder. Lists in `data.split_file` stand for all of that. Raises UserError for unknown identities.
    """
    if data.split_file:
        return image_lists.divide(rows, data, data.image_fraction, seed)
    undivided = [row for row in rows if row.split in ("train", None)]
    names = {row.label for row in rows}
    shares = _shares(held_out, {row.split for row in rows})
    unseen = choose_identities(names, sorted({row.label for row in undivided}), shares, seed)
    seen = names.difference(*unseen.values())
    parts = {split: [row for row in rows if row.split == split and row.label in seen] for split in HELD_OUT}
    parts["train"] = [row for row in undivided if row.label in seen]
    for split, identities in unseen.items():
        if identities:
            own = [row for row in rows if row.split == split and row.label in identities]
            parts[split] = own or [row for row in undivided if row.label in identities]
    wanted = [split for split, identities in unseen.items() if not identities and not parts[split]]
    train, labels = parts["train"], [row.label for row in parts["train"]]
    names = image_names([row.path for row in train], data.root)
    drawn = draw(names, wanted, data.image_fraction, seed, labels)
    parts |= {split: [train[index] for index in indices] for split, indices in drawn.items()}
    if data.root and (wanted or any(isinstance(share, float) and share for share in shares.values())):
        _note(parts, data)
    return parts


def _note(parts: Mapping[str, Sequence[LabeledFile]], data: Data) -> None:
    """Notes which of the images that no split of the data set holds out are in which split."""
    for split in SPLITS:
        free = [row.path for row in parts[split] if row.split in ("train", None)]
        split_lists.note({split: image_names(free, data.root)})


def _shares(held_out: Mapping[str, HeldOut], splits: Collection[str | None]) -> dict[str, float | Sequence[str]]:
    """What is held out for validation and test: for None, a tenth of a split that is drawn and nobody of another."""
    shares = {}
    for split in HELD_OUT:
        share = held_out.get(split)
        if share is None and split in to_draw(splits):
            share = DEFAULT_SHARE
        if share is not None or split in splits:
            shares[split] = share or 0.0
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
    left = order_by_hash((name for name in free if not any(name in named for named in chosen.values())), seed)
    for split in reversed(HELD_OUT):  # test first, as in `splits.draw`
        share = shares.get(split)
        if not isinstance(share, float | int):
            continue
        if not 0 <= share < 1:
            raise UserError(f"data.held_out.{split} must be a share of at least 0 and below 1. Received: {share}")
        count = max(2, round(share * len(free))) if share else 0  # one alone has nobody to differ from
        chosen[split], left = set(left[:count]), left[count:]
    return {split: chosen[split] for split in shares}
