"""Suppresses what native code writes to the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Discards what native code logs to stderr; sys.stderr keeps working."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as sink, os.fdopen(saved, "w", buffering=1) as screen:
        is_native = _fileno(sys.stderr) == 2
        os.dup2(sink.fileno(), 2)
        try:
            with contextlib.redirect_stderr(screen) if is_native else contextlib.nullcontext():
                yield
        finally:
            os.dup2(saved, 2)


def _fileno(stream: Any) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):  # a notebook's or a test's stand-in for stderr
        return None
