"""What cannot be read is said with the scores, and what the data are before they are used."""

import os

import keras
import numpy as np
import pytest
from command import call
from PIL import Image
from sections import reader_of

from mobilenet_tf.data import transforms
from mobilenet_tf.data.skipped import skipped_line
from mobilenet_tf.data.source import evaluation_batches, file_source
from mobilenet_tf.task import as_text
from mobilenet_tf.tasks.detection.metric import DetectionMetric

CONFIG = """
task: classification
model: {{backbone: mobilenet_v1, alpha: 0.25, input_size: [32, 32], weights: null}}
data: {{reader: folder, root: "{root}"}}
train: {{stages: [{{train: all, duration: 1 steps, learning_rate: 0.01}}]}}
"""


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def read(source):
    return [
        as_text(name)
        for batch in evaluation_batches(source, transforms.resize(8), batch_size=4)
        for name in batch["id"]
    ]


def test_what_was_skipped_is_counted_by_class(tmp_path):
    paths = [image(tmp_path / f"{i}.png") for i in range(6)]
    for path in paths[3:]:
        path.write_bytes(b"\0\0\0\x18ftypxxxx")
    source = file_source(paths, {"label": np.array([0, 0, 1, 1, 2, 2], np.int32)}, ["a", "b", "c"])
    assert skipped_line(source) is None
    read(source)
    line = skipped_line(source)
    assert line and line.startswith("3 of 6 images cannot be read and are skipped (c 2 of 2, b 1 of 2), such as ")
    assert line.endswith(f"{paths[3]}: {source.corrupt[str(paths[3])]}")
    without = file_source(paths, {}, ["a", "b"])
    read(without)
    assert str(skipped_line(without)).startswith("3 of 6 images cannot be read and are skipped, such as ")


def test_files_with_names_of_any_bytes_are_read_and_named(tmp_path):
    paths = [image(tmp_path / os.fsdecode(name)) for name in (b"caf\xe9.png", "é[x].png".encode(), b"plain.png")]
    source = file_source(paths, {}, ["a", "b"])
    assert read(source) == [str(path) for path in paths]
    paths[0].write_bytes(b"")
    read(source)
    assert "caf\\udce9.png: the file is empty" in str(skipped_line(source))


@pytest.fixture
def model(tmp_path):
    """A model file without metadata, its config, and a test split of which a half cannot be read."""
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        for i in range(3):
            image(tmp_path / "data" / name / f"{i}.png")
    for i in range(3):
        (tmp_path / "data" / "test" / "dog" / f"{i}.png").write_bytes(b"nothing")
    (tmp_path / "data" / "test" / "dog" / "video.mp4").write_bytes(b"")
    (tmp_path / "config.yaml").write_text(CONFIG.format(root=tmp_path / "data"))
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(inputs))
    keras.Model(inputs, outputs).save(tmp_path / "model.keras")
    return tmp_path


@pytest.mark.filterwarnings("ignore:all images get the same output")
def test_evaluate_says_what_the_data_are_and_what_it_skipped(model, capsys):
    arguments = ["evaluate", model / "model.keras", "--config", model / "config.yaml", "--json"]
    with pytest.warns(UserWarning) as said:
        code, out, err = call(capsys, *arguments)
    lines = [str(warning.message) for warning in said]
    assert code == 0 and out.startswith("{") and '"count": 3' in out
    assert (
        "train: 4 images (cat 2, dog 2)\nvalidation (drawn): 2 images (cat 1, dog 1)\ntest: 6 images (cat 3, dog 3)"
        in err
    )
    assert any("left out beside 12 images are .mp4 files: 1" in line for line in lines)
    assert any(
        "the test split: 3 of 6 images cannot be read and are skipped (dog 3 of 3), such as" in line for line in lines
    )


def test_boxes_of_files_with_names_of_any_bytes_are_read_and_scored(tmp_path):
    for i in range(2):
        path = image(tmp_path / "images" / os.fsdecode(b"caf\xe9%d.png" % i))
        (tmp_path / "labels").mkdir(exist_ok=True)
        (tmp_path / "labels" / f"{path.stem}.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [a]\n")
    source = reader_of("detection")("yolo", tmp_path / "data.yaml", "validation")
    metric = DetectionMetric(source.classes, source.ground_truth)
    found = {"boxes": np.float32([[0.25, 0.25, 0.75, 0.75]]), "scores": np.float32([0.9]), "labels": np.int32([0])}
    for batch in evaluation_batches(source, transforms.resize(8), batch_size=1):
        metric.update(
            {key: value[0].numpy() for key, value in batch.items()}, found | {"labels": np.array([0], np.int32)}
        )
    assert metric.result()["AP"] == pytest.approx(1.0) and metric.result()["count"] == 2
