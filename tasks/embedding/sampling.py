"""Batches of P identities with K images each."""

from __future__ import annotations

import numpy as np


def balanced_order(labels: np.ndarray, seed, identities: int, images: int) -> np.ndarray:
    """Indices int64 [M] of an epoch's samples, as many whole batches as the samples fill; from the seed alone.

    Every `images` in a row are of one identity, every `identities` of these of different ones. Identities come in
    turns, so each is met as often as any other, and so do the images of each: none comes again before nearly all have
    come. An identity with too few images repeats them. Source: Hermans et al. 2017 (arXiv:1703.07737), 2.
    """
    labels = np.asarray(labels)
    rng = np.random.default_rng(np.asarray(seed).astype(np.uint32))
    batches = -(-len(labels) // (identities * images))
    _, owners, counts = np.unique(labels, return_inverse=True, return_counts=True)
    visits = _in_turns(rng, len(counts), identities, batches).ravel()  # one identity each
    members = np.split(np.argsort(owners, kind="stable"), np.cumsum(counts)[:-1])
    order = np.empty((len(visits), images), np.int64)
    for identity, indices in enumerate(members):
        rows = np.flatnonzero(visits == identity)
        order[rows] = indices[_in_turns(rng, len(indices), images, len(rows))]
    return order.ravel()


def _in_turns(rng: np.random.Generator, count: int, size: int, rows: int) -> np.ndarray:
    """Draws [rows, size] from range(count): pass after pass through all, no repeat in a row unless count < size."""
    if count < size:
        return rng.permuted(np.tile(np.resize(np.arange(count), size), (rows, 1)), axis=1)
    per_pass = count // size
    passes = [rng.permutation(count)[: per_pass * size].reshape(-1, size) for _ in range(-(-rows // per_pass))]
    return np.concatenate([*passes, np.empty((0, size), np.int64)])[:rows]
