"""The progress bar of long operations; it is drawn in a terminal only."""

from __future__ import annotations

from collections.abc import Iterable


def track(items: Iterable, title: str, total: int | None = None) -> Iterable:
    """Yields `items` under a bar on stderr that vanishes at the end; stdout stays free for results."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(items, title, total, console=console, transient=True, disable=not console.is_terminal)
