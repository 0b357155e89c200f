"""labelme's JSON, one file of shapes an image: what the readers of boxes and of masks share. No TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.data import tree, values
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import read_json

WANTED = "labelme's JSON files, one an image: beside the images, or in annotations/ and images/, in train/ and val/ too"
KINDS = {"polygon": 3, "rectangle": 2, "rotation": 3, "circle": 2, "mask": 1}  # shapes with an area: the fewest points

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Shape:
    """A shape with an area: one of KINDS, its points (x, y) in pixels, all its fields, and where it stands."""

    label: str
    kind: str
    points: Points
    fields: dict
    where: str


@dataclass(frozen=True)
class LabelmeFile:
    """What a file says of its image: the name or path that it gives to it, its size (0: not said), its shapes."""

    image_name: str
    height: int
    width: int
    shapes: list[Shape]


@dataclass(frozen=True)
class LabelmeSet:
    """The files of each split, what each holds, how many shapes of other kinds there are, and what is worth a line."""

    root: Path
    splits: dict[Split, list[Path]]
    files: dict[Path, LabelmeFile]
    left_out: Counter[str]
    findings: list[str]


def read(folder: Path, splits: Mapping[Split, str], encoding: str) -> LabelmeSet:
    """Reads all files in a folder and below it, by split: the folders of the usual names, or those in `splits`.

    JSON files of other tools are left out. Raises UserError: no file of labelme, one that is damaged.
    """
    root = tree.dataset_root(folder, WANTED)
    given = tree.files_by_split(root, ".json", splits)
    left_out: Counter[str] = Counter()
    parsed = {path: _parse(path, encoding, left_out) for group in given.values() for path in group}
    files = {path: file for path, file in parsed.items() if file is not None}
    if not parsed:
        raise UserError(f"data.root must be a folder with {WANTED}. Received: {tree.contents(root)}")
    if not files:
        first = next(iter(parsed))
        received = _received(read_json(first, encoding))
        raise UserError(f"{first} must be labelme's JSON, with a list 'shapes'. Received: {received}")
    others = [path for path in parsed if path not in files]
    lines = [f"{root}: {len(others)} JSON files are not labelme's, the first {others[0]}; left out"] if others else []
    kept: dict[Split, list[Path]] = {}
    for split, group in given.items():
        if of_split := [path for path in group if path in files]:
            kept[split] = of_split
    return LabelmeSet(root, kept, files, left_out, lines)


def _received(content: object) -> str:
    if not isinstance(content, dict):
        return type(content).__name__
    hint = "; that is COCO's format: data.reader=coco" if "images" in content else ""
    return (", ".join(map(str, content))[:100] or "nothing") + hint


def _parse(path: Path, encoding: str, left_out: Counter[str]) -> LabelmeFile | None:
    """What a file holds; None where it is something else than labelme's."""
    content = read_json(path, encoding)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        return None
    shapes = []
    for index, fields in enumerate(content["shapes"]):
        where = f"{path}: shapes[{index}]"
        fields = values.mapping(fields, where)
        kind = str(fields.get("shape_type") or "polygon")  # early versions knew no other
        if kind in KINDS:
            shapes.append(_shape(fields, kind, where))
        else:
            left_out[kind] += 1
    name = content.get("imagePath")
    height, width = (values.side(content.get(key)) for key in ("imageHeight", "imageWidth"))
    return LabelmeFile(name if isinstance(name, str) else "", height, width, shapes)


def _shape(fields: dict, kind: str, where: str) -> Shape:
    given = values.sequence(fields.get("points"), f"{where}: points")
    points = [values.pair(point, f"{where}: points[{i}]") for i, point in enumerate(given)]
    if len(points) < KINDS[kind]:
        raise UserError(f"{where} must have {KINDS[kind]} points or more, being a {kind}. Received: {len(points)}")
    return Shape(values.text(fields.get("label"), f"{where}: label"), kind, points, fields, where)
