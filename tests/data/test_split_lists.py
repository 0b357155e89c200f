"""Lists of the images in each split: their JSON file, and what is done where a data set has changed since."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sections import data_section, reader_of

from mobilenet_tf.config import Data
from mobilenet_tf.data import split_lists, splits
from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.utils.errors import UserError


def photos(root: Path, count: int = 20, name: str = "", labels=("cat", "dog")) -> Path:
    """root/label/NUMBER.png"""
    for label in labels:
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(np.full((8, 8, 3), 9, np.uint8)).save(root / label / f"{name}{number:02}.png")
    return root


def ids(root: Path, task: str = "classification", reader: str = "folder", **keys) -> dict[str, set[str]]:
    """{split: the paths of its images from the root}"""
    found = {}
    for split in SPLITS:
        source = reader_of(task)(reader, root, split, **keys)
        names: Any = (item["path" if "path" in item else "id"] for item in source.items.as_numpy_iterator())
        found[split] = {Path(os.path.relpath(name.decode(), root)).as_posix() for name in names}
    return found


def drawn(root: Path, file: Path, **keys) -> dict[str, set[str]]:
    """The splits of a data set, stored as a training stores them."""
    with split_lists.drawn_lists() as lists:
        found = ids(root, **keys)
    split_lists.write(file, lists)
    return found


def test_stored_lists_are_paths_from_the_root_and_give_the_same_splits_wherever_that_lies(tmp_path):
    before = drawn(photos(tmp_path / "photos"), tmp_path / "splits.json")
    stored = json.loads((tmp_path / "splits.json").read_text())
    assert {split: set(names) for split, names in stored.items()} == before
    moved = (tmp_path / "photos").rename(tmp_path / "moved")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ids(moved, split_file=tmp_path / "splits.json", seed=8) == before


def test_nothing_that_was_trained_on_is_scored_after_images_came_went_and_moved(tmp_path):
    root = photos(tmp_path / "photos")
    before = drawn(root, tmp_path / "splits.json")
    photos(root, 7, "new")
    gone = sorted(before["test"])[0]
    (root / gone).unlink()
    moved = sorted(before["train"])[0]
    (root / moved).rename(root / "dog" / "moved.png")
    with pytest.warns(UserWarning) as told:
        after = ids(root, split_file=tmp_path / "splits.json")
    assert after == {**before, "train": before["train"] - {moved}, "test": before["test"] - {gone}}
    assert str(told[0].message) == (
        f"{root} has changed since {tmp_path / 'splits.json'} was written: 15 images are new and belong to no split, "
        f"such as cat/new00.png: left out; 1 of the train split is missing, such as {moved}; "
        f"1 of the test split is missing, such as {gone}"
    )


def test_given_splits_are_not_stored_and_stay_beside_the_lists(tmp_path):
    root = tmp_path / "photos"
    for split in ("train", "val", "test"):
        photos(root / split, 5)
    with split_lists.drawn_lists() as lists:
        ids(root)
    assert lists == {}
    for path in (root / "val").glob("*/*"):
        path.unlink()
    (root / "val" / "cat").rmdir()
    (root / "val" / "dog").rmdir()
    (root / "val").rmdir()
    before = drawn(root, tmp_path / "splits.json")
    assert sorted(json.loads((tmp_path / "splits.json").read_text())) == ["train", "validation"]
    photos(root / "test", 7)
    after = ids(root, split_file=tmp_path / "splits.json")
    assert (after["train"], after["validation"]) == (before["train"], before["validation"])
    assert len(after["test"]) == 14


def test_lists_that_a_user_writes_decide_and_what_they_leave_open_is_drawn(tmp_path):
    root, file = photos(tmp_path / "photos", 10), tmp_path / "mine.json"
    everything = [f"{label}/{number:02}.png" for label in ("cat", "dog") for number in range(10)]
    file.write_text(json.dumps({"test": [".\\cat\\00.png", "dog/00.png"], "train": everything[1:10] + everything[11:]}))
    found = ids(root, split_file=file)
    assert found["test"] == {"cat/00.png", "dog/00.png"}
    assert {name[:3] for name in found["validation"]} == {"cat", "dog"}
    assert len(found["validation"]) == 2
    assert found["train"] | found["validation"] == set(everything) - found["test"]


@pytest.mark.parametrize(
    "content, message",
    [
        ("[]", r"must map train, validation, test to lists of paths. Received: \[\]"),
        ("{}", "must map train, validation, test to lists of paths. Received: nothing"),
        ('{"train": [], "dev": []}', "must map train, validation, test to lists of paths. Received: dev"),
        ('{"train": "a.png"}', "train must be a list of paths from data.root. Received: a.png"),
        ('{"train": ""}', "train must be a list of paths from data.root. Received: $"),
        ('{"train": null}', "train must be a list of paths from data.root. Received: None"),
        ('{"train": ["a.png", 7]}', "train must be a list of paths from data.root. Received: 7"),
        ('{"train": ["a.png"], "test": ["./a.png"]}', "each image in one split. Received: a.png in train and test"),
        ('{"train": ["x.png", "y.png"]}', "data.split_file must name images of .*, with 2 others, such as x.png"),
        ("{", "must be JSON"),
    ],
)
def test_mistakes_in_lists_are_one_line(tmp_path, content, message):
    (tmp_path / "mine.json").write_text(content)
    with pytest.raises(UserError, match=message):
        ids(photos(tmp_path / "photos", 3), split_file=tmp_path / "mine.json")


def test_lists_go_with_data_on_disk_alone(tmp_path):
    with pytest.raises(UserError, match="data.split_file must be null for data.reader=scenes, which has splits of its"):
        data_section("classification", reader="scenes", split_file=tmp_path / "splits.json")


def test_identities_that_are_held_out_stay_unseen(tmp_path):
    root = photos(tmp_path / "faces", 4, labels="abcdefghijklmnopqrst")
    keys = {"task": "embedding"}
    before = drawn(root, tmp_path / "splits.json", **keys)
    people = {split: {name[0] for name in names} for split, names in before.items()}
    assert [len(people[split]) for split in SPLITS] == [16, 2, 2]
    assert not people["train"] & (people["test"] | people["validation"])
    photos(root, 2, labels=["u", "v", "w", "x", *people["test"]], name="new")
    hashed = ids(root, **keys)  # without the lists
    assert not people["train"] & {name[0] for name in hashed["test"]}
    with pytest.warns(UserWarning, match="12 images are new and belong to no split"):
        assert ids(root, split_file=tmp_path / "splits.json", **keys) == before


def test_names_that_are_no_text_are_stored(tmp_path):
    odd = os.fsdecode(b"caf\xe9.png")
    split_lists.write(tmp_path / "splits.json", {"train": [odd, "żółw.png"]})
    assert split_lists.read(tmp_path / "splits.json") == {"train": [odd, "żółw.png"]}
    data = Data(reader="folder", root=tmp_path)
    assert sum(map(len, splits.divide([odd, "b.png", "c.png"], data, 0, fraction=0.1).values())) == 3


def test_a_draw_is_noted_for_the_block_around_it_alone(tmp_path):
    data = Data(reader="folder", root=tmp_path)
    splits.divide(["a.png", "b.png"], data, 0, fraction=0.1)  # outside of any block
    with split_lists.drawn_lists() as outer:
        with split_lists.drawn_lists() as inner:
            splits.divide(["a.png", "b.png", "c.png"], data, 0, fraction=0.1)
        assert (sorted(sum(inner.values(), [])), outer) == (["a.png", "b.png", "c.png"], {})
