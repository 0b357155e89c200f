"""How the commands print numbers, tables and JSON."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterable
from pathlib import Path


def print_json(values, indent: int | None = 2) -> None:
    """Prints JSON at once, with other letters as they are where the terminal has them; on one line without `indent`."""
    text = json.dumps(values, indent=indent, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal without these letters, or names of files that are not UTF-8
        text = json.dumps(values, indent=indent)
    print(text, flush=True)


def print_numbers(title: str, numbers: dict) -> None:
    """Prints named numbers, a row each."""
    print_rows(
        [{title: key, "value": f"{value:.4f}" if isinstance(value, float) else value} for key, value in numbers.items()]
    )


def print_rows(rows: list[dict]) -> None:
    """Prints a table with a column for each key, in the order in which the keys appear."""
    from rich.table import Table

    from mobilenet_tf.utils.console import plain, print_table

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*map(plain, columns))
    for row in rows:
        table.add_row(*(plain(row.get(column, "")) for column in columns))
    print_table(table)


def print_entries(entries: Iterable[tuple[str, str]]) -> None:
    """Prints headings, each with a text below it that is set in."""
    width = min(shutil.get_terminal_size().columns, 120)
    for heading, text in entries:
        print(heading)
        print(textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    "))


def link(path: Path) -> str:
    """Returns a path as a terminal shows it, with a link to it; as text where stdout is no terminal."""
    from mobilenet_tf.utils.console import readable

    if not sys.stdout.isatty():
        return readable(path)
    return f"\x1b]8;;{path.absolute().as_uri()}\x1b\\{readable(path)}\x1b]8;;\x1b\\"  # OSC 8, as terminals agree


def merge_json(path: Path, values: dict) -> None:
    """Adds to the numbers in a JSON file; a file that cannot be written is a warning."""
    from mobilenet_tf.utils.files import read_json, write_json

    try:
        write_json(path, (read_json(path) if path.exists() else {}) | values)
    except (OSError, ValueError, TypeError) as error:  # the numbers are printed all the same
        warnings.warn(f"the numbers are not stored in {path}: {error}", stacklevel=2)


def tables_to_stderr(as_json: bool):
    """With --json, stdout holds JSON alone: whatever else is printed meanwhile goes to stderr."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()
