"""Pascal VOC: one XML file of boxes an image, in the devkit's folders or those that labeling tools write."""

from __future__ import annotations

import functools
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from mobilenet_tf.config import Split
from mobilenet_tf.data import tree
from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.tasks.detection.config import Data
from mobilenet_tf.tasks.detection.data import named
from mobilenet_tf.tasks.detection.data.annotation_set import AnnotationSet, divide
from mobilenet_tf.tasks.detection.data.contents import contents
from mobilenet_tf.tasks.detection.data.named import Annotation, NamedBox, NamedImage
from mobilenet_tf.utils import text_files
from mobilenet_tf.utils.errors import UserError

CLASSES = [
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
]  # fmt: skip
DEVKIT: dict[Split, str] = {
    "train": "2007/trainval+2012/trainval", "validation": "2007/test", "test": "2007/test",
}  # fmt: skip  # "07+12"
WHOLE = ("trainval", "default")  # lists of everything that is not held out; CVAT writes the second
CORNERS = ("xmin", "ymin", "xmax", "ymax")
FLAGS = {"": False, "false": False, "no": False, "unspecified": False, "true": True, "yes": True}
WANTED = (
    "XML files of Pascal VOC: Annotations/ (or annotations/, annots/, xmls/) and JPEGImages/ (or images/), XML beside "
    "the images, either in train/ valid/ test/ too, or VOCdevkit/"
)


def read(data: Data, split: Split, seed: int, size: int) -> AnnotationSet:
    """The images and boxes of a split.

    `data.splits` are names of lists in ImageSets/Main, several joined by +, or of folders; those of a devkit of several
    years have the year before them, as in 2007/trainval+2012/trainval. Where there are neither lists nor folders of the
    splits, they are drawn. The classes are all names in the annotations of the data set; VOC's twenty where it has
    VOC's folders and no others.
    """
    root = tree.dataset_root(data.path, WANTED)
    root = tree.folder_named(root, "VOCdevkit") or root
    years = {folder.name[3:]: folder for folder in sorted(root.iterdir()) if tree.YEAR.fullmatch(folder.name.lower())}
    with_years = any(re.match(r"\d{4}/", name) for name in _parts(data.splits.values()))
    if len(years) == 1 and not with_years:
        root, years = next(iter(years.values())), {}
    if with_years and not years:
        received = ", ".join(data.splits.values())
        raise UserError(f"data.splits must have no year before a list, for {root}. Received: {received}")
    given = _of_devkit(root, years, data) if years else _of_folder(root, data)
    files, drawn = tree.choose(given, split, data)
    everything = [file for group in given.values() for file in group]
    if not everything:
        raise UserError(f"data.root must be a folder with {WANTED}. Received: {contents(root, 'voc')}")
    images = _images(everything, root)
    annotations = named.annotation_set([images[file] for file in files], _classes(images.values(), root), root)
    return divide(annotations, split, data, list(given), seed) if drawn else annotations


def _of_devkit(root: Path, years: Mapping[str, Path], data: Data) -> dict[Split, list[Path]]:
    """{split: XML files} by the lists of several years."""
    lists = {f"{year}/{name}": (_Lists.of(folder, data), name)
             for year, folder in years.items() for name in _Lists.of(folder, data).paths}  # fmt: skip
    natural: dict[Split, str] = DEVKIT
    if not {"2007/trainval", "2007/test"} <= set(lists):
        of_years = {year: _Lists.of(folder, data).natural for year, folder in years.items()}
        natural = {split: "+".join(f"{year}/{names[split]}" for year, names in of_years.items() if split in names)
                   for split in SPLITS}  # fmt: skip
    if unknown := [name for name in _parts(data.splits.values()) if name.casefold() not in lists]:
        form = f"lists of {root} with a year before each list, such as 2007/trainval"
        raise UserError(f"data.splits must name {form}. Received: {unknown[0]}; there are {_some(lists)}")
    wanted: dict[Split, str] = {**natural, **data.splits}
    names: dict[Split, list[str]] = {
        split: [name for name in joined.casefold().split("+") if name in lists] for split, joined in wanted.items()
    }
    if not any(names.values()):
        raise UserError(f"{root} must have lists in ImageSets/Main of its years. Received: {_some(lists)}")
    return _of_lists({split: [lists[name] for name in of_split] for split, of_split in names.items()}, data)


def _of_folder(root: Path, data: Data) -> dict[Split, list[Path]]:
    """{split: XML files} by the lists of one folder, or else by the folders in it."""
    lists, asked = _Lists.of(root, data), _parts(data.splits.values())
    if (lists.natural or asked) and all(name.casefold() in lists.paths for name in asked):
        names: dict[Split, str] = {**lists.natural, **data.splits}
        return _of_lists({split: [(lists, name) for name in names[split].split("+")] for split in names}, data)
    return tree.files_by_split(root, ".xml", data.splits)


def _of_lists(names: Mapping[Split, Sequence[tuple[_Lists, str]]], data: Data) -> dict[Split, list[Path]]:
    """{split: XML files} of the lists of each; a test or validation split of which nothing is there is left out."""
    found: dict[Split, list[Path]] = {}
    for split, of_split in names.items():
        files = [file for lists, name in of_split for file in lists.files(name)]
        if not files and of_split and (split == "train" or split in data.splits):
            lists, name = of_split[0]
            received = f"{lists.paths[name.casefold()]}, of which none is in {lists.root}"
            raise UserError(f"data.splits.{split} must be a list of images that have XML files. Received: {received}")
        if files:
            found[split] = files
    return found


def _some(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[: tree.MAX_NAMED]) or "none"


def _parts(names: Iterable[str]) -> list[str]:
    return [part for joined in names for part in joined.split("+")]


@dataclass(frozen=True)
class _Lists:
    """The lists of a folder {name in lower case: file}, and the names of those of the splits."""

    root: Path
    paths: dict[str, Path]
    natural: dict[Split, str]
    encoding: str
    must_exist: bool

    @classmethod
    def of(cls, root: Path, data: Data) -> _Lists:
        """The lists in ImageSets; where there is no such folder, those beside the annotations or in the root."""
        if sets := tree.folder_named(root, "ImageSets"):
            return cls._in(root, tree.folder_named(sets, "Main") or sets, data)
        for folder in (tree.folder_named(root, *tree.ANNOTATION_FOLDERS), root):
            if folder and (lists := cls._in(root, folder, data)).are_of_the_data_set():
                return lists
        return cls(root, {}, {}, data.encoding, must_exist=False)

    @classmethod
    def _in(cls, root: Path, folder: Path, data: Data) -> _Lists:
        paths = {path.stem.casefold(): path for path in sorted(folder.glob("*.[tT][xX][tT]"))}
        filled = {name for name, path in paths.items() if path.stat().st_size}
        natural: dict[Split, str] = {
            split: path.stem.casefold() for split, path in tree.listed(folder).items() if path.stat().st_size
        }
        whole = next((name for name in WHOLE if name in filled), None)
        if whole and natural.keys().isdisjoint(("train", "validation")):
            natural["train"] = whole
        return cls(root, paths, natural, data.encoding, must_exist=data.on_corrupt == "error")

    def are_of_the_data_set(self) -> bool:
        """Whether the list of training names annotations: other texts lie in folders, too."""
        if "train" not in self.natural:
            return False
        lines = text_files.read_lines(self.paths[self.natural["train"]], self.encoding)
        return _named_by(next((line for line in lines if line), ""), self.annotations) is not None

    @functools.cached_property
    def annotations(self) -> dict[str, Path]:
        """{the end of its path, from any folder on and without suffix: file}, where that is of one file alone."""
        ends: dict[str, list[Path]] = {}
        for file in tree.annotation_files(self.root, ".xml"):
            parts = file.relative_to(self.root).with_suffix("").parts
            for start in range(len(parts)):
                ends.setdefault("/".join(parts[start:]), []).append(file)
        return {end: files[0] for end, files in ends.items() if len(files) == 1}

    def files(self, name: str) -> list[Path]:
        """The XML files that a list names; warns of names without one, or raises UserError (on_corrupt=error)."""
        path = self.paths[name.casefold()]
        lines = [line for line in text_files.read_lines(path, self.encoding) if line]
        found = [_named_by(line, self.annotations) for line in lines]
        missing = [line for line, file in zip(lines, found, strict=True) if file is None]
        if missing and self.must_exist:
            received = f"{missing[0]}, which has none in {self.root}"
            raise UserError(f"{path} must name images that have an XML file. Received: {received}")
        if missing:
            counted = f"{len(missing)} of {len(lines)} names have no XML file, the first {missing[0]}"
            warnings.warn(f"{path}: {counted}; left out", stacklevel=2)
        return [file for file in found if file is not None]


def _named_by(line: str, annotations: Mapping[str, Path]) -> Path | None:
    """The annotation file that a line of a list names: by a name or path, with or without further columns."""
    words = line.split()
    names = (line, line.rpartition(" ")[0].strip(), *words[:1], *words[-1:])
    for form in (form for name in names for form in (tree.without_suffix(name), name)):
        parts = re.split(r"[\\/]", form)
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        if found := next((annotations[end] for end in ends if end in annotations), None):
            return found
    return None


def _classes(images: Iterable[NamedImage], root: Path) -> list[str]:
    """The names in all annotations, sorted; VOC's twenty where they are no others and the folders are VOC's."""
    names = named.class_names(images, root)
    if not names:
        raise UserError(f"{root} must have XML files with objects. Received: {len(list(images))} files, no object")
    others = [name for name in names if name not in CLASSES]
    if not any(part.upper().startswith("VOC") for part in (root.name, root.parent.name)):
        return names
    if others:
        known = f"{others[0]} is none of Pascal VOC's twenty"
        warnings.warn(f"{root}: the classes are those of the annotations, {', '.join(names)}: {known}", stacklevel=2)
    return names if others else CLASSES


def _images(files: Iterable[Path], root: Path) -> dict[Path, NamedImage]:
    """{XML file: its image}"""
    parsed = {file: _parse(file) for file in dict.fromkeys(files)}
    turned = [file for file, (_, swapped) in parsed.items() if swapped]
    if turned:
        warnings.warn(f"{root}: {len(turned)} files have boxes whose corners are swapped, the first {turned[0]}; they "
                      "are put in order", stacklevel=2)  # fmt: skip
    return named.images_of({file: annotation for file, (annotation, _) in parsed.items()}, root)


def _parse(file: Path) -> tuple[Annotation, bool]:
    """What an XML file says of its image; whether a box had its corners swapped."""
    root = text_files.read_xml(file)
    for element in root.iter():  # some tools write other cases or a name space
        element.tag = str(element.tag).rpartition("}")[2].casefold()
    objects = [pair for pair in enumerate(root.iterfind("object"), 1) if _text(pair[1], "deleted") != "1"]
    if root.tag != "annotation" and not objects:
        hint = "; CVAT's own format: export it as Pascal VOC" if root.tag == "annotations" else ""
        raise UserError(f"{file} must be an <annotation> of Pascal VOC. Received: <{root.tag}>{hint}")
    boxes, turned = [], False
    for number, entry in objects:
        box, swapped = _box(entry, f"{file}, object {number}")
        boxes.append(box)
        turned |= swapped
    height, width = (_side(root, f"size/{side}", file) for side in ("height", "width"))
    return Annotation(tree.basename(_text(root, "filename")), height, width, boxes), turned


def _box(entry: Element, where: str) -> tuple[NamedBox, bool]:
    name, box = named.clean(_text(entry, "name")), entry.find("bndbox")
    if not name:
        raise UserError(f"{where} must have a name. Received: none")
    if box is None:
        received = ", ".join(child.tag for child in entry) or "nothing"
        raise UserError(f"{where} must have a bndbox with {', '.join(CORNERS)}. Received: {received}")
    corners = [_number(box, key, where) for key in CORNERS]
    # Corners count from 1 and lie inside the box
    (left, right), (top, bottom) = (_in_order(*corners[axis::2]) for axis in (0, 1))
    turned = left != corners[0] == corners[0] or top != corners[1] == corners[1]  # a NaN equals nothing
    crowd = _flag(entry, "difficult", where)
    return NamedBox(name, left - 1, top - 1, right - left + 1, bottom - top + 1, where, crowd), turned


def _in_order(low: float, high: float) -> tuple[float, float]:
    return (high, low) if -math.inf < high - low + 1 < 0 else (low, high)


def _flag(entry: Element, key: str, where: str) -> bool:
    text = _text(entry, key).casefold()
    return FLAGS[text] if text in FLAGS else _number(entry, key, where) > 0


def _side(root: Element, key: str, file: Path) -> int:
    """A side of the image; 0 where the file does not say it."""
    number = _number(root, key, f"{file}") if _text(root, key) else 0
    return int(number) if 0 < number < 2**31 else 0


def _number(element: Element, key: str, where: str) -> float:
    text = _text(element, key)
    try:
        return float(text.replace(",", "."))  # some tools write numbers as their language does
    except ValueError:
        raise UserError(f"{where}: {key} must be a number. Received: {text[:60] or 'nothing'}") from None


def _text(element: Element, key: str) -> str:
    return (element.findtext(key) or "").strip()
