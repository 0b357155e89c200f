"""The exception for mistakes that the user can correct, and how its messages show names and values."""

from __future__ import annotations

from collections.abc import Sequence

MAX_CHARACTERS = 1500  # of a message: what it names is the user's and may have any length
MAX_REASON = 300  # of what another library says


class UserError(ValueError):
    """A mistake in what the user gave: a path, a key, a file, a label.

    The message is one line that names the thing, says what was expected and ends in `Received: ...`.
    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: object):
        text = str(message)
        super().__init__(text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]} …")


def reason_of(error: Exception) -> str:
    """Returns what another library says is wrong, on one line: its message, or the kind of error where it has none."""
    return " ".join(str(error).split())[:MAX_REASON] or type(error).__name__


def some(names: Sequence[object], most: int = 3) -> str:
    """Returns the first of several names as a message lists them: "a, b, c, …"."""
    return ", ".join(map(str, names[:most])) + (", …" if len(names) > most else "")


def short(value: object, most: int = 60) -> str:
    """Returns a value of any length as a message shows it, in at most so many characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def missing_extra(package: str, extra: str) -> UserError:
    """The error for an optional dependency that is not installed."""
    return UserError(f'{package} is not installed; this needs: pip install "mobilenet-tf[{extra}]"')
