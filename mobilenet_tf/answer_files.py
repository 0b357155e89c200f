"""Answers as files for programs: rows of CSV, and COCO's results. docs/answers.md describes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobilenet_tf.prediction import Answer
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError

# How the files begin that are written here, and so may be written again
BEGINNINGS = {"--csv": rb"file,(width,height|error)\b", "--coco": rb"\[\n(\{\"image_id\": |\]\n)"}
LONGEST_BEGINNING = 100  # bytes


def check_places(places: Mapping[str, Path | None]) -> None:
    """Raises UserError where two options name one place, or the file of one of `BEGINNINGS` cannot be written.

    places: {option: its file or folder}.
    """
    first: dict[Path, str] = {}
    for option, path in places.items():
        if path is not None and (other := first.setdefault(path.resolve(), option)) != option:
            raise UserError(f"{other} and {option} must go to different places. Received: {path} for both")
        if path is not None and option in BEGINNINGS:
            check_made_here(path, option)


def check_made_here(path: Path, option: str) -> None:
    """Raises UserError where no file can be written, or one stands there that the option did not write."""
    files.check_replaceable(path)
    if not path.exists():
        return
    try:
        with files.open_file(path, limit=2**62) as file:
            beginning = file.read(LONGEST_BEGINNING)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be a new file. Received: {error}") from None
    if beginning and not re.match(BEGINNINGS[option], beginning):
        raise UserError(f"only a file that predict has written may be replaced: choose another name. Received: {path}")


def table_rows(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The values of an answer as rows of a table: one for each class, attribute or object, best first; one without
    them where there is none. Vectors have a column for each number; run lengths are left out.
    """
    flat: dict[str, Any] = {}
    parts: list[dict[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, dict):
            parts += [{"label": name} | part for name, part in value.items()]
        elif not isinstance(value, list):
            flat[key] = value
        elif value and not isinstance(value[0], dict):
            flat |= {f"{key}_{index}": number for index, number in enumerate(value)}
        else:
            parts += value
    return [flat | {key: value for key, value in part.items() if key != "rle"} for part in parts or [{}]]


def image_ids(paths: Sequence[Path]) -> dict[Path, int | str]:
    """COCO's number of each image: that in its file name, 139 of 000000000139.jpg; of any other name, the name itself.

    Raises UserError where two images get the same.
    """
    ids: dict[Path, int | str] = {}
    first: dict[int | str, Path] = {}
    for path in paths:
        digits = path.stem.isascii() and path.stem.isdigit()
        ids[path] = int(path.stem) if digits else path.name
        if (other := first.setdefault(ids[path], path)) != path:
            raise UserError(f"images must have different names for COCO's results. Received: {other} and {path}")
    return ids


def coco_results(values: Mapping[str, Any], image_id: int | str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of an answer as COCO's results: boxes x, y, width, height in pixels, categories from 1."""
    return [
        {
            "image_id": image_id,
            "category_id": classes.index(one["label"]) + 1,
            "bbox": [one["xmin"], one["ymin"], *(round(one[f"{axis}max"] - one[f"{axis}min"], 3) for axis in "xy")],
            "score": one["score"],
        }
        for one in values.get("objects", ())
    ]


@contextmanager
def coco_file(path: Path | None, paths: Sequence[Path], classes: Sequence[str]) -> Iterator[Callable[[Answer], None]]:
    """Yields what adds the objects of an answer to a JSON file of COCO's results, one a line; None: nothing does.

    Raises UserError as `image_ids` and `files.replacing` do.
    """
    if path is None:
        yield lambda answer: None
        return
    ids = {str(file): number for file, number in image_ids(paths).items()}
    with files.replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        separator = "[\n"

        def add(answer: Answer) -> None:
            nonlocal separator
            for result in coco_results(answer.complete, ids[answer.values["file"]], classes):
                file.write(separator + json.dumps(result))
                separator = ",\n"

        yield add
        file.write("[\n]\n" if separator == "[\n" else "\n]\n")
