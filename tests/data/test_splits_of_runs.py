"""A run keeps the splits that were drawn for it: evaluation, export and continuing use them after the data changed."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mobilenet_tf import workflow
from mobilenet_tf.data import split_lists
from mobilenet_tf.inference import artifact
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.run_folder import RunFolder

TINY = [
    "model.backbone=mobilenet_v1",
    "model.alpha=0.25",
    "model.input_size=[32, 32]",
    "model.weights=null",
    "train.batch_size=16",
    "train.ema=null",
    "train.stages=[{train: all, duration: 1 steps, learning_rate: 0.01, augment: false}]",
    "export.formats=[tflite]",
    "export.parity_samples=2",
    "export.verify_samples=2",
]


def photos(root: Path, count: int, name: str = "") -> Path:
    for label, color in (("cat", 60), ("dog", 200)):
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.full((32, 32, 3), color + number % 9, np.uint8)
            Image.fromarray(pixels).save(root / label / f"{name}{number:02}.png")
    return root


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with photos/ and, trained on them, runs/a with its export."""
    folder = tmp_path_factory.mktemp("trained")
    root = photos(folder / "photos", 20)
    workflow.train_run("folder_v2", [*TINY, f"data.root={root}"], folder / "runs" / "a")
    workflow.export_run(folder / "runs" / "a")
    return folder


@pytest.fixture
def grown(trained, tmp_path) -> Path:
    """The same elsewhere, after images were added and one of the test split was taken away."""
    folder = tmp_path / "copy"
    shutil.copytree(trained / "runs", folder / "runs")
    shutil.copytree(trained / "photos", folder / "photos")
    photos(folder / "photos", 30, "new")
    (folder / "photos" / lists(folder)["test"][0]).unlink()
    return folder


def lists(folder: Path) -> dict:
    return split_lists.read(RunFolder(folder / "runs" / "a").splits)


def scored(model: Path, *overrides: str, split: str = "test") -> tuple[float, list[str]]:
    """(the number of samples that were scored, what was warned of the splits)"""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        count = workflow.evaluate_model(model, split=split, overrides=overrides)["count"]
    messages = dict.fromkeys(str(warning.message) for warning in told)
    return count, [message for message in messages if "split" in message]


def test_a_run_stores_what_was_drawn_and_no_path_of_its_own(trained):
    run = RunFolder(trained / "runs" / "a")
    assert {split: len(names) for split, names in lists(trained).items()} == {"train": 32, "validation": 4, "test": 4}
    assert str(run.path) not in run.splits.read_text() + run.config.read_text()
    for model in (run.path, run.exports / "model.tflite"):
        metadata = artifact.read(model)
        assert metadata and metadata.config["data"]["split_file"] is None
    assert scored(run.path) == scored(run.exports / "model.tflite") == (4, [])


def test_what_is_new_is_not_scored_and_what_is_missing_is_said(grown):
    run, root = RunFolder(grown / "runs" / "a"), grown / "photos"
    for model in (run.path, run.model, run.exports / "model.tflite"):
        count, told = scored(model, f"data.root={root}", f"data.split_file={run.splits}")
        assert count == 3
        assert told == [
            f"{root} has changed since {run.splits} was written: 60 images are new and belong to no split, such as "
            f"cat/new00.png: left out; 1 of the test split is missing, such as {lists(grown)['test'][0]}"
        ]
    assert scored(run.path, f"data.root={root}", f"data.split_file={run.splits}", split="train")[0] == 32


def test_the_lists_of_the_run_go_with_its_data_and_not_with_others(trained, grown):
    run, other = RunFolder(grown / "runs" / "a"), grown / "photos"
    count, told = scored(run.path, f"data.root={other}")  # beside the data that it was trained on
    assert (count, told) == (10, [
        f"{other} is not the data that the run was trained on: its splits are drawn anew; "
        f"data.split_file={run.splits} takes those of the run"
    ])  # fmt: skip
    (trained / "photos").rename(trained / "away")
    try:
        count, told = scored(run.path, f"data.root={other}")  # the data have moved, and grown there
        assert (count, len(told)) == (3, 1)
        elsewhere = shutil.copy(run.model, grown / "alone.keras")  # without its run
        assert scored(Path(elsewhere), f"data.root={other}") == (10, [])
        with pytest.warns(UserWarning, match="is not the data that the run was trained on"):
            workflow.evaluate_model(run.path, overrides=[f"data.root={photos(grown / 'others', 12, 'x')}"])
    finally:
        (trained / "away").rename(trained / "photos")


def test_an_interrupted_run_goes_on_with_its_own_images(grown):
    run, root = RunFolder(grown / "runs" / "b"), photos(grown / "more", 20)
    two = [*TINY[:-4], "train.stages=[{train: all, duration: 2 epochs, learning_rate: 0.01, augment: false}]"]
    workflow.train_run("folder_v2", [*two, f"data.root={root}"], run.path)
    before = run.splits.read_bytes()
    run.model.unlink()  # as if it had been killed before the end
    photos(root, 9, "new")
    with pytest.warns(UserWarning, match="18 images are new and belong to no split"):
        workflow.train_run("folder_v2", [*two, f"data.root={root}"], run.path)
    assert run.splits.read_bytes() == before
    with pytest.warns(UserWarning, match="18 images are new and belong to no split"):
        again = RunFolder(grown / "runs" / "c")
        more = [*two[:-1], two[-1].replace("]", ", {train: head, duration: 1 steps, learning_rate: 0.01}]")]
        workflow.train_run("folder_v2", [*more, f"data.root={root}", f"train.resume={run.path}"], again.path)
    assert json.loads(again.splits.read_text()) == json.loads(before)


def test_a_set_without_a_test_split_names_the_one_that_can_be_scored(trained, tmp_path):
    for split in ("train", "val"):
        photos(tmp_path / "photos" / split, 2)
    message = "must have images for the split test; another one can be scored, as with --split validation. Received: tr"
    with pytest.warns(UserWarning, match="drawn anew"), pytest.raises(UserError, match=message):
        workflow.evaluate_model(trained / "runs" / "a", overrides=[f"data.root={tmp_path / 'photos'}"])


def test_runs_of_version_0_1_0_are_told_of_the_other_draw(trained, tmp_path):
    model = tmp_path / "old.keras"
    shutil.copy(trained / "runs" / "a" / "model.keras", model)
    metadata = artifact.read(model)
    assert metadata is not None
    old = {key: value for key, value in metadata.config.items() if key != "schema"}
    artifact.write(model, artifact.Metadata(**{**vars(metadata), "config": old}))
    with pytest.warns(UserWarning, match=r"is of version 0.1.0, which drew splits otherwise: where .* were trained on"):
        workflow.evaluate_model(model)
