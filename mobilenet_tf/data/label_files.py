"""Label files: the names of the classes, one a line, in the order of their labels (`data.classes`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobilenet_tf.utils.errors import UserError


def read_class_names(path: str | Path) -> list[str]:
    """The class names in a text file, one a line; blank lines do not count.

    Raises UserError: the file cannot be read, has no name, or has one twice.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise UserError(f"data.classes must be a text file. Received: {path}: {reason}") from None
    return check_class_names(lines, path)


def check_class_names(names: Sequence[str], where: str | Path) -> list[str]:
    """The names without blanks around them. Raises UserError, saying `where` they stand: no name, or one twice."""
    names = [name.strip() for name in names if name.strip()]
    if not names:
        raise UserError(f"{where} must name the classes, one a line. Received: no name")
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{where} must name each class once. Received: {repeated} more than once")
    return names


def check_class_count(names: Sequence[str], where: str | Path, most: int | None = None) -> list[str]:
    """The names as a list. Raises UserError, saying `where` they come from: fewer than two, or more than `most`."""
    if len(names) < 2:
        raise UserError(f"{where} must have at least two classes. Received: {', '.join(names) or 'none'}")
    if most is not None and len(names) > most:
        raise UserError(f"{where} must have at most {most} classes. Received: {len(names)}")
    return list(names)
