"""Which images a split has, where the data set has some splits, one or none of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from mobilenet_tf.config import Split
from mobilenet_tf.data import splits
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.utils.errors import UserError

Item = TypeVar("Item")


def part(
    read: Callable[[Split], Sequence[Item]],
    image_of: Callable[[Item], Path],
    given: Collection[Split],
    split: Split,
    data: Data,
    seed: int,
) -> list[Item]:
    """The items of a split, drawn where the data set has none for it.

    Args:
        read: gives the items of a split of the data set; image_of: the image of an item.
        given: the splits that the data set has; one without splits has train alone.

    Raises:
        UserError: the data set has no such split, or too few images to draw it.
    """
    origin, is_drawn = splits.origin(split, given, data)
    items = list(read(origin))
    if not is_drawn:
        return items
    paths = [image_of(item) for item in items]
    indices = splits.divide(paths, data, seed, fraction=data.validation_fraction, given=given).get(split, ())
    if not len(indices):
        raise UserError(f"there must be images enough to draw a {split} split. Received: {len(items)} images")
    return [items[index] for index in indices]
