"""The splits of data sets: their names, how they are drawn, and which images each task's readers draw for them."""

import importlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from sections import data_section, reader_of

from mobilenet_tf import config
from mobilenet_tf.data import splits
from mobilenet_tf.data.readers import reader_table
from mobilenet_tf.data.splits import SPLITS, draw, draw_by_class
from mobilenet_tf.data.tfds import split_expression
from mobilenet_tf.utils.errors import UserError

LABELS = "badcabacbadadbcb"  # of the images 0.png, 1.png, ..., in no order
SEED = 3


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(path)


def folder(root: Path, parent: str = "") -> Path:
    """root/parent/label/number.png"""
    for number, label in enumerate(LABELS):
        image(root / parent / label / f"{number}.png")
    return root


def csv(root: Path, columns: str, cells, split: str = "") -> Path:
    """root/list.csv, whose rows are number.png and `cells(number, label)`, and `split` where there is one."""
    lines = [f"path,{columns}" + ",split" * bool(split)]
    for number, label in enumerate(LABELS):
        image(root / f"{number}.png")
        lines.append(f"{number}.png,{cells(number, label)}" + f",{split}" * bool(split))
    (root / "list.csv").write_text("\n".join(lines))
    return root / "list.csv"


def attribute(number, label):
    return "" if number % 5 == 4 else number % 2


def masks(root: Path, parent: str = "") -> Path:
    """root/images/parent/number.png and root/masks/parent/number.png"""
    for number in range(len(LABELS)):
        image(root / "images" / parent / f"{number}.png")
        path = root / "masks" / parent / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    (root / "classes.txt").write_text("a\nb\n")
    return root


def coco(root: Path) -> Path:
    for number in range(len(LABELS)):
        image(root / f"{number}.png")
    numbers = range(len(LABELS))
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 8, "width": 8} for n in numbers],
        "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [1, 1, 4, 4]} for n in numbers],
        "categories": [{"id": 1, "name": "a"}],
    }
    (root / "boxes.json").write_text(json.dumps(content))
    return root


def voc(root: Path) -> Path:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
    for number in range(len(LABELS)):
        image(root / "JPEGImages" / f"{number}.png")
        path = root / "Annotations" / f"{number}.xml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"<annotation><filename>{number}.png</filename><object><name>a</name>{box}</object></annotation>"
        )
    return root


def yolo(root: Path) -> Path:
    for number in range(len(LABELS)):
        image(root / "images" / f"{number}.png")
        path = root / "labels" / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("0 0.5 0.5 0.5 0.5")
    (root / "data.yaml").write_text("train: images\nnames: [a]")
    return root


SEEN = {"validation": 0.0, "test": 0.0}  # no identity is held out: other images of the same ones are
CASES = {
    "classification folder": ("classification", "folder", folder, {}),
    "classification folder, train": ("classification", "folder", lambda root: folder(root, "train"), {}),
    "classification csv": ("classification", "csv", lambda root: csv(root, "label", lambda n, label: label), {}),
    "classification csv, train": (
        "classification", "csv", lambda root: csv(root, "label", lambda n, label: label, "train"), {}
    ),
    "attributes csv": ("attributes", "csv", lambda root: csv(root, "odd", attribute), {}),
    "attributes csv, train": ("attributes", "csv", lambda root: csv(root, "odd", attribute, "train"), {}),
    "detection coco": ("detection", "coco", coco, {"annotations": {"train": "boxes.json"}}),
    "detection voc": ("detection", "voc", voc, {}),
    "detection yolo": ("detection", "yolo", yolo, {}),
    "segmentation folder": ("segmentation", "folder", masks, {}),
    "segmentation folder, train": ("segmentation", "folder", lambda root: masks(root, "train"), {}),
    "embedding folder": ("embedding", "folder", folder, {"held_out": SEEN, "image_fraction": 0.2}),
    "embedding folder, some held out": (
        "embedding", "folder", folder, {"held_out": {"validation": 0.0, "test": ["b", "c"]}, "min_images": 2}
    ),
    "embedding csv": (
        "embedding", "csv", lambda root: csv(root, "identity", lambda n, label: label),
        {"held_out": SEEN, "image_fraction": 0.2},
    ),
    "embedding csv, train": (
        "embedding", "csv", lambda root: csv(root, "identity", lambda n, label: label, "train"),
        {"held_out": {"validation": 0.0, "test": ["b", "c"]}},
    ),
}  # fmt: skip
FRACTION = {"classification": 0.2, "attributes": 0.2, "detection": 0.2, "segmentation": 0.2}


def drawn(case: str, root: Path) -> dict[str, str]:
    """{split: the names of its images, in their order}; "-" where the reader refuses the split."""
    task, reader, write, options = CASES[case]
    options = options | ({"validation_fraction": FRACTION[task]} if task in FRACTION else {})
    root, found = write(root), {}
    for split in SPLITS:
        try:
            source = reader_of(task)(reader, root, split, seed=SEED, **options)
        except UserError:
            found[split] = "-"
        else:
            ids = (item["path" if "path" in item else "id"] for item in source.items.as_numpy_iterator())
            found[split] = " ".join(Path(name.decode()).stem for name in ids)
    return found


DRAWN = {  # as version 0.1.0 drew them
    "classification folder": {"train": "1 11 6 0 15 5 3 10", "validation": "9 13 14 12", "test": "4 8 7 2"},
    "classification folder, train": {"train": "1 11 4 6 0 15 5 8 3 7 10 2", "validation": "9 13 14 12", "test": "-"},
    "classification csv": {"train": "1 4 9 0 8 13 7 2", "validation": "11 5 3 10", "test": "6 15 14 12"},
    "classification csv, train": {"train": "1 4 6 9 0 8 13 15 7 14 2 12", "validation": "11 5 3 10", "test": "-"},
    "attributes csv": {"train": "3 4 5 6 7 8 9 10 12 14", "validation": "2 11 15", "test": "0 1 13"},
    "attributes csv, train": {"train": "0 1 3 4 5 6 7 8 9 10 12 13 14", "validation": "2 11 15", "test": "-"},
    "detection coco": {"train": "0 1 2 3 4 5 6 7 8 10 12 13 14", "validation": "9 11 15", "test": "9 11 15"},
    "detection voc": {"train": "0 1 10 11 12 13 14 15 2 4 6 7 8", "validation": "3 5 9", "test": "3 5 9"},
    "detection yolo": {"train": "0 1 10 11 12 13 14 15 2 4 6 7 8", "validation": "3 5 9", "test": "3 5 9"},
    "segmentation folder": {"train": "0 11 12 13 14 15 2 4 7 8", "validation": "3 5 9", "test": "1 10 6"},
    "segmentation folder, train": {"train": "0 1 10 11 12 13 14 15 2 4 6 7 8", "validation": "3 5 9", "test": "-"},
    "embedding folder": {"train": "1 11 4 15 5 8 7 2", "validation": "9 13 14 12", "test": "6 0 3 10"},
    "embedding folder, some held out": {"train": "1 11 4 6 12 2", "validation": "9 10", "test": "0 13 15 5 8 14 3 7"},
    "embedding csv": {"train": "1 4 6 8 13 15 14 12", "validation": "11 5 3 10", "test": "9 0 7 2"},
    "embedding csv, train": {"train": "1 4 6 9 10 12", "validation": "11 2", "test": "0 3 5 7 8 13 14 15"},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_images_of_every_split_are_those_that_were_always_drawn(tmp_path, case):
    assert drawn(case, tmp_path) == DRAWN[case]


TASKS = ("attributes", "classification", "detection", "embedding", "segmentation")


@pytest.mark.parametrize("task", TASKS)
def test_every_reader_of_a_task_takes_the_section_and_refuses_unknown_splits(task):
    data = importlib.import_module(f"mobilenet_tf.tasks.{task}.data")
    for name, reader in data.READERS.items():
        assert reader.__module__ == f"mobilenet_tf.tasks.{task}.data.{name}"
    section = data_section(task, reader="scenes", augment={"flip": False})
    with pytest.raises(UserError, match="^split must be one of train, validation, test. Received: split=val$"):
        data.read(section, "val")
    with pytest.raises(UserError, match="data.reader must be .*'scenes'. Received: 'zip'"):
        data_section(task, reader="zip")


def test_names_of_splits_are_the_same_in_folders_files_and_columns():
    assert [splits.names_of(split) for split in SPLITS] == [
        ["train", "training"], ["validation", "val", "valid", "eval", "evaluation", "dev"], ["test", "testing"]
    ]  # fmt: skip
    assert [splits.parse_split(name, "line 2") for name in ("val", "training", "", None)] == [
        "validation", "train", None, None
    ]  # fmt: skip
    with pytest.raises(UserError, match="^line 2: split must be one of train, training, .*test. Received: later$"):
        splits.parse_split("later", "line 2")


def sizes(parts) -> dict[str, int]:
    return {split: len(indices) for split, indices in parts.items()}


@pytest.mark.parametrize(
    "count, held_out, fraction, expected",
    [
        (100, ["validation"], 0.1, {"train": 90, "validation": 10}),
        (100, ["validation", "test"], 0.1, {"train": 80, "validation": 10, "test": 10}),
        (5, ["validation", "test"], 0.01, {"train": 3, "validation": 1, "test": 1}),
        (4, ["validation", "test"], 0.9, {"train": 2, "validation": 1, "test": 1}),
        (1, ["validation"], 0.5, {"train": 1, "validation": 0}),
        (0, ["validation"], 0.5, {"train": 0, "validation": 0}),
        (7, [], 0.5, {"train": 7}),
    ],
)
def test_a_fraction_is_drawn_and_train_keeps_one(count, held_out, fraction, expected):
    parts = draw(count, held_out, fraction, seed=4)
    assert sizes(parts) == expected
    assert sorted(np.concatenate(list(parts.values()))) == list(range(count))
    assert all((np.diff(indices) > 0).all() for indices in parts.values())


def test_every_class_is_drawn_by_itself():
    labels = ["b"] * 10 + ["a"] * 20 + ["c"]
    parts = draw_by_class(labels, ["validation", "test"], 0.2, seed=4)
    assert {split: "".join(labels[index] for index in indices) for split, indices in parts.items()} == {
        "train": "a" * 12 + "b" * 6 + "c", "validation": "a" * 4 + "b" * 2, "test": "a" * 4 + "b" * 2
    }  # fmt: skip
    assert sorted(np.concatenate(list(parts.values()))) == list(range(31))
    assert sizes(draw_by_class("aa", ["validation", "test"], 0.2, seed=4)) == {"train": 1, "validation": 1, "test": 0}
    assert sizes(draw_by_class([], ["validation"], 0.2, seed=4)) == {"train": 0, "validation": 0}


@pytest.mark.parametrize(
    "available, given, expected",
    [
        ("train validation test", {}, ["train", "validation", "test"]),
        ("train test", {}, ["train[:80%]", "train[80%:]", "test"]),
        ("train", {}, ["train[:80%]", "train[80%:]", "train[80%:]"]),
        ("train validation", {}, ["train", "validation", "validation"]),
        ("train test", {"validation": "test[:10%]"}, ["train", "test[:10%]", "test"]),
        ("train", {"validation": "train[:5%]"}, ["train", "train[:5%]", "train[:5%]"]),
        ("train test", {"train": "train[:50%]"}, ["train[:50%]", "validation", "test"]),  # which TFDS refuses
    ],
)
def test_splits_of_tensorflow_datasets(available, given, expected):
    data = data_section("detection", reader="tfds", name="voc/2007", splits=given, validation_fraction=0.2)
    found = [split_expression(available.split(), data, split, test_is_validation=True) for split in SPLITS]
    assert found == expected
    assert split_expression(available.split(), data, "test") == "test"


class NewData(config.Data):
    reader: Literal["labelme"]


def test_a_new_reader_is_a_module_and_its_name_in_the_literal(tmp_path, monkeypatch):
    package = tmp_path / "data_of_a_new_task"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "labelme.py").write_text("def read(data, split, seed, size):\n    return data.root, split, seed, size\n")
    monkeypatch.syspath_prepend(tmp_path)
    readers = reader_table("data_of_a_new_task", NewData)
    assert list(readers) == ["labelme"]
    section = NewData(reader="labelme", root=tmp_path)
    assert readers[section.reader](section, "train", 3, 96) == (tmp_path, "train", 3, 96)
