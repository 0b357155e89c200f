"""Text, JSON, XML and tables that other people made: read within bounds, with one line for each fault."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError

MAX_BYTES = 2**31  # the largest annotation files that are common have half of that
MAX_TABLE_BYTES = 2**33  # of a table that is read a row at a time; that of Open Images' boxes has over 2 GiB
MAX_LINE = 2**24  # characters of a line of it
LOOK, PIECE = 1000, 2**20  # bytes that tell an encoding, and that are read at once
MAX_XML_BYTES = 2**24  # of the annotations of one image
UTF8 = "utf-8"
# UTF-32 stands before UTF-16, whose mark it begins with
MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16",
         codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
DELIMITERS = ",;\t"
XML_ENCODING = re.compile(rb"""^\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z0-9._-]+)["']""")
XML_DECLARATION = re.compile(r"^\s*<\?xml.*?\?>", re.DOTALL)


def read_text(path: str | Path, encoding: str = UTF8, *, option: str | None = "data.encoding") -> str:
    """Returns the text of a file; a byte order mark says its encoding, else it is in `encoding`.

    UTF-16 is known without a mark too. Line ends are those of the file.

    Args:
        option: the config key that sets the encoding, which the message names; None: there is none.

    Raises:
        UserError: no file, a folder, pipe or device, over 2 GiB, or bytes that are no text in that encoding. The
            message names the line.
    """
    data = _read_bytes(path, MAX_BYTES)
    return _decode(data, _encoding_in(data) or encoding, path, option)


def read_lines(path: str | Path, encoding: str = UTF8, *, option: str | None = "data.encoding") -> list[str]:
    """Returns the lines of a text file without their ends and without blanks around them. Raises as `read_text`."""
    return [line.strip() for line in re.split(r"\r\n|\r|\n", read_text(path, encoding, option=option).rstrip())]


def read_json(path: str | Path, encoding: str = UTF8) -> Any:
    """Returns the value in a JSON file, with NaN and infinity where it has them.

    Raises:
        UserError: as `read_text`; no JSON, with its line and column; too deeply nested.
    """
    text = read_text(path, encoding)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise UserError(f"{where} must be JSON. Received: {error.msg}") from None
    except (RecursionError, ValueError) as error:  # a number with over 4300 digits is a ValueError
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error).partition(";")[0]
        raise UserError(f"{path} must be JSON of plain values. Received: {reason}") from None


def read_xml(path: str | Path) -> ElementTree.Element:
    """Returns the root of an XML file, in the encoding that it declares. Entities of its own are not expanded.

    Raises:
        UserError: no file, over 16 MiB, no XML, an unknown encoding, entity declarations.
    """
    data = _read_bytes(path, MAX_XML_BYTES)
    declared = XML_ENCODING.match(data)
    name = _encoding_in(data) or (declared[1].decode("ascii") if declared else UTF8)
    text = XML_DECLARATION.sub("", _decode(data, name, path, None), count=1)  # the text is decoded already
    if "<!ENTITY" in text:
        raise UserError(f"{path} must be XML without entity declarations. Received: <!ENTITY")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise UserError(f"{path} must be XML. Received: {error}") from None


def read_table(
    path: str | Path, required: Sequence[str] = (), encoding: str = UTF8
) -> list[tuple[str, dict[str, str]]]:
    """Returns all rows of a CSV table at once, as `table_rows` gives them."""
    return list(table_rows(path, required, encoding))


def table_rows(
    path: str | Path, required: Sequence[str] = (), encoding: str = UTF8
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields the rows of a CSV file with where they stand: ("a.csv, line 2", {column: cell}); one is in memory at once.

    The cells are parted by commas, semicolons or tabs, whichever the first line has most of. Blanks around the names
    of the columns do not count, and missing cells are empty.

    Raises:
        UserError: as `read_text`, but over 8 GiB; a required column that is missing, or one that is there twice; a row
            with more cells than there are columns.
    """
    with contextlib.closing(_table_lines(path, encoding)) as lines:
        first = list(_up_to_text(lines))
        delimiter = max(DELIMITERS, key=first[-1].count) if first else ","
        reader = csv.reader(itertools.chain(first, lines), delimiter=delimiter)
        columns = next((names for line in _rows(reader, path) if any(names := [cell.strip() for cell in line])), [])
        repeated = sorted({name for name in columns if name and columns.count(name) > 1})
        if repeated:
            raise UserError(f"{path} must have each column once. Received: {repeated[0]} more than once")
        if not set(required) <= set(columns):
            received = ", ".join(columns) or "none"
            names = f"column{'s' if len(required) > 1 else ''} {' and '.join(required)}"
            raise UserError(f"{path} must have the {names}. Received: {received}")
        yield from _cells(reader, columns, path)


def _up_to_text(lines: Iterator[str]) -> Iterator[str]:
    """The lines up to the first one that is not blank."""
    for line in lines:
        yield line
        if line.strip():
            return


def _table_lines(path: str | Path, encoding: str) -> Generator[str]:
    """The lines of a table, with their ends."""
    try:
        with files.open_file(path, MAX_TABLE_BYTES) as file:
            start = file.read(LOOK)
            name = _encoding_in(start) or encoding
            file.seek(0)
            with io.TextIOWrapper(file, name, newline="") as text:
                while line := text.readline(MAX_LINE + 1):
                    if len(line) > MAX_LINE:
                        raise UserError(f"{path} must have lines of at most {MAX_LINE:,} characters. Received: more")
                    yield line
    except UnicodeDecodeError as error:
        raise _no_text_in(path, error) from None
    except UserError:
        raise
    except (LookupError, UnicodeError) as error:
        raise _no_encoding(path, encoding, error) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def _no_text_in(path: str | Path, error: UnicodeDecodeError) -> UserError:
    """The error for a file whose text has been read in pieces: where in the file the first fault is."""
    decoder, line = codecs.getincrementaldecoder(error.encoding)(), 1
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(PIECE), b""):
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as found:
                error, line = found, line + found.object.count(b"\n", 0, found.start)
                break
            line += chunk.count(b"\n")
    return _no_text(error, error.encoding, path, line, "data.encoding")


def listed_file(name: str, folder: Path, where: str) -> Path:
    """Returns the file that a list or table names, relative to `folder`; Windows's backslashes are understood.

    Raises UserError, saying `where` the name stands, if there is no such file.
    """
    name = name.strip()
    for path in (folder / name, folder / name.replace("\\", "/")) if name else ():
        with contextlib.suppress(OSError, ValueError):  # a name that is too long, or has a NUL character
            if path.is_file():
                return path
    raise UserError(f"{where} must be a file that exists. Received: {folder / name if name else 'nothing'}")


def _cells(reader: Any, columns: list[str], path: str | Path) -> Iterator[tuple[str, dict[str, str]]]:
    for row in _rows(reader, path):
        if not any(cell.strip() for cell in row):
            continue
        where = f"{path}, line {reader.line_num}"
        if len(row) != len(columns):
            if any(cell.strip() for cell in row[len(columns) :]):
                raise UserError(f"{where} must have {len(columns)} cells, one a column. Received: {len(row)}")
            row += [""] * (len(columns) - len(row))
        yield where, dict(zip(columns, row, strict=False))


def _rows(reader: Any, path: str | Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num} must be a row of a CSV table. Received: {error}") from None


def _read_bytes(path: str | Path, limit: int) -> bytes:
    try:
        return files.read_bytes(path, limit)
    except (OSError, ValueError) as error:  # a path with a NUL character is a ValueError
        raise _unreadable(path, error) from None


def _encoding_in(data: bytes) -> str | None:
    """The encoding that the first bytes of a text tell: by a mark, or as UTF-16 is known without one."""
    return next((name for mark, name in MARKS.items() if data.startswith(mark)), None) or _utf16_without_mark(data)


def _utf16_without_mark(data: bytes) -> str | None:
    """Which UTF-16 a text is by its zero bytes: text in Latin letters has one in every second place."""
    start = data[:LOOK]
    if len(start) < 4 or 0 not in start:
        return None
    odd, even = start[1::2].count(0), start[::2].count(0)
    if odd > 0.4 * len(start) and not even:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * len(start) and not odd else None


def _decode(data: bytes, encoding: str, path: str | Path, option: str | None) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise _no_text(error, encoding, path, data.count(b"\n", 0, error.start) + 1, option) from None
    except (LookupError, UnicodeError) as error:
        raise _no_encoding(path, encoding, error) from None


def _no_text(error: UnicodeDecodeError, encoding: str, path: str | Path, line: int, option: str | None) -> UserError:
    data = error.object
    context = data[max(0, error.start - 12) : error.start + 8].decode("latin-1")
    hint = f"; save it as UTF-8, or set {option}, such as {option}=cp1252" if option else "; save it as UTF-8"
    return UserError(
        f"{path}, line {line} must be text in {encoding.upper().removesuffix('-SIG')}. "
        f"Received: byte 0x{data[error.start]:02x} in {context!r}{hint}"
    )


def _no_encoding(path: str | Path, encoding: str, error: Exception) -> UserError:
    return UserError(f"{path} must be text in an encoding that Python knows. Received: {encoding}: {error}")


def _unreadable(path: str | Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or error
    return UserError(f"{path} must be a text file that can be read. Received: {reason}")
