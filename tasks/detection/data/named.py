"""Images whose boxes have names, as most tools for drawing boxes store them, in COCO's structure."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilenet_tf.data import tree
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet


@dataclass(frozen=True)
class NamedBox:
    """A box by its corner, width and height in pixels from 0; `where` it stands, for messages."""

    name: str
    x: float
    y: float
    width: float
    height: float
    where: str
    crowd: bool = False


@dataclass(frozen=True)
class NamedImage:
    """An image, its size in pixels as the annotations have it (0: they do not), and its boxes."""

    id: str
    path: Path
    height: int = 0
    width: int = 0
    boxes: Sequence[NamedBox] = field(default=())


@dataclass(frozen=True)
class Annotation:
    """What a file says of its one image: the name that it gives to it, its size (0: not said), its boxes."""

    file_name: str
    height: int
    width: int
    boxes: Sequence[NamedBox]


def images_of(annotations: Mapping[Path, Annotation], root: Path) -> dict[Path, NamedImage]:
    """{annotation file: its image}, as `tree.images_of` finds them; of one that is not there, where it would lie."""
    paths = tree.images_of({file: annotation.file_name for file, annotation in annotations.items()}, root)
    stems = Counter(file.stem for file in annotations)
    return {
        file: NamedImage(
            id=file.stem if stems[file.stem] == 1 else file.relative_to(root).with_suffix("").as_posix(),
            path=paths[file] or _missing(file, annotation.file_name),
            height=annotation.height,
            width=annotation.width,
            boxes=annotation.boxes,
        )
        for file, annotation in annotations.items()
    }


def _missing(file: Path, file_name: str) -> Path:
    """Where the image of an annotation file would lie that has none."""
    name = file.stem + (Path(file_name).suffix or ".jpg")
    folder = tree.folder_named(file.parent.parent, *tree.IMAGE_FOLDERS)
    return (folder or file.parent) / name


def annotation_set(images: Iterable[NamedImage], classes: Sequence[str], where: Path) -> AnnotationSet:
    """The AnnotationSet of these images; classes count from 1, in their order."""
    rows, entries, paths = [], [], []
    ids = {name: number for number, name in enumerate(classes, 1)}
    for image in images:
        rows.append({"id": image.id, "file_name": image.path.name, "height": image.height, "width": image.width})
        paths.append(image.path)
        entries += [_entry(image.id, number, box, ids) for number, box in enumerate(image.boxes, 1)]
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    coco = {"images": rows, "annotations": entries, "categories": categories}
    return AnnotationSet(coco, paths, list(classes), where)


def _entry(image: str, number: int, box: NamedBox, ids: dict[str, int]) -> dict[str, Any]:
    return {
        "id": f"{image}#{number}",
        "image_id": image,
        "line": box.where,
        "category_id": ids[box.name],
        "bbox": [box.x, box.y, box.width, box.height],
        "area": box.width * box.height,
        "iscrowd": int(box.crowd),
    }


def class_names(images: Iterable[NamedImage], where: Path) -> list[str]:
    """The names of all boxes, sorted. Warns of names that are the same but for case and blanks."""
    names = sorted({box.name for image in images for box in image.boxes})
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault("".join(name.casefold().split()), []).append(name)
    for same in alike.values():
        if len(same) > 1:
            warnings.warn(f"{where}: the classes {', '.join(same)} differ in case or blanks alone", stacklevel=2)
    return names


def warn_left_out(counts: Mapping[str, int], where: Path) -> None:
    """Says in one line how many shapes of which kinds are no boxes."""
    for line in tree.left_out(counts, where, "are no boxes"):
        warnings.warn(line, stacklevel=3)


def clean(name: object) -> str:
    """The name of a class on one line, without blanks around it."""
    return " ".join(str(name).split())


def around(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """(x, y, width, height) of the box around points (x, y)."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
