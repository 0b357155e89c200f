"""What reaches the terminal: native logs are suppressed, names of strangers printed literally."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.table import Table

MAX_HELD = 2**16  # bytes of native logs that are kept
_held: list[bytes] = []
NARROW = 20  # characters in a line of folded text, at least


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Holds back what native code logs to stderr; sys.stderr keeps working."""
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
            sink.seek(0)
            _held.append(sink.read(MAX_HELD))


def held_back() -> str:
    """Returns what `quiet` has kept from the terminal, for a failure that it may explain."""
    text = b"".join(_held).decode(errors="replace")
    return "".join(f"{readable(line)}\n" for line in text.splitlines())


def import_tensorflow_quietly() -> None:
    """Arranges that the first import of TensorFlow, and its first look at the devices, log nothing to the terminal."""
    if "tensorflow" not in sys.modules and not any(isinstance(finder, _QuietImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _QuietImport())


class _QuietImport(MetaPathFinder):
    """Finds TensorFlow as Python does; its import is quiet."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_quietly(module: Any) -> None:
            with quiet():
                execute(module)
                module.config.list_physical_devices()

        spec.loader.exec_module = execute_quietly
        return spec


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


# Tables


def print_table(table: Table) -> None:
    """Prints a table of rich: fitted to the terminal, or with tabs between its columns where stdout is none."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        fit(table, console.width)
        console.print(table)
        return
    for line in tab_separated(table):
        print(line)
    if table.caption:
        Console(stderr=True, soft_wrap=True).print(table.caption)


def tab_separated(table: Table) -> Iterator[str]:
    """The header, rows and footer of a table as lines of texts with tabs between them."""
    columns = [[_text(cell) for cell in (column.header, *column.cells)] for column in table.columns]
    if table.show_footer:
        columns = [[*cells, _text(column.footer)] for cells, column in zip(columns, table.columns, strict=True)]
    for row in zip(*columns, strict=True):
        yield "\t".join(" ".join(cell.split()) for cell in row)


def fit(table: Table, width: int) -> None:
    """Sets the columns of a table so that it is no wider than the terminal.

    Headers are folded between their words. If that is not enough, the widest columns are narrowed: text is folded
    between its words, and a word that is still too long, such as the name of a file, loses its middle.
    """
    _, right, _, left = table.padding
    free = width - (left + right + (table.box is not None)) * len(table.columns) - 1
    columns = [[_text(cell) for cell in (*column.cells, column.footer)] for column in table.columns]
    headers = [_text(column.header) for column in table.columns]
    words = [max(map(len, header.split()), default=0) for header in headers]
    longest = [max(map(len, " ".join(cells).split()), default=0) for cells in columns]
    whole = [max([word, *map(len, cells)]) for word, cells in zip(words, columns, strict=True)]
    folded = [max(word, part, min(all_, NARROW)) for word, part, all_ in zip(words, longest, whole, strict=True)]
    wanted = [max(len(header), width) for header, width in zip(headers, whole, strict=True)]
    for least in (whole, folded, words):  # headers are folded, then texts; words are broken where that is not enough
        while sum(wanted) > free and (wide := [i for i, width in enumerate(least) if wanted[i] > width]):
            wanted[max(wide, key=lambda i: wanted[i])] -= 1
    for column, cells, room in zip(table.columns, columns, wanted, strict=True):
        column.min_width = column.max_width = None
        column.width, column.overflow = room, "fold"
        if max(map(len, cells), default=0) > room:
            column._cells = [_shortened(cell, room) for cell in column._cells]


def shorten(text: str, width: int) -> str:
    """Returns text of at most that many characters: what is longer loses its middle, as in model_w…nt8.tflite."""
    if len(text) <= width:
        return text
    tail = width // 2
    return f"{text[: width - tail - 1]}…{text[len(text) - tail :]}"


def _shortened(cell: Any, width: int) -> Any:
    from rich.text import Text

    text = cell if isinstance(cell, Text) else Text.from_markup(str(cell))
    if max(map(len, text.plain.split()), default=0) <= width:
        return cell
    style = text.spans[0].style if text.spans else text.style
    return Text(" ".join(shorten(word, width) for word in text.plain.split(" ")), style)


def _text(cell: Any) -> str:
    from rich.text import Text

    return cell.plain if isinstance(cell, Text) else Text.from_markup(str(cell)).plain
