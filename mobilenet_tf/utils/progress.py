"""The progress bar of long operations; it is drawn in a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Iterable


def track(items: Iterable, title: str, total: int | None = None) -> Iterable:
    """Yields `items` under a bar on stderr that vanishes at the end; stdout stays free for results.

    What is printed meanwhile goes above the bar where stdout is a terminal too. A file or pipe gets it as it is: rich
    would send it to the terminal.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    bar = Progress(
        *Progress.get_default_columns(),
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
        disable=not console.is_terminal,
    )
    with bar:
        yield from bar.track(items, total, description=title)
