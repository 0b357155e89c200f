"""What the values or colors of masks stand for: the tables that configs and tools give, and the reader made of one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mobilenet_tf.data.label_files import check_class_count, check_class_names
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.tasks.segmentation.config import Data
from mobilenet_tf.tasks.segmentation.data.layout import class_names, visible
from mobilenet_tf.tasks.segmentation.data.masks import Color, MaskFiles, identity_table, value_table
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import read_lines, read_table

Table = dict[int | Color, str]  # a stored value or a color -> the name of its class

IGNORED = ("ignore", "ignored")  # names that stand for 255
# Tables that tools write: CVAT, Roboflow, CamVid and its copies
TABLE_FILES = ("labelmap.txt", "_classes.csv", "class_dict.csv", "label_colors.txt")
CLASS_FILES = ("classes.txt", "labels.txt", "codes.txt")
IDENTITY_HINT = (
    "; data.values says which value is which class, such as data.values={0: background, 255: object}, and "
    "data.unknown_values=nearest then reads soft edges and JPEG"
)
LABEL_MAP = re.compile(r"(?P<name>.+?):(?P<color>\s*\d+\s*,\s*\d+\s*,\s*\d+\s*)?:[^:]*:[^:]*")  # CVAT's lines
COLOR_LIST = re.compile(r"(?P<color>\d+\s+\d+\s+\d+)\s+(?P<name>\S.*)")  # CamVid's lines
COLUMNS = {"red": ("red", "r"), "green": ("green", "g"), "blue": ("blue", "b"),
           "value": ("value", "pixel value", "pixel_value", "index", "id"),
           "name": ("name", "class", "label", "class_name")}  # fmt: skip


def mask_reader(data: Data, root: Path, default: Sequence[str] = ()) -> tuple[list[str], MaskFiles]:
    """(class names, what reads the masks) of a folder.

    The first of these that there is: `data.values`; the table `data.mask_colors`; a table in the folder, such as
    CVAT's labelmap.txt, unless class names without it say something else; the names in `data.classes` or in
    classes.txt, or else `default`, for masks that hold class ids.
    Raises UserError: no names, a table that cannot be read, or other names than `data.classes` has.
    """
    named = data.classes or next((path for name in CLASS_FILES if (path := visible(root).get(name))), None)
    wanted = class_names(named, data.encoding) if named else list(default)
    table, where = _table(data, root)
    if table and not (data.values or data.mask_colors) and named and {*wanted} != {*_names(table)}:
        table = {}
    if table:
        return _from_table(table, where, data)
    if not wanted:
        files = ", ".join((*CLASS_FILES[:1], *TABLE_FILES))
        raise UserError(f"data.classes must name the classes, or one of {files} in {root}. Received: none of them")
    if data.unknown_values != "error":
        raise UserError(
            "data.unknown_values must be error where neither data.values nor a table says what the values stand for: "
            f"between class ids there is no nearest. Received: {data.unknown_values}"
        )
    return wanted, MaskFiles(identity_table(len(wanted)), hint=IDENTITY_HINT)


def _from_table(table: Table, where: str | Path, data: Data) -> tuple[list[str], MaskFiles]:
    names = _names(table)
    if data.classes:
        wanted = class_names(data.classes, data.encoding)
        if {*wanted} != {*names}:
            received = ", ".join(sorted({*wanted} ^ {*names})[:6])
            raise UserError(
                f"data.classes must be null or name the classes of {where}. Received: a difference, {received}"
            )
        names = wanted
    check_class_count(check_class_names(names, where), where, most=IGNORE)
    ids = {name: i for i, name in enumerate(names)} | dict.fromkeys(IGNORED, IGNORE)
    values = {key: ids[name] for key, name in table.items() if isinstance(key, int)}
    colors = {key: ids[name] for key, name in table.items() if not isinstance(key, int)}
    return names, MaskFiles(value_table(values) if values else None, colors or None, unknown=data.unknown_values)


def _names(table: Table) -> list[str]:
    return [name for name in dict.fromkeys(table.values()) if name not in IGNORED]


def _table(data: Data, root: Path) -> tuple[Table, str | Path]:
    """(the table, what messages call it); an empty one where there is none."""
    if data.values:
        names = check_class_names(list(dict.fromkeys(data.values.values())), "data.values")
        given = dict(zip(dict.fromkeys(data.values.values()), names, strict=True))
        return {_color(key) if isinstance(key, str) else key: given[name] for key, name in data.values.items()}, (
            "data.values"
        )
    path = data.mask_colors or _find(root)
    return (read(path, data.encoding), path) if path else ({}, "")


def _find(root: Path) -> Path | None:
    folders = [root, *(path for path in visible(root).values() if path.is_dir())]
    return next((path for name in TABLE_FILES for folder in folders if (path := folder / name).is_file()), None)


def read(path: Path, encoding: str) -> Table:
    """The table in a file: CVAT's labelmap.txt (name:r,g,b:parts:actions), lines "r g b name", or a CSV file.

    The columns of a CSV file are red, green and blue, or value; and name. The names ignore and ignored stand for 255.
    Raises UserError, with the line: anything else, a number over 255 in a color, one color for two classes.
    """
    lines = [(f"{path}, line {n}", text) for n, text in enumerate(read_lines(path, encoding), 1)]
    lines = [(where, text) for where, text in lines if text and not text.startswith("#")]
    for pattern in (LABEL_MAP, COLOR_LIST):
        matches = [(where, pattern.fullmatch(text)) for where, text in lines]
        if lines and all(match for _, match in matches):
            rows = [(where, match) for where, match in matches if match]
            return _checked([(where, _listed(match, i, where), match["name"]) for i, (where, match) in enumerate(rows)])
    return _checked(_csv_rows(path, encoding))


def _listed(match: re.Match, index: int, where: str) -> Color:
    """The color in a line; VOC's for this index where it has none."""
    if not match["color"]:
        return _voc(index)
    red, green, blue = (_byte(part, where) for part in re.split(r"[\s,]+", match["color"].strip()))
    return red, green, blue


def _csv_rows(path: Path, encoding: str) -> list[tuple[str, int | Color, str]]:
    rows = read_table(path, encoding=encoding)
    columns = list(rows[0][1]) if rows else []
    known = {column.lower(): column for column in columns}
    column = {key: known[name] for key, names in COLUMNS.items() for name in reversed(names) if name in known}
    colors = [column[key] for key in ("red", "green", "blue") if key in column]
    if "name" not in column or not (len(colors) == 3 or "value" in column):
        received = ", ".join(columns) or "no row"
        wanted = "the columns red, green, blue (0..255) and name, or value and name"
        raise UserError(f"{path} must have {wanted}. Received: {received}")
    entries: list[tuple[str, int | Color, str]] = []
    for where, cells in rows:
        if len(colors) == 3:
            red, green, blue = (_byte(cells[color], where) for color in colors)
            entries.append((where, (red, green, blue), cells[column["name"]]))
        else:
            entries.append((where, _byte(cells[column["value"]], where, 2**16 - 1), cells[column["name"]]))
    return entries


def _checked(rows: Sequence[tuple[str, int | Color, str]]) -> Table:
    table: Table = {}
    for where, key, text in rows:
        name = text.strip()
        if not name or not name.isprintable():
            raise UserError(f"{where} must name a class in one line. Received: {name or 'no name'}")
        if table.setdefault(key, name) != name:
            what = f"the value {key}" if isinstance(key, int) else "the color #{:02x}{:02x}{:02x}".format(*key)
            raise UserError(f"{where} must have one class for {what}. Received: {table[key]} and {name}")
    return table


def _byte(text: str | int, where: str, most: int = 255) -> int:
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= most:
        raise UserError(f"{where} must have whole numbers from 0 to {most}. Received: {text}")
    return value


def _color(text: str) -> Color:
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


def _voc(index: int) -> Color:
    """The color of a class id that has none of its own, as VOC counts them (VOCcode/VOClabelcolormap.m)."""
    color = [0, 0, 0]
    for bit in range(24):
        color[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    red, green, blue = color
    return red, green, blue


def voc_colors(count: int) -> Mapping[Color, int]:
    """{color: class id} of VOC's palette, with the border that is ignored."""
    return {_voc(index): index for index in range(count)} | {(224, 224, 192): IGNORE}
