"""What a training prints: one aligned row an epoch, and a bar within it where there is a terminal. No TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

BEST = "best"  # marks the row with the best value so far


@dataclass
class Rows:
    """The rows of one stage, printed as its epochs end.

    Args:
        monitor: the metric that picks the best epoch; it has a column.
        epochs: the number of epochs of the whole run.
        steps: the optimizer steps of the run that are still to do when the stage begins or goes on.
    """

    monitor: str
    epochs: int
    steps: int
    seconds: list[tuple[float, int]] = field(default_factory=list)  # of each epoch, with its steps

    def header(self) -> str:
        """Returns the names of the columns."""
        return _line("epoch", "loss", self.monitor, "", "rate", "time", "left", self.monitor)

    def row(self, row: dict[str, Any], steps: int, is_best: bool) -> str:
        """Returns the line of an epoch.

        Args:
            row: the row of log.csv.
            steps: the optimizer steps of the epoch.
            is_best: whether the run has had no better epoch.
        """
        self.steps = max(0, self.steps - steps)
        self.seconds.append((row["seconds"], steps))
        value = row.get(f"val_{self.monitor}")
        return _line(
            f"{row['epoch']}/{max(self.epochs, row['epoch'])}",
            f"{row['loss']:.4f}",
            "-" if value is None else f"{value:.4f}",
            BEST if is_best else "",
            f"{row['learning_rate']:.3g}",
            duration(row["seconds"]),
            duration(self.left()) if self.steps else "-",
            self.monitor,
        )

    def left(self) -> float:
        """Returns how many seconds the rest may take; of several epochs the first, which compiles, does not count."""
        known = self.seconds[1:] or self.seconds
        done = sum(steps for _, steps in known)
        return self.steps * sum(seconds for seconds, _ in known) / done if done else 0.0


def _line(epoch: str, loss: str, value: str, mark: str, rate: str, time: str, left: str, monitor: str) -> str:
    width = max(8, len(monitor))
    line = f"{epoch:>9} {loss:>9} {value:>{width}} {mark:<4} {rate:>9} {time:>9} {left:>9}"
    return line.rstrip()


def duration(seconds: float) -> str:
    """Returns a length of time for people: 4.2 s, 3:05 min, 2:40 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


class Bar:
    """A bar on stderr that counts the steps of an epoch and vanishes at its end; nothing where that is no terminal."""

    def __init__(self):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._make: Callable[[], Progress] = lambda: Progress(*columns, console=console, transient=True)
        self._is_shown, self._progress, self._task = console.is_terminal, None, None

    def start(self, title: str, steps: int) -> None:
        """Draws the bar of an epoch of so many steps."""
        if self._is_shown:
            self._progress = self._make()
            self._progress.start()
            self._task = self._progress.add_task(title, total=steps)

    def advance(self) -> None:
        """Counts a step."""
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task)

    def close(self) -> None:
        """Removes the bar, if it is there."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
