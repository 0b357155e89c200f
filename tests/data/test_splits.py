"""The splits of data sets: their names, how they are drawn, and which images each task's readers draw for them."""

import importlib
import json
import unicodedata
from pathlib import Path, PureWindowsPath
from typing import Any, Literal, cast

import numpy as np
import pytest
from PIL import Image
from sections import data_section, reader_of

from mobilenet_tf import config
from mobilenet_tf.config import DataWithSplits
from mobilenet_tf.data import splits
from mobilenet_tf.data.readers import reader_table
from mobilenet_tf.data.splits import SPLITS, draw
from mobilenet_tf.data.tfds import split_expression
from mobilenet_tf.utils.errors import UserError

ORDER = ["a/1.jpg", "b/2.jpg", "b/1.jpg", "a/2.jpg"]  # for the seed 0
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
            ids: Any = (item["path" if "path" in item else "id"] for item in source.items.as_numpy_iterator())
            found[split] = " ".join(Path(name.decode()).stem for name in ids)
    return found


DRAWN = {  # as every version after 0.1.0 draws them
    "classification folder": {"train": "1 11 9 13 15 5 14 10", "validation": "6 0 3 2", "test": "4 8 7 12"},
    "classification folder, train": {"train": "11 4 9 13 15 8 3 12", "validation": "6 0 14 2", "test": "1 5 7 10"},
    "classification csv": {"train": "0 4 5 6 11 12 13 14", "validation": "2 7 8 9", "test": "1 3 10 15"},
    "classification csv, train": {"train": "0 4 5 6 11 12 13 14", "validation": "2 7 8 9", "test": "1 3 10 15"},
    "attributes csv": {"train": "0 3 4 5 6 7 9 11 12 14", "validation": "2 8 13", "test": "1 10 15"},
    "attributes csv, train": {"train": "0 3 4 5 6 7 9 11 12 14", "validation": "2 8 13", "test": "1 10 15"},
    "detection coco": {"train": "0 3 4 5 6 7 9 11 12 14", "validation": "2 8 13", "test": "1 10 15"},
    "detection voc": {"train": "0 1 11 13 14 4 5 6 7 9", "validation": "2 3 8", "test": "10 12 15"},
    "detection yolo": {"train": "0 1 10 13 14 15 4 6 8 9", "validation": "11 12 7", "test": "2 3 5"},
    "segmentation folder": {"train": "0 1 10 13 14 15 4 6 8 9", "validation": "11 12 7", "test": "2 3 5"},
    "segmentation folder, train": {"train": "0 1 10 11 13 2 4 6 7 9", "validation": "14 15 5", "test": "12 3 8"},
    "embedding folder": {"train": "1 11 9 13 15 5 14 10", "validation": "6 0 3 2", "test": "4 8 7 12"},
    "embedding folder, some held out": {"train": "1 11 6 9 10 2", "validation": "4 12", "test": "0 13 15 5 8 14 3 7"},
    "embedding csv": {"train": "0 4 5 6 11 12 13 14", "validation": "2 7 8 9", "test": "1 3 10 15"},
    "embedding csv, train": {"train": "2 4 6 9 11 12", "validation": "1 10", "test": "0 3 5 7 8 13 14 15"},
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
    with pytest.raises(UserError, match="^line 2: split must be one of train, training, .*testing. Received: later$"):
        splits.parse_split("later", "line 2")


def numbered(count: int, folder: str = "a") -> list[str]:
    return [f"{folder}/{number:05}.jpg" for number in range(count)]


def sizes(parts) -> dict[str, int]:
    return {split: len(indices) for split, indices in parts.items()}


def drawn_names(names, held_out=("validation", "test"), seed=4, fraction=0.1) -> dict[str, set[str]]:
    parts = draw(names, held_out, fraction, seed, [name[0] for name in names])
    return {split: {names[index] for index in indices} for split, indices in parts.items()}


@pytest.mark.parametrize(
    "count, held_out, fraction, expected",
    [
        (100, ["validation"], 0.1, {"train": 90, "validation": 10}),
        (100, ["validation", "test"], 0.1, {"train": 80, "validation": 10, "test": 10}),
        (6, ["validation", "test"], 0.01, {"train": 4, "validation": 1, "test": 1}),
        (5, ["validation", "test"], 0.01, {"train": 4, "validation": 1, "test": 0}),  # too few for a test
        (4, ["validation", "test"], 0.9, {"train": 1, "validation": 3, "test": 0}),
        (2, ["validation", "test"], 0.5, {"train": 1, "validation": 1, "test": 0}),
        (10, ["validation", "test"], 0.5, {"train": 2, "validation": 4, "test": 4}),
        (1, ["validation"], 0.5, {"train": 1, "validation": 0}),
        (0, ["validation"], 0.5, {"train": 0, "validation": 0}),
        (7, [], 0.5, {"train": 7}),
    ],
)
def test_a_fraction_is_drawn_and_train_keeps_one(count, held_out, fraction, expected):
    parts = draw(numbered(count), held_out, fraction, seed=4)
    assert sizes(parts) == expected
    assert sorted(np.concatenate(list(parts.values()))) == list(range(count))
    assert all((np.diff(indices) > 0).all() for indices in parts.values())


def test_every_class_is_drawn_by_itself_within_rounding_and_keeps_a_training_image():
    counts = {"a": 20, "b": 10, "c": 1, "d": 2, "e": 3, "f": 97}
    names = [name for label, count in counts.items() for name in numbered(count, label)]
    parts = draw(names, ["validation", "test"], 0.2, 4, [name[0] for name in names])
    found = {split: "".join(names[index][0] for index in indices) for split, indices in parts.items()}
    assert {label: tuple(found[split].count(label) for split in SPLITS) for label in counts} == {
        "a": (12, 4, 4), "b": (6, 2, 2), "c": (1, 0, 0), "d": (1, 1, 0), "e": (1, 1, 1), "f": (59, 19, 19)
    }  # fmt: skip


@pytest.mark.parametrize("more", [1, 10, 100, 1000])
def test_no_image_that_was_trained_on_becomes_a_test_image_when_others_are_added(more):
    for seed in range(10):
        old = numbered(100, "a") + numbered(100, "b")
        new = old + [f"{'ab'[number % 2]}/new{number}.jpg" for number in range(more)]
        before, after = drawn_names(old, seed=seed), drawn_names(new, seed=seed)
        assert not before["train"] & after["test"]
        assert len(before["train"] & after["validation"]) <= 0.2 * len(after["validation"]) + 1
        kept = [name for name in old for split in SPLITS if name in before[split] and name in after[split]]
        assert len(kept) >= 0.9 * len(old)


def test_an_image_is_drawn_by_its_name_and_the_seed_alone():
    names = numbered(50, "a") + numbered(50, "b")
    shuffled = [names[index] for index in np.random.default_rng(0).permutation(len(names))]
    assert drawn_names(names) == drawn_names(shuffled) != drawn_names(names, seed=5)
    decomposed = [f"a/e\u0301{number}.jpg" for number in range(9)]
    composed = [unicodedata.normalize("NFC", name) for name in decomposed]
    parts = [draw(given, ["validation"], 0.4, 0)["validation"].tolist() for given in (composed, decomposed)]
    assert parts[0] == parts[1]
    # A value that never changes, on any system: models are scored on these images years later
    assert splits.order_by_hash(["a/1.jpg", "a/2.jpg", "b/1.jpg", "b/2.jpg"], seed=0) == ORDER


def test_names_that_occur_twice_stay_together():
    names = [*numbered(40), *numbered(40)]
    parts = draw(names, ["validation", "test"], 0.2, 3, ["a"] * 40 + ["b"] * 40)
    assert all(set(indices) == {(index + 40) % 80 for index in indices} for indices in parts.values())


def test_images_are_known_by_their_paths_from_the_root(tmp_path, monkeypatch):
    (tmp_path / "list.csv").touch()
    paths = [tmp_path / "cat" / "1.jpg", f"{tmp_path}/../x.jpg", "/elsewhere/2.jpg", tmp_path / "e\u0301.jpg"]
    expected = ["cat/1.jpg", "../x.jpg", "/elsewhere/2.jpg", "\u00e9.jpg"]
    assert splits.image_names(paths, tmp_path) == splits.image_names(paths, tmp_path / "list.csv") == expected
    monkeypatch.chdir(tmp_path.parent)
    relative = Path(tmp_path.name)
    for root in (relative, tmp_path):
        assert splits.image_names([root / "cat" / "1.jpg", tmp_path / "2.jpg"], root) == ["cat/1.jpg", "2.jpg"]
    monkeypatch.chdir(tmp_path)
    assert splits.image_names([Path("cat/1.jpg"), tmp_path / "2.jpg"], Path()) == ["cat/1.jpg", "2.jpg"]
    assert splits.image_names([str(PureWindowsPath("cat") / "1.jpg")], None) == ["cat/1.jpg"]


@pytest.mark.parametrize(
    "given, drawn",
    [
        ([], ["validation", "test"]),
        (["train"], ["validation", "test"]),
        (["train", "test"], ["validation"]),
        (["train", "validation"], []),
        (["train", "validation", "test"], []),
    ],
)
def test_one_rule_says_which_splits_are_drawn(given, drawn):
    assert list(splits.to_draw(given)) == drawn
    data = config.Data(reader="folder", root=Path("photos"))
    for split in SPLITS:
        if split in given:
            assert splits.origin(split, given, data) == (split, split == "train" and bool(drawn))
        elif split in drawn and "train" in given:
            assert splits.origin(split, given, data) == ("train", True)
    if drawn == [] and "test" not in given:
        message = "^photos must have images for the split test; .* as with --split validation. Received: train, valid"
        with pytest.raises(UserError, match=message):
            splits.origin("test", given, data)


@pytest.mark.parametrize(
    "available, given, expected",
    [
        ("train validation test", {}, ["train", "validation", "test"]),
        ("train test", {}, ["train[:80%]", "train[80%:]", "test"]),
        ("train", {}, ["train[:60%]", "train[60%:80%]", "train[80%:]"]),
        ("train validation", {}, ["train", "validation", "-"]),
        ("train test", {"validation": "test[:10%]"}, ["train", "test[:10%]", "test"]),
        ("train", {"validation": "train[:5%]"}, ["train", "train[:5%]", "-"]),
        ("train test", {"train": "train[:50%]"}, ["train[:50%]", "validation", "test"]),  # which TFDS refuses
    ],
)
def test_splits_of_tensorflow_datasets(available, given, expected):
    data = cast(DataWithSplits, data_section("detection", reader="tfds", name="voc/2007", splits=given))
    data = data.model_copy(update={"validation_fraction": 0.2})
    found = []
    for split in SPLITS:
        try:
            found.append(split_expression(available.split(), data, split))
        except UserError as error:
            assert "as with --split validation" in str(error)
            found.append("-")
    assert found == expected


def test_a_benchmark_without_labels_of_its_test_split_is_scored_on_validation_and_says_so():
    data = cast(DataWithSplits, data_section("detection", reader="tfds", name="coco/2017"))
    with pytest.warns(UserWarning, match="^coco/2017 publishes no labels of its test split: the validation split is"):
        assert split_expression(SPLITS, data, "test", test_is_validation=True) == "validation"


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
