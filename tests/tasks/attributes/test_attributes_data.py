"""The readers of attributes, and what they say about data that does not fit."""

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sections import reader_of

from mobilenet_tf.data import transforms
from mobilenet_tf.data.source import evaluation_batches
from mobilenet_tf.tasks.attributes.data import labels
from mobilenet_tf.utils.errors import UserError

NAMES = ["Bald", "Smiling", "Young"]
read = reader_of("attributes")
PAGE = "<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>"


def picture(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 8, 3), value, np.uint8)).save(path)
    return path


def celeba(root: Path, partitions=(0, 0, 0, 1, 2), folder: bool = True, **changes: str) -> Path:
    """CelebA with five pictures, the attributes of the i-th being the bits of i; `changes` replace whole files."""
    files = [f"{i:06}.jpg" for i in range(len(partitions))]
    bits = [[1 if i >> bit & 1 else -1 for bit in range(3)] for i in range(len(files))]
    rows = [f"{file} {a:2} {b:2} {c:2}" for file, (a, b, c) in zip(files, bits, strict=True)]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(len(files)), " ".join(NAMES) + " ", *rows, ""]))
    lists = "".join(f"{file} {part}\n" for file, part in zip(files, partitions, strict=True))
    (root / "list_eval_partition.txt").write_text(lists)
    for i, file in enumerate(files if folder else []):
        picture(root / "img_align_celeba" / file, 40 * i)
    for name, text in changes.items():
        (root / name.replace("__", ".")).write_text(text)
    return root


def test_celeba(tmp_path):
    root = celeba(tmp_path)
    sources = {split: read("celeba", root, split) for split in ("train", "validation", "test")}
    assert [source.count for source in sources.values()] == [3, 1, 1]
    assert all(source.classes == NAMES for source in sources.values())
    np.testing.assert_array_equal(labels(sources["train"]), [[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    (batch,) = evaluation_batches(sources["test"], transforms.resize(32), batch_size=4)
    assert batch["attributes"].shape == (1, 3) and batch["id"].numpy()[0].endswith(b"000004.jpg")
    some = read("celeba", root, "train", attributes=["Smiling", "Bald"])
    assert some.classes == ["Smiling", "Bald"]
    np.testing.assert_array_equal(labels(some), [[0, 0], [0, 1], [1, 0]])


def test_the_archive_in_place_of_the_folder_is_unpacked_once(tmp_path):
    root = celeba(tmp_path)
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((root / "img_align_celeba").iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
        archive.writestr("__MACOSX/notes.txt", "")
    before = {path.name: path.read_bytes() for path in (root / "img_align_celeba").iterdir()}
    shutil.rmtree(root / "img_align_celeba")
    whole = (root / "img_align_celeba.zip").read_bytes()
    (root / "img_align_celeba.zip").write_bytes(whole[:200])
    with pytest.raises(UserError, match="img_align_celeba.zip must be a whole zip archive"):
        read("celeba", root, "train")
    assert not (root / "img_align_celeba").exists(), "nothing half unpacked is left"
    (root / "img_align_celeba.zip").write_bytes(whole)
    assert read("celeba", root, "train").count == 3
    assert {path.name: path.read_bytes() for path in (root / "img_align_celeba").iterdir()} == before
    (root / "img_align_celeba.zip").unlink()
    assert read("celeba", root, "test").count == 1


def table(root: Path, rows: list[str], header: str = "path,Bald,Smiling", name: str = "t.csv") -> Path:
    for row in rows:
        if row.partition(",")[0].endswith(".png"):
            picture(root / row.partition(",")[0])
    path = root / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_csv_with_a_split_column(tmp_path):
    rows = ["a.png,1,-1,train", "b.png,,1.0,train", "c.png,,,train", "d.png,-1.0,,val", "e.png,1,1,test"]
    path = table(tmp_path, rows, "path,Bald,Smiling,split")
    source = read("csv", path, "train")
    assert source.classes == ["Bald", "Smiling"]
    np.testing.assert_array_equal(labels(source), [[1, 0], [-1, 1], [-1, -1]])
    np.testing.assert_array_equal(labels(read("csv", path, "validation")), [[0, -1]])
    assert read("csv", path, "test", attributes=["Smiling"]).classes == ["Smiling"]


def test_csv_files_of_their_own_for_the_splits(tmp_path):
    table(tmp_path, ["a.png,1,0", "b.png,0,1", "c.png,0,0"], name="train.csv")
    table(tmp_path, ["d.png,1,0"], "path,Smiling,Bald", name="test.csv")
    np.testing.assert_array_equal(labels(read("csv", tmp_path, "test")), [[0, 1]])
    parts = [read("csv", tmp_path, split) for split in ("train", "validation")]
    assert [part.count for part in parts] == [2, 1], "validation is drawn from train"
    table(tmp_path, ["e.png,1,1"], name="val.csv")
    assert [read("csv", tmp_path, split).count for split in ("train", "validation")] == [3, 1]


def test_csv_without_splits_is_divided_and_unlabelled_pictures_stay_in_train(tmp_path):
    path = table(tmp_path, [f"{i}.png,{i % 2},0" if i < 20 else f"{i}.png,," for i in range(25)])
    found = {split: read("csv", path, split, seed=3) for split in ("train", "validation", "test")}
    ids = [{item["id"] for item in source.items.as_numpy_iterator()} for source in found.values()]
    assert [len(part) for part in ids] == [21, 2, 2] and len(set.union(*ids)) == 25
    assert (labels(found["train"]) < 0).all(1).sum() == 5
    again = read("csv", path, "validation", seed=4)
    assert {item["id"] for item in again.items.as_numpy_iterator()} != ids[1]


def test_scenes(tmp_path):
    source = read("scenes", None, "train", counts={"train": 5}, size=32, attributes=["night", "collar"])
    (batch,) = evaluation_batches(source, transforms.resize(32), batch_size=8)
    assert source.classes == ["night", "collar"] and set(batch["attributes"].numpy().ravel()) <= {0.0, 1.0}
    assert set(batch) == {"id", "image", "attributes", "original_size", "index"}
    np.testing.assert_array_equal(labels(source), batch["attributes"])
    with pytest.raises(UserError, match="data.counts must have test. Received: train"):
        read("scenes", None, "test", counts={"train": 4}, augment={"flip": False})


def test_celeb_a_of_tfds(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    with tfds.testing.mock_data(num_examples=5):
        source = read("tfds", tmp_path, "validation")
        assert source.count == 5 and len(source.classes) == 40 and {"Bald", "Smiling", "Young"} <= set(source.classes)
        found = {}
        for record in tfds.load("celeb_a", split="validation", data_dir=tmp_path):
            row = [float(record["attributes"][name]) for name in source.classes]
            found[len(found)] = row
        np.testing.assert_array_equal(labels(source), [found[i] for i in range(5)])
        batches = list(evaluation_batches(source, transforms.resize(32), batch_size=4))
        assert [batch["attributes"].shape for batch in batches] == [(4, 40), (1, 40)] and not source.corrupt
        with pytest.raises(UserError, match="must be a data set with image and attributes.* Received: cifar10"):
            read("tfds", tmp_path, "train", name="cifar10")


HEAD = "2\nBald Smiling\n"
CELEBA_ERRORS = {
    "must have as many rows as its first line says, 3. Received: 2": {
        "list_attr_celeba__txt": "3\nBald\n000000.jpg 1\n000001.jpg 1\n"
    },
    "line 4: must have a file name and 2 values. Received: 1 values": {
        "list_attr_celeba__txt": HEAD + "000000.jpg 1 1\n000001.jpg 1\n"
    },
    "must start with the number of images": {"list_attr_celeba__txt": "000000.jpg 1 1\n"},
    "celeba.txt, 000000.jpg: Smiling must be 1, 0, -1 (the same as 0) or empty (not known). Received: 2": {
        "list_attr_celeba__txt": HEAD + "000000.jpg 1 2\n000001.jpg 1 1\n",
        "list_eval_partition__txt": "000000.jpg 0\n000001.jpg 0\n",
    },
    "line 2: must have a file name and 0 (train), 1 (validation) or 2 (test). Received: 000001.jpg 3": {
        "list_eval_partition__txt": "000000.jpg 0\n000001.jpg 3\n"
    },
    "must list the images of .*Received: 000003.jpg in one of them only": {
        "list_eval_partition__txt": "000000.jpg 0\n000001.jpg 0\n000002.jpg 0\n000004.jpg 0\n"
    },
    "list_attr_celeba.txt must be CelebA's file. Received: a web page, as Google Drive sends": {
        "list_attr_celeba__txt": PAGE
    },
    "img_align_celeba.zip must be CelebA's file. Received: a web page": {
        "folder": False,
        "img_align_celeba__zip": "\n" + PAGE,
    },
    "must have img_align_celeba/ or img_align_celeba.zip. Received: neither": {"folder": False},
    "must have images for the split train. Received: none": {"partitions": (1, 2)},
}


def message_of(*arguments, **options) -> str:
    with pytest.raises(UserError) as error:
        read(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def says(message: str, expected: str) -> bool:
    return bool(re.search(".*".join(re.escape(part) for part in expected.split(".*")), message))


@pytest.mark.parametrize("expected", CELEBA_ERRORS)
def test_celeba_mistakes_are_named_in_one_line(tmp_path, expected):
    found = message_of("celeba", celeba(tmp_path, **CELEBA_ERRORS[expected]), "train")
    assert says(found, expected), found


def test_missing_files_and_attributes_of_celeba(tmp_path):
    root = celeba(tmp_path)
    (root / "img_align_celeba" / "000001.jpg").unlink()
    assert says(
        message_of("celeba", root, "train"), "img_align_celeba must have .*Received: 1 missing, 000001.jpg first"
    )
    unknown = message_of("celeba", root, "test", attributes=["Smilling"])
    assert says(unknown, "data.attributes must be in .*(nearest: Smiling). Received: Smilling")
    assert says(message_of("celeba", root, "test", attributes=["Bald"] * 2), "once. Received: Bald twice")
    (root / "list_eval_partition.txt").unlink()
    assert says(message_of("celeba", root, "test"), "list_eval_partition.txt must exist")
    assert says(message_of("celeba", root / "none", "test"), "data.root must be CelebA's folder. Received: .*none")


CSV_ERRORS = {
    "line 3: Smiling must be 1, 0, -1 (the same as 0) or empty (not known). Received: yes": [
        "a.png,1,0",
        "b.png,0,yes",
    ],
    "line 2: path must be a file that exists. Received: .*gone.jpg": ["gone.jpg,1,0"],
    "line 3: Bald must be either 0 and 1 or -1 and 1 in all rows, .*Received: -1, elsewhere 0": [
        "a.png,0,0",
        "b.png,-1,0",
    ],
    "t.csv must have one image a line. Received: none": [],
}


@pytest.mark.parametrize("expected", CSV_ERRORS)
def test_csv_mistakes_are_named_in_one_line(tmp_path, expected):
    found = message_of("csv", table(tmp_path, CSV_ERRORS[expected]), "train")
    assert says(found, expected), found


def test_columns_and_splits_that_do_not_fit(tmp_path):
    assert says(message_of("csv", table(tmp_path, ["a.png"], "path"), "train"), "at least one attribute")
    assert says(
        message_of("csv", table(tmp_path, ["a.png,1"], "file,Bald"), "train"),
        "must have the column path. Received: file",
    )
    later = table(tmp_path, ["a.png,1,later"], "path,Bald,split")
    assert says(message_of("csv", later, "train"), "t.csv, line 2: split must be one of .*Received: later")
    assert says(message_of("csv", tmp_path, "train"), "must be a CSV file, or a folder with train.csv")
    only = table(tmp_path, ["a.png,1,train", "b.png,0,train"], "path,Bald,split")
    assert says(message_of("csv", only, "test"), "must have images for the split test; .* --split validation")
    table(tmp_path, ["a.png,1"], "path,Bald", "train.csv")
    table(tmp_path, ["b.png,1"], "path,Smiling", "test.csv")
    assert says(message_of("csv", tmp_path, "train"), "test.csv must have the attributes of .*Received: others")


@pytest.mark.real_data
def test_faces(real_data):
    sources = {split: read("celeba", real_data / "faces_celeba", split) for split in ("train", "validation", "test")}
    assert [source.count for source in sources.values()] == [1319, 188, 376]
    assert sources["train"].classes[:2] == ["Anger", "Contempt"]
    assert labels(sources["test"]).sum(0).tolist() == [50, 0, 29, 2, 86, 77, 56, 76]
    (batch, *_) = evaluation_batches(sources["test"], transforms.resize(64), batch_size=32)
    assert batch["image"].shape == (32, 64, 64, 3) and not sources["test"].corrupt


def test_excels_tables_are_read(tmp_path):
    """Semicolons, a byte order mark, capitals in the splits; other encodings by data.encoding."""
    path = table(tmp_path, ["a.png,1,Train", "b.png,0,TRAIN ", "c.png,1,Val", "d.png,0,test"], "path,Bärtig,split")
    text = path.read_text(encoding="utf-8").replace(",", ";")
    path.write_text(text, encoding="utf-8-sig")
    np.testing.assert_array_equal(labels(read("csv", path, "train")), [[1], [0]])
    path.write_text(text, encoding="cp1252")
    assert says(message_of("csv", path, "train"), "t.csv, line 1 must be text in UTF-8.*data.encoding")
    assert read("csv", path, "test", encoding="cp1252").classes == ["Bärtig"]


def test_a_celeba_archive_unpacks_within_bounds(tmp_path, monkeypatch):
    monkeypatch.setattr("mobilenet_tf.tasks.attributes.data.celeba.MAX_MEMBER_BYTES", 10)
    root = celeba(tmp_path, folder=False)
    with zipfile.ZipFile(root / "img_align_celeba.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("000001.jpg", bytes(11))
    expected = "000001.jpg in .*img_align_celeba.zip must hold at most 10 bytes. Received: 11"
    assert says(message_of("celeba", root, "train"), expected)
    assert not (root / "img_align_celeba").exists()
