"""What is taken for splits, classes and images in the folders that people have, and what is said of the rest."""

import os
import socket
import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from mobilenet_tf import prediction
from mobilenet_tf.data import counts, image_formats, images, walk
from mobilenet_tf.data.class_folders import Listing, read_folder
from mobilenet_tf.data.folder_names import matcher, split_of_name, splits_of_names
from mobilenet_tf.data.image_lists import LabeledFile
from mobilenet_tf.utils.errors import UserError

MAC = unicodedata.normalize("NFD", "café")


def tree(root: Path, *entries: str) -> Path:
    """Makes files: "a/x.txt" is a file of this name, "a/b*3" one of three images; no two are equal."""
    root.mkdir(exist_ok=True)
    for number, entry in enumerate(entries):
        if Path(entry).suffix or Path(entry).name.startswith("."):
            files = [root / entry]
        else:
            folder, _, count = entry.partition("*")
            files = [root / folder / f"{i}.jpg" for i in range(int(count or 1))]
        for i, file in enumerate(files):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"{number} {i}".encode())
    return root


def found(listing: Listing) -> dict[str, int]:
    """{split/label: images}, or {label: images} for what is in no split."""
    return dict(Counter(f"{row.split}/{row.label}" if row.split else row.label for row in listing.rows))


def quietly(root: Path) -> Listing:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_folder(root)


def both(*splits: str) -> list[str]:
    return [f"{split}/{name}*2" for split in splits for name in ("cat", "dog")]


SPLIT = {"train/cat": 2, "train/dog": 2, "test/cat": 2, "test/dog": 2}
WITHOUT_A_WORD = {
    "plain": (both("train", "test"), SPLIT),
    "capitals": (both("Train", "Test"), SPLIT),
    "large": (both("TRAIN", "TEST"), SPLIT),
    "ing": (both("Training", "Testing"), SPLIT),
    "sets": (both("training_set", "test_set"), SPLIT),
    "glued": (both("TrainSet", "testdata"), SPLIT),
    "years": (both("train2017", "test2017"), SPLIT),
    "prefix": (both("seg_train", "seg_test"), SPLIT),
    "twice": (both("seg_train/seg_train", "seg_test/seg_test"), SPLIT),
    "images": (both("train/images", "test/images"), SPLIT),
    "one level too high": (both("animals10/train", "animals10/test"), SPLIT),
    "two levels, a license": ([*both("archive/set"), "archive/LICENSE.txt"], {"cat": 2, "dog": 2}),
    "without splits": (["cat*2", "dog*3"], {"cat": 2, "dog": 3}),
    "train alone": (both("train"), {"train/cat": 2, "train/dog": 2}),
    "nested": (["cat/a*2", "cat/b*3", "dog"], {"cat": 5, "dog": 1}),
    "of a Mac": (["cat", "dog", "__MACOSX/cat/._0.jpg", "cat/._0.jpg", ".DS_Store"], {"cat": 1, "dog": 1}),
    "of notebooks": (["cat", "dog", ".ipynb_checkpoints/a.jpg", "cat/.ipynb_checkpoints/0.jpg"], {"cat": 1, "dog": 1}),
    "of others": (["cat", "dog", "cat/Thumbs.db", "dog/@eaDir/x.jpg", "dog/desktop.ini"], {"cat": 1, "dog": 1}),
    "with notes": (["images/cat", "images/dog", "annotations/0.xml", "cat.csv"], {"cat": 1, "dog": 1}),
    "suffixes": ([f"{c}/{i}.{s}" for c in "ab" for i, s in enumerate(["JPG", "jfif", "TIF", "jpe"])], {"a": 4, "b": 4}),
}  # fmt: skip


@pytest.mark.parametrize("case", WITHOUT_A_WORD)
def test_layouts_that_are_read_as_they_are_meant(tmp_path, case):
    entries, expected = WITHOUT_A_WORD[case]
    assert found(quietly(tree(tmp_path / "root", *entries))) == expected


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val", "eval", "dev", "val_images"])
def test_names_of_the_validation_split(tmp_path, name):
    listing = quietly(tree(tmp_path / "root", *both("train", name)))
    assert {row.split for row in listing.rows} == {"train", "validation"}
    assert listing.notes == (() if name == "validation" else (f"splits: {name} = validation",))


WARNED = {
    "a class named train": (
        ["bus*3", "car*2", "train*3"], {"bus": 3, "car": 2, "train": 3}, "train is taken for a class, as bus, car"
    ),
    "a folder that is no split": (
        [*both("seg_train", "seg_test"), "seg_pred/seg_pred*4"], SPLIT, "seg_pred is neither .*: its 4 images are left"
    ),
    "a test split without labels": (
        [*both("train"), "test*4"], {"train/cat": 2, "train/dog": 2}, "test holds 4 images in no folder of a class"
    ),
    "a copy of itself": (["cat", "dog", "root/cat", "root/dog"], {"cat": 1, "dog": 1}, "root/root holds the folders"),
    "a deep copy": (["cat", "dog", "x/y/cat", "x/y/dog"], {"cat": 1, "dog": 1}, "root/x holds the .* its 2 im"),
    "a copy of the splits": ([*both("train", "test"), *both("set/train")], SPLIT, "set is neither .* its 4 images"),
    "images beside the classes": (["cat", "dog", "x.jpg"], {"cat": 1, "dog": 1}, "1 image lies directly in .*root"),
    "images beside them in a split": ([*both("train", "test"), "train/x.jpg"], SPLIT, "directly in .*root/train"),
    "images beside them, too high": (["x/cat", "x/dog", "x/y.jpg"], {"cat": 1, "dog": 1}, "directly in .*root/x"),
    "other files": (
        ["cat", "dog*2", "dog/a.psd", "dog/b.mp4", "dog/c"], {"cat": 1, "dog": 3},
        r"root: left out beside 4 images are .mp4 files: 1 \(such as dog/b.mp4\); .psd files: 1",
    ),
    "other case": (["cat", "Cat", "dog"], {"Cat": 1, "cat": 1, "dog": 1}, "/Cat' and .*/cat' are read as two cl"),
    "blanks": (["cat", "cat /x.jpg", "dog"], {"cat": 2, "dog": 1}, "cat' and .*cat ' are read as one class"),
    "two Unicode forms": (["café", MAC, "dog"], {"café": 2, "dog": 1}, "are read as one class"),
    "an empty split": ([*both("train"), "val/.keep"], {"train/cat": 2, "train/dog": 2}, "no split validation of its"),
    "an empty class of a test": (
        [*both("train"), "test/cat*2", "test/dog/.keep"], {"train/cat": 2, "train/dog": 2, "test/cat": 2},
        "test/dog must have images .* so that no class dog is in the split test",
    ),
    "splits in the classes": (
        [f"{a}/{b}" for a in ("cat", "dog") for b in ("train", "test")], {"cat": 2, "dog": 2}, "is not taken for a"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WARNED)
def test_likely_mistakes_are_warned_of(tmp_path, case):
    entries, expected, message = WARNED[case]
    with pytest.warns(UserWarning, match=message):
        assert found(read_folder(tree(tmp_path / "root", *entries))) == expected


ERRORS = {
    "flat": (["*60"], "for each class, .* Received: 60 images lie directly in .*: put them into one folder"),
    "flat splits": (["train*3", "test*2"], "2 images lie directly in .*test and 3 images lie directly in .*train: put"),
    "nothing": ([], "must have one folder of images .* Received: none$"),
    "notes alone": (["a.txt"], r"Received: none, but .txt files: 1 \(such as a.txt\)"),
    "an empty class": (["cat", "dog/.keep"], "dog must have images .* Received: none, but hidden or of the system: 1"),
    "a class of drawings": (["cat", "dog/a.svg"], r"dog must have .* Received: none, but .svg files: 1 \(such as a"),
    "splits or classes": (["bus/a", "car/b", "train/c", "train/d"], "train, which holds .*, beside bus, car"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_read_is_one_line(tmp_path, case):
    entries, message = ERRORS[case]
    with pytest.raises(UserError, match=message) as error:
        read_folder(tree(tmp_path / "root", *entries))
    assert "\n" not in str(error.value)


def test_the_name_of_a_class_is_that_of_the_training_split(tmp_path):
    names = ["train/Cat", "train/café", "train/a", "train/A", "test/cat ", f"test/{MAC}", "test/A", "test/new"]
    with pytest.warns(UserWarning, match="train/A' and .*train/a' are read as two classes"):
        listing = read_folder(tree(tmp_path / "root", *(f"{name}/x.jpg" for name in names)))
    assert sorted(row.label for row in listing.rows if row.split == "test") == ["A", "Cat", "café", "new"]


def test_a_folder_that_repeats_its_own_images_is_left_out(tmp_path):
    root = tree(tmp_path / "root", "cat*2", "dog*2", "cat/Cat*2", "dog/dog*2")
    for name in ("0.jpg", "1.jpg"):
        (root / "cat" / "Cat" / name).write_bytes((root / "cat" / name).read_bytes())
    with pytest.warns(UserWarning, match="cat/Cat holds images of .*cat once more: its 2 images are left out"):
        assert found(read_folder(root)) == {"cat": 2, "dog": 4}


def test_what_is_used_and_left_out_is_said(tmp_path):
    root = tree(tmp_path / "root", "set/Train/cat*2", "set/Train/dog/young", "set/Val/cat", "set/Val/dog", "set/a.md")
    (root / "__MACOSX").mkdir()
    assert quietly(root).notes == (
        f"data: {root / 'set'}, the folder in data.root that holds the others",
        "splits: Train = train, Val = validation",
        f"1 of 5 images lie in folders below that of their class, such as {root / 'set/Train/dog/young'}: used",
        "left out: .md files: 1 (such as set/a.md); hidden or of the system: 1 (such as __MACOSX)",
    )


def test_class_folders_whose_names_are_not_utf8_are_refused_and_files_are_read(tmp_path):
    root = tree(tmp_path / "root", "cat", "dog")
    (root / "cat" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
    assert found(quietly(root)) == {"cat": 2, "dog": 1}
    (root / "dog").rename(root / os.fsdecode(b"caf\xe9"))
    with pytest.raises(UserError, match="must have a name in UTF-8: rename it"):
        read_folder(root)


def test_without_the_plug_in_heic_files_are_counted_with_what_they_need(tmp_path, monkeypatch):
    monkeypatch.setattr(image_formats.OptionalFormat, "readable", property(lambda self: False))
    root = tree(tmp_path / "root", "cat*2", "dog*2", "dog/1.HEIC", "dog/2.heif", "cat/3.avif")
    message = r'left out beside 4 images are .*HEIC image.* pip install "mobilenet-tf\[heif\]": 2 \(such as'
    with pytest.warns(UserWarning, match=message):
        assert found(read_folder(root)) == {"cat": 2, "dog": 2}
    for path in (root / "dog").glob("*.jpg"):
        path.unlink()
    with pytest.raises(UserError, match=r"dog must have images .* none, but .*HEIC image.* need.*: 2 \(such as 1"):
        read_folder(root)


@pytest.mark.parametrize(
    "name, expected",
    [
        ("train", ("train", ())),
        ("ILSVRC2012_img_val", ("validation", ("ilsvrc",))),
        ("Test Images", ("test", ())),
        ("seg_train", ("train", ("seg",))),
        ("trainval", None),
        ("train_test", None),
        ("strain", None),
        ("testament", None),
    ],
)
def test_the_split_in_a_name(name, expected):
    assert split_of_name(name) == expected


def test_other_words_in_the_names_of_splits_must_be_shared():
    assert splits_of_names(["seg_train", "seg_test", "seg_pred"]) == {"seg_train": "train", "seg_test": "test"}
    assert splits_of_names(["steam train", "bus"]) == {}


def test_names_match_exactly_first():
    match = matcher(["a", "A", "Dog"])
    assert [match(name) for name in ("a", "A", "DOG", " dog ", "cow")] == ["a", "A", "Dog", "Dog", "cow"]


# The walk


def names(folder: walk.Folder, root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in folder.all_images()]


def test_links_are_followed_once_and_never_in_circles(tmp_path):
    root, other = tree(tmp_path / "root", "cat", "dog"), tree(tmp_path / "other", "bird*2")
    (root / "bird").symlink_to(other / "bird")
    (root / "cat" / "again").symlink_to(root)
    (root / "dog" / "self").symlink_to(root / "dog")
    (root / "kitten").symlink_to(root / "cat")
    (root / "up").symlink_to(tmp_path)
    (root / "dog" / "linked.jpg").symlink_to(other / "bird" / "0.jpg")
    (root / "dog" / "broken.jpg").symlink_to(root / "nowhere")
    (root / "dog" / "broken.png").symlink_to(root / "dog" / "broken.png")
    folder = images.find_below(root)
    assert names(folder, root) == ["bird/0.jpg", "bird/1.jpg", "cat/0.jpg", "dog/0.jpg", "dog/linked.jpg"]
    left_out = Counter(reason for reason, _ in folder.all_left_out())
    assert left_out == {walk.LOOP: 4, walk.BROKEN: 2}
    with pytest.warns(UserWarning, match=r"links to folders that are read already: 4 \(such as cat/again\)"):
        assert found(read_folder(root)) == {"bird": 2, "cat": 1, "dog": 2}


def test_links_among_many_folders_end(tmp_path):
    root = tree(tmp_path / "root", *(f"c{i}" for i in range(9)))
    for i in range(9):
        for j in range(9):
            (root / f"c{i}" / f"to{j}").symlink_to(root / f"c{j}")
    assert len(images.find_below(root).all_images()) == 9


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_what_is_no_file_is_left_out_by_its_type(tmp_path, monkeypatch):
    root = tree(tmp_path / "root", "cat", "dog")
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "cat" / "endless.jpg").symlink_to("/dev/zero")
    monkeypatch.chdir(root)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("dog/socket.jpg")
        (root / "dog" / "folder.jpg").mkdir()
        with pytest.warns(UserWarning, match=r"left out beside 2 images are pipes, .* 3 \(such as cat/e"):
            assert found(read_folder(root)) == {"cat": 1, "dog": 1}


def test_deep_folders_and_odd_suffixes(tmp_path):
    root = tree(tmp_path / "root", "cat", "dog", "dog/x.this is no suffix", *(f"cat/{i}.s{i}" for i in range(12)))
    path = root / "dog"
    for _ in range(300):
        path = path / "d"
    path.mkdir(parents=True)
    (path / "deep.jpg").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"left out beside 3 images are .* others: 5$"):
        assert found(read_folder(root)) == {"cat": 1, "dog": 2}


def test_predict_finds_the_same_files_and_says_what_it_leaves_out(tmp_path):
    root = tree(tmp_path / "root", "a", "b/1.TIF", "b/.x.jpg", "__MACOSX/._0.jpg", "a/notes.txt", "a/x.svg", "c*2")
    with pytest.warns(UserWarning, match=r"root: left out are .svg files: 1 \(such as a/x.svg\)$"):
        assert [path.relative_to(root).as_posix() for path in prediction.find_images([str(root)])] == [
            "a/0.jpg", "b/1.TIF", "c/0.jpg", "c/1.jpg"
        ]  # fmt: skip
    assert len(prediction.find_images([str(root / "[bc]")])) == 3, "folders that a glob names"
    (tmp_path / "x[1].jpg").write_bytes(b"")
    assert prediction.find_images([str(tmp_path / "x[1].jpg")]) == [tmp_path / "x[1].jpg"]


# Counts


def rows(**labels: str) -> dict[str, list[LabeledFile]]:
    return {split: [LabeledFile(Path("x"), label, split) for label in found] for split, found in labels.items()}


def test_counts_are_given_for_each_class_while_they_are_few():
    assert counts.count_lines(rows(train="aab", test=""), {"test"}) == [
        "train: 3 images (a 2, b 1)",
        "test (drawn): 0 images",
    ]
    assert counts.count_lines(rows(train="abcdefghijjj"), kind="identity") == [
        "train: 12 images of 10 identities (1 to 3 each, median 1)"
    ]


def test_classes_that_a_split_lacks_are_warned_of():
    with pytest.warns(UserWarning, match="the test split has no image of the class b, c$"):
        counts.warn_of_missing(rows(train="abc", validation="", test="a"), "abc")


def test_a_class_none_of_whose_files_is_an_image_is_an_error(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    good, bad = (LabeledFile(tmp_path / f"{name}.png", "x", None) for name in ("good", "bad"))
    counts.check_readable([bad, good])
    with pytest.raises(
        UserError, match="Received: y without any: of its 2 files none is an image, such as .*bad.png: not a"
    ):
        counts.check_readable([good, *[bad._replace(label="y")] * 2])
