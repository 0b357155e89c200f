"""Names and values of attributes: which are chosen, and what their cells in text files mean."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

import numpy as np

from mobilenet_tf.utils.errors import UserError

UNKNOWN = -1.0
VALUES = {"1": 1.0, "0": 0.0, "-1": 0.0, "": UNKNOWN}  # in text files


def choose(known: Sequence[str], wanted: Sequence[str] | None, where) -> list[int]:
    """The indices of the wanted attributes among the known ones; of all for None.

    Raises UserError, saying `where` they stand: an unknown attribute, one named twice, or none at all.
    """
    wanted = known if wanted is None else wanted
    for attribute in wanted:
        if attribute not in known:
            near = difflib.get_close_matches(attribute, known, 3) or known[:3]
            raise UserError(f"data.attributes must be in {where} (nearest: {', '.join(near)}). Received: {attribute}")
        if list(wanted).count(attribute) > 1:
            raise UserError(f"{where} and data.attributes must name each attribute once. Received: {attribute} twice")
    if not wanted:
        raise UserError(f"{where} must have at least one attribute. Received: none")
    return [known.index(attribute) for attribute in wanted]


def parse(cells: Sequence[Sequence[str]], names: Sequence[str], where: Sequence[str]) -> np.ndarray:
    """Labels float32 [N, A] from the text of their cells; `where` names each row in an error."""
    for name, column in zip(names, zip(*cells, strict=True), strict=False):
        if {"0", "-1"} <= set(column):  # in 0 and 1 a no is 0; in -1 and 1 a 0 might mean anything
            expected = "either 0 and 1 or -1 and 1 in all rows, empty where not known"
            raise UserError(f"{where[column.index('-1')]}: {name} must be {expected}. Received: -1, elsewhere 0")
    try:
        return np.array([[VALUES[cell] for cell in row] for row in cells], np.float32).reshape(-1, len(names))
    except KeyError:
        row, column, cell = next(
            (i, j, cell) for i, row in enumerate(cells) for j, cell in enumerate(row) if cell not in VALUES
        )
        known = "1, 0, -1 (the same as 0) or empty (not known)"
        raise UserError(f"{where[row]}: {names[column]} must be {known}. Received: {cell}") from None
