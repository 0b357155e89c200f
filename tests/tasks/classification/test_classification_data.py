"""The readers of the classification task, and what they say about data that does not fit."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sections import reader_of

from mobilenet_tf.data import transforms
from mobilenet_tf.data.source import Source, evaluation_batches, training_batches
from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.utils.errors import UserError


def write(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 10, 3), value, np.uint8)).save(path)
    return path


def tree(root: Path, layout: dict[str, int], suffix: str = ".png") -> Path:
    for folder, count in layout.items():
        for index in range(count):
            write(root / folder / f"{index:03}{suffix}", index)
    return root


def rows(source: Source) -> list[tuple[str, int]]:
    found = [(item["id"].decode(), int(item["label"])) for item in source.items.as_numpy_iterator()]
    assert len(found) == source.count
    return found


read = reader_of("classification")


def test_folder_with_splits(tmp_path):
    tree(tmp_path, {"train/b": 2, "train/a": 3, "val/a": 1, "val/b": 1, "test/b": 1})
    sources = {split: read("folder", tmp_path, split) for split in SPLITS}
    assert [sources[split].count for split in SPLITS] == [5, 2, 1]
    assert all(source.classes == ["a", "b"] for source in sources.values())
    for name, label in rows(sources["train"]):
        assert Path(name).parent.name == "ab"[label]
    sample = sources["test"].load(next(iter(sources["test"].items)))
    assert sample["label"].dtype == tf.int32 and sample["image"].shape == (8, 10, 3)


def test_validation_is_drawn_from_train_class_by_class(tmp_path):
    tree(tmp_path, {"train/a": 20, "train/b": 10, "test/a": 1, "test/b": 1})
    train, validation = (rows(read("folder", tmp_path, s, validation_fraction=0.2)) for s in SPLITS[:2])
    assert not set(train) & set(validation) and len(train) + len(validation) == 30
    assert Counter(label for _, label in validation) == {0: 4, 1: 2}
    assert validation == rows(read("folder", tmp_path, "validation", validation_fraction=0.2))
    assert validation != rows(read("folder", tmp_path, "validation", validation_fraction=0.2, seed=1))
    assert read("folder", tmp_path, "test").count == 2


def test_folder_without_splits(tmp_path):
    tree(tmp_path, {"a": 20, "b": 10}, ".jpeg")
    parts = {split: rows(read("folder", tmp_path, split, validation_fraction=0.1)) for split in SPLITS}
    assert {split: len(part) for split, part in parts.items()} == {"train": 24, "validation": 3, "test": 3}
    assert len({row for part in parts.values() for row in part}) == 30


@pytest.mark.parametrize("with_split", [False, True])
def test_csv(tmp_path, with_split):
    lines = ["path,label" + ",split" * with_split]
    for index in range(12):
        write(tmp_path / "p" / f"{index}.png")
        lines.append(f"p/{index}.png,{'yx'[index % 2]}" + f",{('train', 'val', 'test')[index // 4]}" * with_split)
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(lines))
    parts = {split: read("csv", table, split) for split in SPLITS}
    assert parts["train"].classes == ["x", "y"]
    assert [part.count for part in parts.values()] == ([4, 4, 4] if with_split else [8, 2, 2])
    for name, label in rows(parts["test"]):
        assert label == 1 - int(Path(name).stem) % 2 and Path(name).is_file()


def test_label_file_sets_the_order(tmp_path):
    tree(tmp_path / "d", {"train/a": 2, "train/b": 2})
    (tmp_path / "labels.txt").write_text("b\na\n")
    source = read("folder", tmp_path / "d", "train", classes=tmp_path / "labels.txt")
    assert source.classes == ["b", "a"]
    assert {(Path(name).parent.name, label) for name, label in rows(source)} == {("b", 0), ("a", 1)}


def test_the_spelling_of_the_label_file_counts(tmp_path):
    tree(tmp_path / "d", {"train/DOG": 2, "train/cat ": 2, "test/Dog": 2, "test/Cat": 2})
    (tmp_path / "labels.txt").write_text("dog\nCat\n")
    for split in ("train", "test"):
        source = read("folder", tmp_path / "d", split, classes=tmp_path / "labels.txt")
        assert source.classes == ["dog", "Cat"]
        assert {(Path(name).parent.name.strip().lower(), label) for name, label in rows(source)} == {
            ("dog", 0),
            ("cat", 1),
        }


def test_scenes_carry_the_label_only():
    source = read("scenes", None, "train", counts={"train": 4}, size=32)
    (batch,) = evaluation_batches(source, transforms.resize(32), batch_size=4)
    assert set(batch) == {"id", "image", "label", "original_size", "index"} and batch["image"].shape == (4, 32, 32, 3)
    with pytest.raises(UserError, match="data.counts must have test. Received: train"):
        read("scenes", None, "test", counts={"train": 4})


def bad_folder(tmp_path, layout, **files):
    tree(tmp_path / "d", layout)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path / "d"


def missing_folder(tmp_path):
    return {"reader": "folder", "root": tmp_path / "none"}


def no_pictures(tmp_path):
    root = bad_folder(tmp_path, {"train/a": 2})
    (root / "train" / "b").mkdir()
    return {"reader": "folder", "root": root}


def no_class_folders(tmp_path):
    return {"reader": "folder", "root": bad_folder(tmp_path, {".": 3})}


def empty_split(tmp_path):
    return {"reader": "folder", "root": bad_folder(tmp_path, {"train/a": 2, "train/b": 2}), "split": "test"}


def one_class(tmp_path):
    return {"reader": "folder", "root": bad_folder(tmp_path, {"train/a": 4})}


def unknown_class(tmp_path):
    root = bad_folder(tmp_path, {"train/a": 2, "train/b": 2}, labels="a\nc\n")
    return {"reader": "folder", "root": root, "classes": tmp_path / "labels"}


def unused_class(tmp_path):
    root = bad_folder(tmp_path, {"train/a": 2, "train/b": 2}, labels="a\nb\nc\n")
    return {"reader": "folder", "root": root, "classes": tmp_path / "labels"}


def double_class(tmp_path):
    root = bad_folder(tmp_path, {"train/a": 2, "train/b": 2}, labels="a\nb\na\n")
    return {"reader": "folder", "root": root, "classes": tmp_path / "labels"}


def no_label_file(tmp_path):
    root = bad_folder(tmp_path, {"train/a": 2, "train/b": 2})
    return {"reader": "folder", "root": root, "classes": tmp_path / "labels"}


def test_only_class(tmp_path):
    return {"reader": "folder", "root": bad_folder(tmp_path, {"train/a": 2, "train/b": 2, "test/c": 1})}


def csv_with(text):
    def make(tmp_path):
        (tmp_path / "t.csv").write_text(text)
        write(tmp_path / "1.png")
        return {"reader": "csv", "root": tmp_path / "t.csv"}

    return make


def tfds_named(name):
    return lambda tmp_path: {"reader": "tfds", "root": tmp_path, "name": name}


ERRORS = {
    "must be a folder that exists. Received: .*none": missing_folder,
    "train/b must have images (.avif .bmp .*). Received: none": no_pictures,
    "one folder of images (.avif .*) for each class, .*: 3 images lie directly in .*/d: put": no_class_folders,
    "must have images for the split test; another one can be scored, as with --split validation.": empty_split,
    "must have at least two classes. Received: a": one_class,
    "labels must have every class. Received: .*b/000.png of unknown class 'b'": unknown_class,
    "labels must only name classes of .*Received: c, without images": unused_class,
    "labels must name each class once. Received: a more than once": double_class,
    "labels must be a text file that can be read. Received: No such file": no_label_file,
    "must have every class. Received: .*c/000.png of unknown class 'c'": test_only_class,
    "must have the columns path and label. Received: file, label": csv_with("file,label\n1.png,a\n"),
    "t.csv, line 3: path must be a file that exists. Received: .*2.png": csv_with("path,label\n1.png,a\n2.png,b\n"),
    "line 2: label must not be empty. Received: 1.png": csv_with("path,label\n1.png,\n"),
    "line 2: split must be one of .*Received: later": csv_with("path,label,split\n1.png,a,later\n"),
    "t.csv must have one image a line. Received: none": csv_with("path,label\n"),
    "must be a CSV file that exists. Received: .*x.csv": lambda tmp: {"reader": "csv", "root": tmp / "x.csv"},
    "data.reader must be 'folder', 'csv', 'tfds' or 'scenes'. Received: 'zip'": lambda tmp: {"reader": "zip"},
    "split must be one of train, validation, test. Received: split=dev": lambda tmp: {
        "reader": "scenes",
        "split": "dev",
    },
    "did you mean stanford_dogs? Received: stanford_dog": tfds_named("stanford_dog"),
}
test_only_class.__test__ = False


@pytest.mark.parametrize("message", ERRORS)
def test_mistakes_are_named_in_one_line(tmp_path, message):
    import re

    arguments = {"root": None, "split": "train", **ERRORS[message](tmp_path)}
    with pytest.raises(UserError) as error:
        read(arguments.pop("reader"), arguments.pop("root"), arguments.pop("split"), **arguments)
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    assert re.search(pattern, str(error.value)) and "\n" not in str(error.value)


# TensorFlow Datasets


@pytest.fixture
def dogs(monkeypatch):
    """stanford_dogs with invented pictures, read as the real one is."""
    tfds = pytest.importorskip("tensorflow_datasets")
    whole = tfds.features.BBoxFeature.encode_example

    def ordered(self, box):  # the invented boxes have their corners in any order
        low, high = np.sort([box[:2], box[2:]], axis=0)
        return whole(self, tfds.features.BBox(*low, *high))

    monkeypatch.setattr(tfds.features.BBoxFeature, "encode_example", ordered)
    with tfds.testing.mock_data(num_examples=6):
        yield


def test_stanford_dogs(dogs, tmp_path):
    source = read("tfds", tmp_path, "train", name="stanford_dogs", splits={"train": "train[:90%]"})
    assert source.count == 6 and len(source.classes) == 120
    batches = list(evaluation_batches(source, transforms.resize(32), batch_size=4))
    assert [len(batch["label"]) for batch in batches] == [4, 2] and not source.corrupt
    assert set(batches[0]) == {"id", "image", "label", "original_size", "index"}
    names = [name for batch in batches for name in batch["id"].numpy()]
    assert len(set(names)) == 6 and all(name.startswith(b"stanford_dogs-train") for name in names)
    transform = transforms.compose([transforms.random_resized_crop(32)])
    stream = training_batches(source, transform, lambda b: (b["image"], b["label"]), batch_size=4, seed=0)
    assert [image.shape for image, _ in stream.take(2)] == [(4, 32, 32, 3), (2, 32, 32, 3)]


def test_box_crop_cuts_out_the_dog(dogs, tmp_path):
    whole = read("tfds", tmp_path, "test", name="stanford_dogs")
    cropped = read("tfds", tmp_path, "test", name="stanford_dogs", box_crop=True, box_margin=0.0)
    pairs = zip(whole.items, cropped.items, strict=True)
    for plain, item in pairs:
        before, after = whole.load(plain)["image"].numpy(), cropped.load(item)
        height, width = before.shape[:2]
        top, left, bottom, right = np.round(item["box"].numpy() * [height, width, height, width]).astype(int)
        np.testing.assert_array_equal(after["image"], before[top:bottom, left:right])
        np.testing.assert_array_equal(after["original_size"], after["image"].shape[:2])
        assert set(after) == {"id", "label", "image", "original_size"}
    with pytest.raises(UserError, match="data.box_crop needs boxes .* Received: cifar10"):
        read("tfds", tmp_path, "test", name="cifar10", box_crop=True)


def test_default_validation_of_tfds_is_the_last_part_of_train(dogs, tmp_path):
    options = {"name": "stanford_dogs", "validation_fraction": 0.2}
    for split, expression in (("train", "train[:80%]"), ("validation", "train[80%:]"), ("test", "test")):
        ids = [name for name, _ in rows(read("tfds", tmp_path, split, **options))]
        assert all(f"-{expression}.tfrecord" in name for name in ids)


def test_tfds_offline_says_what_is_missing(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    def offline(*_, **__):
        raise ConnectionError("no\nnetwork")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "_make_download_manager", offline)
    with pytest.raises(UserError, match="^stanford_dogs must be in .* or be downloaded. Received: .*no network$"):
        read("tfds", tmp_path, "train", name="stanford_dogs")


@pytest.mark.real_data
def test_cifar10_mini():
    root = os.environ.get("MOBILENET_TF_TEST_DATA") or pytest.skip("MOBILENET_TF_TEST_DATA is not set")
    sources = {split: read("folder", Path(root, "cifar10_mini"), split) for split in SPLITS}
    assert {split: source.count for split, source in sources.items()} == {
        "train": 7200,
        "validation": 800,
        "test": 2000,
    }
    assert len(sources["train"].classes) == 10 and sources["train"].classes == sorted(sources["test"].classes)
    assert Counter(label for _, label in rows(sources["validation"])) == dict.fromkeys(range(10), 80)
    batches = evaluation_batches(sources["test"], transforms.resize(32), batch_size=500)
    seen = sum(len(batch["label"]) for batch in batches)
    assert seen == 2000 and not sources["test"].corrupt
