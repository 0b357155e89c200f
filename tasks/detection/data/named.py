"""Images whose boxes have names, as most tools for drawing boxes store them, in COCO's structure."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilenet_tf.config import Split
from mobilenet_tf.tasks.detection.data import tree
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


def by_folder(root: Path, suffix: str, splits: Mapping[Split, str]) -> dict[Split, list[Path]]:
    """{split: annotation files with this suffix} by the folders that they or their images lie in.

    Warns of images without an annotation file, which are left out.
    """
    files, index = tree.annotation_files(root, suffix), tree.Index.of_images(root)
    if not files:
        return {"train": []}
    of_file = {file: index.find(file.stem, file) for file in files}
    missing = len(index) - len({image for image in of_file.values() if image})
    if missing > 0:
        warnings.warn(f"{root}: {missing} of {len(index)} images have no {suffix} file; left out", stacklevel=3)
    return tree.by_folder(files, root, splits, of_file.get)


def images_of(annotations: Mapping[Path, Annotation], root: Path) -> dict[Path, NamedImage]:
    """{annotation file: its image}. An image belongs to the file of its own name; else to one that names it."""
    index = tree.Index.of_images(root)
    paths = {file: _own_image(file, annotation.file_name, index) for file, annotation in annotations.items()}
    taken = {path for path in paths.values() if path}
    for file, annotation in annotations.items():
        image = index.find(annotation.file_name, file) if not paths[file] and annotation.file_name else None
        if image and image not in taken:
            paths[file] = image
            taken.add(image)
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


def _own_image(file: Path, file_name: str, index: tree.Index) -> Path | None:
    """The image of the annotation file's own name; of several, the one that the file names too."""
    exact = index.find(file_name, file) if tree.without_suffix(file_name) == file.stem else None
    return exact or index.find(file.stem, file)


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
    if counts:
        kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
        warnings.warn(f"{where}: {sum(counts.values())} shapes are no boxes ({kinds[:200]}); left out", stacklevel=3)


def clean(name: object) -> str:
    """The name of a class on one line, without blanks around it."""
    return " ".join(str(name).split())


def around(points: Sequence[tuple[float, float]]) -> tuple[float, float, float, float]:
    """(x, y, width, height) of the box around points (x, y)."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
