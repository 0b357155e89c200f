"""Converts configs of earlier versions to the current names. No TensorFlow here.

A stored config carries the number of the schema it was written in. Renaming a key raises `SCHEMA` by one and adds a
row to `RENAMES`; artifacts of every earlier schema then still open, and YAML files and overrides may use the old name
for one more release.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mobilenet_tf.utils.errors import UserError

SCHEMA = 2  # of the configs that this version writes; one without a number is of schema 1


@dataclass(frozen=True)
class Rename:
    """A dotted key, or some of its values, that has had another name since a schema."""

    schema: int  # the first one with the new name
    old: str
    new: str
    values: Mapping[str, str] = field(default_factory=dict)  # old value -> new value; others stay as they are
    task: str | None = None  # None: of all tasks


RENAMES: tuple[Rename, ...] = (
    Rename(2, "data.resize", "data.resize", {"pad": "letterbox"}, task="detection"),
    Rename(2, "data.resize", "data.resize", {"fit": "letterbox"}, task="segmentation"),
    Rename(2, "quantize.aware", "quantize.qat"),
    Rename(2, "export.limit", "export.max_drop"),
    Rename(2, "tune", "calibrate_thresholds", task="attributes"),
    Rename(2, "loss.negatives", "loss.negative_ratio", task="detection"),
    Rename(2, "data.picture_fraction", "data.image_fraction", task="embedding"),
    Rename(2, "data.min_pictures", "data.min_images", task="embedding"),
    Rename(2, "data.pictures_per_identity", "data.images_per_identity", task="embedding"),
    Rename(2, "data.colours", "data.mask_colors", task="segmentation"),
    Rename(2, "loss.hard", "loss.ohem_fraction", task="segmentation"),
    Rename(2, "views", "tta", task="segmentation"),
)


def migrate(values: dict, origin: str, *, warn: bool = False) -> dict:
    """A config's plain values under the current names, without the schema's number; `values` stay as they are.

    Args:
        values: the mapping as it was read. Without a number, old and new names may stand side by side.
        origin: what messages call it, such as the name of the file.
        warn: whether to warn of each old name, as for what a user wrote.

    Raises:
        UserError: the number is no schema of this version, or a key is given by both of its names.
    """
    values = copy.deepcopy(values)
    number = values.pop("schema", 1)
    if not isinstance(number, int) or not 1 <= number <= SCHEMA:
        raise UserError(
            f"{origin}: schema must be a whole number from 1 to {SCHEMA}; a later version of mobilenet_tf may have "
            f"written it, so upgrade. Received: {number!r}"
        )
    for row in RENAMES:
        if row.schema > number and row.task in (None, values.get("task")) and _rename(values, row, origin) and warn:
            told = ", ".join(f"{old} as {new}" for old, new in row.values.items()) if row.old == row.new else row.new
            warnings.warn(f"{origin}: write {row.old} as {told}; the old name ends with the next release", stacklevel=2)
    return values


def current_key(key: str, task: str | None) -> str:
    """The current name of a dotted key, such as an override has, or of a key within it."""
    for row in RENAMES:
        if row.task in (None, task) and (key == row.old or key.startswith(f"{row.old}.")):
            key = row.new + key.removeprefix(row.old)
    return key


def _rename(values: dict, row: Rename, origin: str) -> bool:
    """Renames one key in place; returns whether there was anything to rename."""
    section, last = _section(values, row.old)
    if section is None or last not in section:
        return False
    value = section[last]
    renamed = row.values.get(value, value) if isinstance(value, str) else value
    if row.old == row.new:
        section[last] = renamed
        return renamed != value
    target, name = _section(values, row.new, create=True)
    assert target is not None  # it was created
    if name in target:
        raise UserError(f"{origin}: {row.old} is the old name of {row.new}; only one of them may be set")
    del section[last]
    target[name] = renamed
    return True


def _section(values: dict, key: str, create: bool = False) -> tuple[dict[str, Any] | None, str]:
    """The mapping that holds a dotted key, or None, and the key's last part."""
    *parents, last = key.split(".")
    node: Any = values
    for part in parents:
        node = node.setdefault(part, {}) if create else node.get(part)
        if not isinstance(node, dict):
            return None, last
    return node, last
