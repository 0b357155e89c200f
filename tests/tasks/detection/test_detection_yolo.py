"""YOLO data sets as people have them: tables, stale paths, kinds of labels, encodings."""

import re
from functools import partial
from pathlib import Path

import detection_sets
import numpy as np
import pytest
from PIL import Image

from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.utils.errors import UserError

BOX = "0.5 0.5 0.25 0.5"  # 12, 8, 12, 16 in an image of 48 x 32
POSE = f"0 {BOX} 0.42 0.45 2 0.58 0.45 1 0.5 0.6 2 0.5 0.5 0\n"
SPLIT_FOLDERS = {"train": "ab", "valid": "cd", "test": "ef"}


def image(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((32, 48, 3), 90, np.uint8)).save(path)
    return path


def pairs(images: Path, labels: Path, names="abc", label: str | bytes = f"0 {BOX}\n") -> None:
    labels.mkdir(parents=True, exist_ok=True)
    for name in names:
        image(images / f"{name}.jpg")
        (labels / f"{name}.txt").write_bytes(label if isinstance(label, bytes) else label.encode())


def roboflow(root: Path, table: str = "", splits=SPLIT_FOLDERS, **keys) -> Path:
    """train/images, train/labels, valid/..., test/..., whose yaml names them from one folder too high."""
    for folder, names in splits.items():
        pairs(root / folder / "images", root / folder / "labels", names, **keys)
    default = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 1\nnames: ['thing']\n"
    (root / "data.yaml").write_text(table or default)
    return root


examine = partial(detection_sets.examine, "yolo")


def stems(root: Path, split="train", **keys) -> list[str]:
    return [path.stem for path in examine(root, split, **keys)[0].paths]


def boxes(root: Path, split="train", **keys) -> list[list[float]]:
    return [
        [round(value, 3) for value in entry["bbox"]] for entry in examine(root, split, **keys)[0].coco["annotations"]
    ]


GIVEN = {"train": ["a", "b"], "validation": ["c", "d"], "test": ["e", "f"]}
TABLES = {
    "Roboflow": "",
    "Roboflow's keys, no dots": "train: train/images\nval: valid/images\ntest: test/images\nnames: [thing]",
    "path of a cloud": "path: /content/datasets/things\ntrain: train/images\nval: valid/images\ntest: test/images\n"
    "names: [thing]",
    "absolute paths of another machine": "train: /home/me/things/train/images\nval: /home/me/things/valid/images\n"
    "test: /home/me/things/test/images\nnames: [thing]",
    "paths of Windows": "train: C:\\things\\train\\images\nval: ..\\valid\\images\ntest: test\\images\nnames: [thing]",
    "lists of folders": "train: [train/images]\nval: [valid/images]\ntest: [test/images]\nnames: {0: thing}",
    "keys of others": "train: train/images\nval: valid/images\ntest: test/images\nnames: [thing]\nroboflow: {url: x}\n"
    "download: |\n  import os\n  os.system('touch downloaded')\n",
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.filterwarnings("ignore:.*is not there; .* is read")
def test_yaml_files_find_their_images(tmp_path, table):
    roboflow(tmp_path, TABLES[table])
    assert {split: stems(tmp_path, split) for split in SPLITS} == GIVEN
    assert examine(tmp_path)[0].classes == ["thing"] and not Path("downloaded").exists()


def test_a_stale_path_is_told(tmp_path):
    roboflow(tmp_path, "train: /content/x/train/images\nval: valid/images\nnames: [thing]")
    with pytest.warns(UserWarning, match=r"/content/x/train/images is not there; .*train/images is read"):
        stems(tmp_path)


def test_a_path_never_becomes_another_split(tmp_path):
    pairs(tmp_path / "images", tmp_path / "labels")
    (tmp_path / "data.yaml").write_text("train: images\nval: ../valid/images\nnames: [thing]")
    with pytest.warns(UserWarning, match="valid/images has no images .*left out"):
        assert not set(stems(tmp_path)) & set(stems(tmp_path, "validation"))


def darknet(root: Path) -> None:
    """CVAT's YOLO 1.1: obj.data, obj.names, lists and a folder of images with their labels."""
    pairs(root / "obj_train_data", root / "obj_train_data", "abcd")
    (root / "obj.names").write_text("thing\nother\n")
    (root / "obj.data").write_text(
        "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\n"
    )
    for name, stems in (("train", "ab"), ("valid", "cd")):
        (root / f"{name}.txt").write_text("".join(f"data/obj_train_data/{stem}.jpg\n" for stem in stems))


def named(root: Path, where="classes.txt", text="thing\nother\n") -> None:
    (root / where).write_text(text)


WITHOUT_YAML = {
    "CVAT": darknet,
    "Roboflow's darknet": lambda root: [
        [pairs(root / split, root / split, names), named(root, f"{split}/_darknet.labels")]
        for split, names in (("train", "ab"), ("valid", "cd"))
    ],
    "splits inside": lambda root: [
        pairs(root / "images/train", root / "labels/train", "ab"),
        pairs(root / "images/val", root / "labels/val", "cd"),
        named(root),
    ],
    "lists": lambda root: [
        pairs(root / "images", root / "labels", "abcd"),
        named(root, "obj.names"),
        (root / "train.txt").write_text("images/a.jpg\n./images/b.jpg\n"),
        (root / "val.txt").write_text("/old/place/images/c.jpg\nimages/d.jpg\n"),
    ],
}


@pytest.mark.parametrize("layout", WITHOUT_YAML)
def test_data_sets_without_a_yaml_file(tmp_path, layout):
    WITHOUT_YAML[layout](tmp_path)
    assert (stems(tmp_path), stems(tmp_path, "validation")) == (["a", "b"], ["c", "d"])
    assert examine(tmp_path)[0].classes == ["thing", "other"] and boxes(tmp_path)[0] == [18, 8, 12, 16]


@pytest.mark.parametrize("folder", ["", "images", "labels"])
def test_without_splits_they_are_drawn(tmp_path, folder):
    pairs(tmp_path / folder, tmp_path / (folder and "labels"), "abcdef")
    named(tmp_path if folder != "labels" else tmp_path / folder)
    parts = {split: stems(tmp_path, split) for split in SPLITS}
    assert sorted(sum(parts.values(), [])) == list("abcdef") and all(parts.values())


FOLDERS = [("images", "labels"), ("Images", "Labels"), ("image", "label"), ("JPEGImages", "labels"),
           ("imgs", "annotations"), ("data", "data")]  # fmt: skip


@pytest.mark.parametrize(("images", "labels"), FOLDERS)
def test_labels_are_found_in_the_folders_of_people(tmp_path, images, labels):
    pairs(tmp_path / "train" / images / "north", tmp_path / "train" / labels / "north", "ab")
    (tmp_path / "data.yaml").write_text(f"train: train/{images}\nnames: [thing]")
    assert len(boxes(tmp_path)) == len(boxes(tmp_path, "validation")) == 1


def test_where_labels_were_looked_for_is_told(tmp_path):
    pairs(tmp_path / "train/images", tmp_path / "train/boxes of mine")
    (tmp_path / "data.yaml").write_text("train: train/images\nnames: [thing]")
    with pytest.raises(UserError, match=r"none for 3 images; looked for .*train/labels/a.txt and .*train/images/a.txt"):
        examine(tmp_path)


def test_a_test_split_without_images_or_labels_is_told_and_left_out(tmp_path):
    roboflow(tmp_path, splits={"train": "ab", "valid": "cd"})
    with pytest.warns(UserWarning, match=r"../test/images has no images \(no such folder"):
        assert stems(tmp_path) == ["a", "b"]
    image(tmp_path / "test/images/e.jpg")
    with pytest.warns(UserWarning, match="no label file for the 1 images of test, which is left out; looked for"):
        assert stems(tmp_path, "validation") == ["c", "d"]
    (tmp_path / "data.yaml").write_text("train: nowhere\nval: valid/images\nnames: [thing]")
    with pytest.raises(UserError, match="nowhere must be a folder or a list of images .* no such folder or file"):
        examine(tmp_path)


def test_validation_that_is_training_is_told(tmp_path):
    roboflow(tmp_path, "train: train/images\nval: [./train/images]\nnames: [thing]")
    with pytest.warns(UserWarning, match="train and val are the same images"):
        examine(tmp_path)


KEYPOINTS = {"[4, 3]": POSE, "[3, 2]": f"0 {BOX} 0.42 0.45 0.58 0.45 0.5 0.6\n", "[17, 3]": f"0 {BOX}\n"}


@pytest.mark.parametrize("shape", KEYPOINTS)
def test_the_box_of_key_points_is_their_first_four_numbers(tmp_path, shape):
    roboflow(tmp_path, f"train: train/images\nkpt_shape: {shape}\nnames: [thing]", label=KEYPOINTS[shape])
    assert boxes(tmp_path) == boxes(tmp_path, "validation") == [[18, 8, 12, 16]]


@pytest.mark.parametrize("label", [POSE, f"0 {BOX} 0.42 0.45 2 0.58 0.45 1 0.5 0.6 2\n"])
def test_key_points_without_kpt_shape_are_refused(tmp_path, label):
    roboflow(tmp_path, label=label)
    with pytest.raises(UserError, match=r"a.txt, line 1 must be class, .* set kpt_shape in the yaml file"):
        examine(tmp_path)


LABELS = {
    "polygon": ("0 0.375 0.25 0.625 0.25 0.5 0.75\n", [18, 8, 12, 16]),
    "rotated box": ("0 0.5 0.25 0.625 0.5 0.5 0.75 0.375 0.5\n", [18, 8, 12, 16]),
    "track or score": (f"0 {BOX} 17\n", [18, 8, 12, 16]),
    "class as a decimal": (f"0.0 {BOX}\n", [18, 8, 12, 16]),
    "tabs, blanks and lines": (f"\n  0\t{BOX}  \r\n\r\n", [18, 8, 12, 16]),
    "lines of old Macs": (f"0 {BOX}\r", [18, 8, 12, 16]),
    "BOM": (b"\xef\xbb\xbf" + f"0 {BOX}".encode(), [18, 8, 12, 16]),
    "UTF-16": (f"0 {BOX}\n".encode("utf-16"), [18, 8, 12, 16]),
    "UTF-16 without a mark": (f"0 {BOX}\n".encode("utf-16-le"), [18, 8, 12, 16]),
    "no-break space": (f"0 {BOX} \xa0\n".encode(), [18, 8, 12, 16]),
}


@pytest.mark.parametrize("case", LABELS)
def test_what_label_files_hold_is_read(tmp_path, case):
    label, box = LABELS[case]
    roboflow(tmp_path, label=label)
    assert boxes(tmp_path) == [box, box]


def test_a_byte_of_another_encoding_is_named_and_read_by_option(tmp_path):
    roboflow(tmp_path, label=f"0 {BOX} \xa0\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"a.txt, line 1 must be text in UTF-8. Received: byte 0xa0"):
        examine(tmp_path)
    assert len(boxes(tmp_path, encoding="cp1252")) == 2


def test_a_yaml_file_in_another_encoding_is_named_and_read_by_option(tmp_path):
    roboflow(tmp_path)
    (tmp_path / "data.yaml").write_bytes("train: train/images\nnames: [Bär]".encode("cp1252"))
    with pytest.raises(UserError, match=r"data.yaml, line 2 must be text in UTF-8"):
        examine(tmp_path)
    assert examine(tmp_path, encoding="cp1252")[0].classes == ["Bär"]


def test_empty_label_files_are_negatives(tmp_path):
    roboflow(tmp_path)
    (tmp_path / "train/labels/b.txt").write_bytes(b"")
    found, findings = examine(tmp_path)
    assert len(found.paths) == 2 and [finding.kind for finding in findings] == ["no boxes"]


def test_classes_that_count_from_one_are_refused_and_can_be_named_so(tmp_path):
    table = "train: train/images\nval: valid/images\nnames: {}\n"
    roboflow(tmp_path, table.format("[cat, dog]"), label=f"1 {BOX}\n2 {BOX}\n")
    with pytest.raises(
        UserError, match=r"classes from 0 to 1. Received: 1 to 2, and 2 is an unknown category; .*\{1: cat"
    ):
        examine(tmp_path)
    (tmp_path / "data.yaml").write_text(table.format("{1: cat, 2: dog}"))
    found, findings = examine(tmp_path)
    assert found.classes == ["cat", "dog"] and len(found.coco["annotations"]) == 4 and not findings


NAMES = {
    "[cat, dog]": ["cat", "dog"],
    "{0: cat, 1: dog}": ["cat", "dog"],
    "{'0': cat, '1': dog}": ["cat", "dog"],
    "{1: dog, 0: cat}": ["cat", "dog"],
    "{0: cat, 7: dog}": ["cat", "dog"],
    "[0, 1.5, '2']": ["0", "1.5", "2"],
    "['  stop   sign ']": ["stop sign"],
}


@pytest.mark.parametrize("names", NAMES)
def test_names_of_classes(tmp_path, names):
    roboflow(tmp_path, f"train: train/images\nnames: {names}")
    assert examine(tmp_path)[0].classes == NAMES[names]


def test_a_number_of_classes_that_disagrees_is_told(tmp_path):
    roboflow(tmp_path, "train: train/images\nnc: 3\nnames: [cat, dog]")
    with pytest.warns(UserWarning, match="nc is 3, but names has 2"):
        examine(tmp_path)


FAULTY_TABLES = {
    "names: []": "must have names, one for each class from 0",
    "nc: 2": "must have names",
    "names: 5": "must have names, .* Received: 5",
    "names: [cat, cat]": "each once. Received: cat more than once",
    "names: [cat, null]": "the name of class 1 must be text",
    "names: [yes, no]": "the name of class 0 must be text, in quotes where it is yes or no. Received: True",
    "names: {cat: 0}": "names must be numbered by whole numbers. Received: cat",
    "names: {[1]: 0}": "is not valid YAML",
    "names: [cat]\npath: [a]": "path must be a folder",
    "names: [cat]\nval: {a: 1}": "validation must be a folder, a list file, or a list of these. Received: {'a': 1}",
    "names: [cat]\nkpt_shape: 17": "kpt_shape must be the number of key points",
    "names: [cat]\nnames: [dog]": "every key must be there once",
    "names: !!python/object/apply:os.system [ls]": "is not valid YAML",
    "names: [2024-99-99]": "is not valid YAML",
    "names: [a": "is not valid YAML",
    "- a": "is not valid YAML",
}


@pytest.mark.parametrize("table", FAULTY_TABLES)
def test_faulty_tables_are_one_line(tmp_path, table):
    roboflow(tmp_path, f"train: train/images\n{table}\n")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "data.yaml")) + ".*" + FAULTY_TABLES[table]) as error:
        examine(tmp_path)
    assert "\n" not in str(error.value)


def test_of_several_yaml_files_the_one_of_the_data_is_read(tmp_path):
    roboflow(tmp_path)
    (tmp_path / "hyp.yaml").write_text("lr0: 0.01")
    (tmp_path / "args.yaml").write_text("task: [")
    assert stems(tmp_path) == ["a", "b"]
    (tmp_path / "other.yaml").write_text("names: [a]")
    (tmp_path / "data.yaml").rename(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match="Received: .*, with mine.yaml, other.yaml"):
        examine(tmp_path)
    assert stems(tmp_path / "mine.yaml") == ["a", "b"]


def test_what_is_no_yolo_data_set_is_named(tmp_path):
    image(tmp_path / "pictures/a.jpg")
    with pytest.raises(UserError, match=r"data.root must be a YOLO data set: .*which holds pictures/"):
        examine(tmp_path)
    with pytest.raises(UserError, match="data.root must be a YOLO data set: .*jpg"):
        examine(tmp_path / "pictures/a.jpg")
    with pytest.raises(UserError, match="which does not exist"):
        examine(tmp_path / "nowhere")
    named(tmp_path, text="a\n\nb\n")
    with pytest.raises(UserError, match="classes.txt, line 2 must name a class. Received: an empty line"):
        examine(tmp_path)


@pytest.mark.parametrize(
    "line", ["cat 0.5 0.5 0.1 0.1", "0 0.5 0.5 0.1", "0,0.5,0.5,0.1,0.1", "1e999 0 0 1 1", "nan 0 0 1 1"]
)
def test_lines_of_no_form_are_named(tmp_path, line):
    roboflow(tmp_path, label=f"0 {BOX}\n{line}\n")
    with pytest.raises(UserError, match="a.txt, line 2 must be class, x, y, width, height"):
        examine(tmp_path)


@pytest.mark.parametrize(
    "line", ["0 nan 0.5 0.1 0.1", "0 0.5 1e999 0.1 0.1", "-1 0.5 0.5 0.1 0.1", "7 0.5 0.5 0.1 0.1"]
)
def test_boxes_that_cannot_be_are_left_out_with_a_line(tmp_path, line):
    roboflow(tmp_path, label=f"0 {BOX}\n{line}\n", splits={"train": "a"})
    with pytest.warns(UserWarning, match="left out"):
        found, findings = examine(tmp_path)
    assert len(found.coco["annotations"]) == 1 and len(findings) == 1 and "a.txt, line 2" in findings[0].where
