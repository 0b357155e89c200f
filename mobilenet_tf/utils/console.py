"""What reaches the terminal: native logs are suppressed, names of strangers printed literally."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, TextIO


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards what native code logs to stderr; sys.stderr keeps working."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink, os.fdopen(saved, "w", buffering=1) as screen:
        is_native = _fileno(sys.stderr) == 2
        stand_in = _StandIn(screen, sys.stderr)
        os.dup2(sink.fileno(), 2)
        try:
            with contextlib.redirect_stderr(stand_in) if is_native else contextlib.nullcontext():
                yield
        finally:
            os.dup2(saved, 2)
            stand_in.stream = stand_in.after


class _StandIn(io.TextIOBase):
    """What sys.stderr is in the block. Loggers that are made there keep it: afterwards it writes to the real stderr."""

    def __init__(self, stream: TextIO, after: TextIO):
        self.stream, self.after = stream, after

    def write(self, text: str) -> int:
        return self.stream.write(text)

    def flush(self) -> None:
        self.stream.flush()

    def fileno(self) -> int:
        return self.stream.fileno()

    def isatty(self) -> bool:
        return self.stream.isatty()


def _fileno(stream: Any) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):  # a notebook's or a test's stand-in for stderr
        return None


def readable(text: object) -> str:
    """Returns text with characters that would steer the terminal written as escapes, such as \\x1b."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def plain(text: object) -> str:
    """Returns text that is not ours, such as the name of a file or class, so that rich prints it literally."""
    from rich.markup import escape

    return escape(readable(text))


def print_table(table: Any) -> None:
    """Prints a table of rich."""
    from rich.console import Console

    Console().print(table)
