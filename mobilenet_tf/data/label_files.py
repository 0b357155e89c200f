"""Label files: the names of the classes, one a line, in the order of their labels (`data.classes`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobilenet_tf.utils.class_names import check_characters
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import UTF8, read_lines


def read_class_names(path: str | Path, encoding: str = UTF8) -> list[str]:
    """The class names in a text file, one a line; blank lines do not count.

    Raises UserError: the file cannot be read, has no name, or has one twice.
    """
    return check_class_names(read_lines(path, encoding), path)


def check_class_names(names: Sequence[str], where: str | Path) -> list[str]:
    """The names without blanks around them.

    Raises UserError, saying `where` they stand: no name, one twice, or one with a line break or control character.
    """
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise UserError(f"{where} must name the classes, one a line. Received: no name")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{where} must name each class once. Received: {repeated} more than once")
    check_characters(names, where)
    return names


def check_class_count(names: Sequence[str], where: str | Path, most: int | None = None) -> list[str]:
    """The names as a list. Raises UserError, saying `where` they come from: fewer than two, or more than `most`."""
    if len(names) < 2:
        raise UserError(f"{where} must have at least two classes. Received: {', '.join(names) or 'none'}")
    if most is not None and len(names) > most:
        raise UserError(f"{where} must have at most {most} classes. Received: {len(names)}")
    return list(names)
