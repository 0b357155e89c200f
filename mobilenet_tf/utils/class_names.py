"""What no class name may hold, wherever it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mobilenet_tf.utils.errors import UserError, some

# Control characters, and whatever some reader of lines takes for the end of one: names stand one a line in labels.txt
# inside .tflite files, so that a break within one gives all later classes the name of their neighbor
BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def check_characters(names: Iterable[str], where: object) -> None:
    """Raises UserError, saying `where` the names stand, for a name with a line break or another control character."""
    for number, name in enumerate(names):
        if found := BREAKS.search(name):
            character = found[0].encode("unicode_escape").decode()
            raise UserError(
                f"{where} must have class names without line breaks and control characters. "
                f"Received: {character} in class {number}, {name!r}"
            )


def listed(classes: Sequence[str]) -> str:
    """Returns how many classes there are, and the first of them, as a message says it: "3 classes a, b, c"."""
    return f"{len(classes)} classes {some(classes, 4)}"


def unique(names: Iterable[str]) -> list[str]:
    """Returns the names with a number behind those that came before: "???", "??? (2)". Published label lists have
    such names for numbers that are not in use.
    """
    counts: dict[str, int] = {}
    result = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        result.append(name if counts[name] == 1 else f"{name} ({counts[name]})")
    return result
