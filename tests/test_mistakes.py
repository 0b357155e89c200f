"""The mistakes of the first five minutes: what each is answered, in one line and before TensorFlow is imported."""

import json
import os
import shlex
import subprocess
import sys

import pytest
import yaml
from command import call
from PIL import Image

from mobilenet_tf import config
from mobilenet_tf.config_aliases import shares
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.run_folder import RunFolder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The current folder, with images in folders of classes and images in no folder."""
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(("P/cat/a", "P/cat/b", "P/dog/a", "P/dog/b", "flat/a", "flat/b")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (index * 40, 0, 0)).save(tmp_path / f"{name}.jpg")
    (tmp_path / "clip.mp4").write_bytes(b"0")
    return tmp_path


@pytest.fixture
def trained(monkeypatch):
    """The config and folder of each training that would begin."""
    begun = []

    def train(_, cfg, folder, **__):
        begun.append((cfg, folder))
        raise UserError("begun")

    monkeypatch.setattr("mobilenet_tf.training.train.train", train)
    return begun


ANSWERS = {
    "train": "Missing argument 'config'",
    "train mobilenet_v2 data.root=P": "model.backbone; nearest: folder_v2 model.backbone=mobilenet_v2",
    "train MobileNetV2 data.root=P": "nearest: folder_v2 model.backbone=mobilenet_v2",
    "train classification": "a task is chosen by its configs: cifar10_v2, cifar10_v2_int8, demo, folder_v2",
    "train P": "a folder of images is data.root: folder_v2 data.root=P",
    "configs show nope": "; all of them: mobilenet-tf configs list",
    "train folder_v2 data.root=nowhere": "data.root must be a folder or file that exists. Received: nowhere",
    "check-data folder_v2 data.root=nowhere": "data.root must be a folder or file that exists. Received: nowhere",
    "train folder_v2 data.root=P data.split_file=no.json": "data.split_file must be a file that exists. Received: no",
    "train folder_v2 data.root=P model.weights=missing.h5": "that exists. Received: missing.h5",
    "train folder_v2 data.root=P train.network=missing.keras": "train.network must be a folder or file that exists",
    "train folder_v2 --data.root=P": "values of the config are given without dashes, as data.root=VALUE",
    "train folder_v2 --epochs 3": "values of the config are given without dashes, as epochs=VALUE",
    "train folder_v2 data.root=P epochs=0": "epochs must be a number above 0. Received: 0",
    "train folder_v2 data.root=P lr=fast": "lr must be a number above 0. Received: fast",
    "train folder_v2 data.root=P epochs=3 train.stages.0.duration=9": None,
    "train folder_v2 data.root=P train.stages.0.duration=9steps epochs=3": "set train.stages.0.duration",
    "train folder_v2 data.root=P model.backbone=mobilenetv2": "nearest: mobilenet_v2",
    "train folder_v2 data.root=P 'train.optimizer={name: adam}'": "must be sgd, adamw or rmsprop. Received: adam",
    "train folder_v2 data.root=gs://b/p": "must be a path on this machine; copy remote data here, or mount",
    "train folder_v2 --run-dir=gs://b/run data.root=P": "on this machine; copy remote ones here, or mount them",
    "evaluate s3://bucket/model.tflite": "Received: s3://bucket/model.tflite",
    "val runs/x": "must exist. Received: runs/x",
    "evaluate runs/x --split val": "must exist. Received: runs/x",
    "evaluate runs/x --split vol": "--split must be train, validation or test. Received: vol",
    "trian folder_v2": "'train'",
    "benchmark": "see mobilenet-tf benchmark --help",
    "configs keys clasification": "task must be one of attributes, classification",
}


@pytest.mark.parametrize("line", [line for line, answer in ANSWERS.items() if answer])
def test_a_mistake_says_what_is_right_and_leaves_nothing(line, here, capsys):
    code, out, err = call(capsys, *shlex.split(line))
    assert code == 2 and not out and err.startswith("error: ") and ANSWERS[line] in err
    assert err.count("\n") == (5 if line == "train" else 1)
    assert not (here / "runs").exists()


def test_a_missing_argument_has_examples(capsys):
    _, _, err = call(capsys, "train")
    assert "mobilenet-tf train folder_v2 data.root=IMAGES" in err and "mobilenet-tf configs list" in err


def test_images_in_no_folder_of_a_class_leave_no_run(here, capsys):
    code, _, err = call(capsys, "train", "folder_v2", "data.root=flat", "size=32", "model.weights=null")
    assert code == 2 and f"2 images lie directly in {here / 'flat'}: put them into one folder a class" in err
    assert not (here / "runs" / "folder_v2").exists()


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        ("epochs=3", ("train", "stages", 0, "duration"), "1 epochs"),
        ("train.epochs=3", ("train", "stages", 1, "duration"), "2 epochs"),
        ("epochs=1", ("train", "stages", 1, "duration"), "0.75 epochs"),
        ("epochs=40", ("train", "schedule", "warmup"), "1 epochs"),
        ("lr=0.1", ("train", "stages", 0, "learning_rate"), 0.1),
        ("train.lr=0.1", ("train", "stages", 1, "learning_rate"), 0.03),
        ("batch=4", ("train", "batch_size"), 4),
        ("imgsz=96", ("model", "input_size"), [96, 96]),
        ("size=96x128", ("model", "input_size"), [96, 128]),
        ("model.input_size=96", ("model", "input_size"), [96, 96]),
        ("backbone=mobilenet_v1", ("model", "backbone"), "mobilenet_v1"),
    ],
)
def test_what_everybody_reaches_for_has_a_short_name(overrides, key, value):
    found = config.load("folder_v2", ["data.root=P", *overrides.split()]).to_dict()
    for part in key:
        found = found[part]
    assert found == value


@pytest.mark.parametrize(
    ("lengths", "total", "expected"),
    [([5, 15], 3, [1, 2]), ([1, 100], 10, [1, 9]), ([0, 10], 4, [0, 4]), ([1, 1, 1], 7, None), ([5, 15], 2, [1, 1])],
)
def test_stages_share_their_epochs(lengths, total, expected):
    found = shares(lengths, total)
    assert sum(found) == total and found == (expected or found)
    assert all(
        length == int(length) and (length > 0) == (given > 0) for length, given in zip(found, lengths, strict=True)
    )


def test_epochs_are_told_and_the_data_stay_where_they_are(here, capsys, trained):
    assert "epochs=3: 1 epochs + 2 epochs\n" in call(capsys, "train", "folder_v2", "root=P", "epochs=3")[1]
    ((cfg, folder),) = trained
    assert cfg.data.root == here / "P" and str(folder) == "runs/folder_v2"


def test_finished_runs_are_numbered(tmp_path):
    run = RunFolder(tmp_path / "run")
    assert run.unfinished() == run
    for folder in (run.path, tmp_path / "run-2"):
        folder.mkdir()
        (folder / "model.keras").touch()
    assert run.unfinished().path == tmp_path / "run-3"


@pytest.mark.parametrize("name", sorted(config.shipped()))
def test_any_shipped_config_is_shown(name, capsys):
    code, out, _ = call(capsys, "configs", "show", name)
    values = yaml.safe_load(out)
    is_marked = "root: null  # required: data.root=PATH" in out
    assert (
        code == 0
        and values["task"]
        and is_marked == (values["data"]["root"] is None and values["data"]["reader"] not in ("tfds", "scenes"))
    )


@pytest.mark.parametrize("task", config.tasks())
def test_every_key_is_listed(task, capsys):
    rows = json.loads(call(capsys, "configs", "keys", task, "--json")[1])
    assert all(row["key"] and row["values"] and row["default"] for row in rows)
    described = {row["key"]: row["description"] for row in rows}
    assert described["train.stages.N.learning_rate"].startswith("The learning rate")
    table = call(capsys, "configs", "keys", task)[1].splitlines()
    assert table[0] == "key\tvalues\tdefault\tdescription" and len(table) == len(rows) + 1


def test_versions_and_help(capsys):
    code, out, _ = call(capsys, "--version")
    assert code == 0 and all(name in out for name in ("mobilenet-tf 0", "TensorFlow 2", "Keras 3", "LiteRT 2"))
    for arguments in (["-h"], ["train", "-h"], ["configs", "show", "-h"]):
        code, out, _ = call(capsys, *arguments)
        assert code == 0 and out.startswith("Usage: mobilenet-tf")


def test_a_shell_completes_commands_and_configs():
    for words, expected in (("mobilenet-tf eval", "evaluate"), ("mobilenet-tf train folder", "folder_v2")):
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" ")), "_MOBILENET_TF_COMPLETE": "complete_bash"}
        command = [sys.executable, "-m", "mobilenet_tf"]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **asked})
        assert done.stdout.split() == [expected], done.stderr


def test_doctor_keeps_its_brackets(capsys, monkeypatch):
    monkeypatch.setattr("mobilenet_tf.doctor._version", lambda package: None)
    out = call(capsys, "doctor")[1]
    assert 'torch\tmissing: pip install "mobilenet-tf[torch]"\n' in out


def test_check_data_reads_the_images_of_a_task_without_annotations(here, capsys):
    for index in range(10):
        Image.new("RGB", (8, 8), (0, index * 20, 0)).save(here / "P" / "cat" / f"more{index}.jpg")
        Image.new("RGB", (9, 8), (0, 0, index * 20)).save(here / "P" / "dog" / f"more{index}.jpg")
    (here / "P" / "cat" / "broken.jpg").touch()
    arguments = ("folder_v2", "data.root=P", "model.input_size=32", "--folder", here / "out")
    result = json.loads(call(capsys, "check-data", *arguments, "--json")[1])
    assert sum(found["images"] for found in result["splits"].values()) == 24
    assert {name for found in result["splits"].values() for name in found["unreadable"]} == {"P/cat/broken.jpg"}
    assert result["splits"]["train"]["largest"] == [8, 9] and len(result["files"]) == 1


def test_videos_are_one_line(here):
    from mobilenet_tf.prediction import find_images

    with pytest.raises(UserError, match=r"no videos: write the frames as images first.*Received: clip\.mp4"):
        find_images(["P", "clip.mp4"])


def test_a_set_that_cannot_be_downloaded_is_one_line(tmp_path, monkeypatch):
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    from mobilenet_tf.data.tfds import builder

    def offline(self, url=None):
        assert downloader.MAX_RETRIES == 1
        raise requests.ConnectionError("no network", request=requests.Request("GET", "http://images.example/a.tar"))

    retries = downloader.MAX_RETRIES
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", offline)
    with pytest.raises(UserError, match=r"images\.example cannot be reached: copy .*stanford_dogs from a machine"):
        builder("stanford_dogs", tmp_path)
    assert retries == downloader.MAX_RETRIES
