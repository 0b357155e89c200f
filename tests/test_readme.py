"""The README's programs for small devices, word for word, and `predict`: the evaluation's answers, no TensorFlow."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from command import predict_without_tensorflow
from PIL import Image
from untrained import evened, lively

from mobilenet_tf import config, workflow
from mobilenet_tf.config import Rendering
from mobilenet_tf.data import images, transforms
from mobilenet_tf.export.convert import export
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import keras_predictor, load_predictor

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py).*?\n(.*?)```", README, re.DOTALL))
BLOCKED = "import sys\nfor name in ('tensorflow', 'keras', 'mobilenet_tf'):\n    sys.modules[name] = None\n"


@pytest.fixture
def device(tmp_path):
    """run(program, *arguments) -> its lines, where neither TensorFlow nor this package can be imported."""
    pytest.importorskip("ai_edge_litert")
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "sitecustomize.py").write_text(BLOCKED)

    def run(program, *arguments):
        command = [sys.executable, tmp_path / program, *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)}
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def exported(task_name, path, overrides=(), evening=None, classes=("a", "b", "c", "d")):
    """A small untrained network, exported: (config, task, the model, path)."""
    values = {
        "task": task_name,
        "model": {"alpha": 0.35, "input_size": [64, 96], "weights": None},
        "data": {"reader": "scenes"},
        "train": {"stages": [{"duration": 1, "learning_rate": 0.01}]},
    }
    cfg = config.override(values, overrides, "small")
    task = workflow.find_task(task_name)
    source = type("Named", (), {"classes": list(classes)})
    model = lively(task(cfg).model(source))
    if evening is not None:
        model = evened(model, evening)
    metadata = Metadata(task_name, list(classes), (64, 96), config=cfg.to_dict(), outputs=cfg.export.outputs)
    model = task(cfg).serving_model(model)
    return cfg, task, model, export(model, path / "model.tflite", "tflite", metadata=metadata)


def check_predict(cfg, task, model, path, photograph):
    """Without TensorFlow the exported file gives the row that the network gives in the evaluation."""
    wanted_row = network_row(cfg, task, model, path, photograph)
    [row] = predict_without_tensorflow(path, photograph)
    for key, wanted in wanted_row.items():
        text, wanted = (re.split(r"(\d+\.?\d*)", str(value)) for value in (row[key], wanted))
        assert text[::2] == wanted[::2], key
        assert list(map(float, text[1::2])) == pytest.approx(list(map(float, wanted[1::2])), abs=2e-3), key


def network_row(cfg, task, model, path, photograph) -> dict:
    """What the network says of the photograph in the evaluation, as a row of predict."""
    image, metadata = images.read(photograph), replace(artifact.read(path), config=cfg.to_dict())
    inputs = task(cfg).transform(training=False)({"image": image})["image"][None].numpy()
    [ours] = task(cfg).decode(keras_predictor(model, metadata)(inputs), np.array([image.shape[:2]]))
    return task(cfg).to_row(task(cfg).compare(ours, ours), metadata.classes)


@pytest.fixture
def photograph(real_data):
    return sorted((real_data / "coco_mini" / "val2017").glob("*.jpg"))[3]


@pytest.mark.real_data
def test_pictures_are_seen_as_in_the_evaluation(photograph, tmp_path):
    namespace = {}
    text = "from PIL import Image, ImageOps\n\n\n" + PROGRAMS["lite.py"][PROGRAMS["lite.py"].index("def open_image") :]
    exec(text, namespace)
    picture = namespace["open_image"](photograph, {"config": {"data": {}}})
    image = images.read(photograph)
    assert np.abs(np.asarray(picture).astype(int) - image).max() <= 1
    for mode, background in (("RGBA", "black"), ("LA", "#0000ff"), ("P", "white")):
        cut_out = picture.convert("RGBA")
        cut_out.putalpha(picture.convert("L"))
        cut_out = cut_out.quantize(16) if mode == "P" else cut_out.convert(mode)
        cut_out.save(tmp_path / "cut_out.png")
        shown = namespace["open_image"](tmp_path / "cut_out.png", {"config": {"data": {"background": background}}})
        expected = images.read(tmp_path / "cut_out.png", Rendering(background))
        np.testing.assert_array_equal(np.asarray(shown), expected)
    for size, crop in product(((96, 128), (320, 320), (300, 500)), (None, 0.875)):
        wanted = transforms.resize(size, crop)({"image": image})["image"].numpy()
        got = np.asarray(namespace["resize"](picture, size[::-1], crop))
        assert np.abs(got - wanted).max() <= 1.01, (size, crop)


@pytest.mark.slow
@pytest.mark.real_data
def test_classify(device, photograph, tmp_path):
    *found, path = exported("classification", tmp_path)
    check_predict(*found, path, photograph)
    lines = device("classify.py", path, photograph)
    [row] = workflow.predict_files(path, [str(photograph)])
    ours = dict(entry.rsplit(" ", 1) for entry in row["top5"].split(", "))
    theirs = dict(line.split(": ") for line in lines)
    assert list(theirs) == list(ours)
    assert [float(score) for score in theirs.values()] == pytest.approx([float(v) for v in ours.values()], abs=0.03)


@pytest.mark.slow
@pytest.mark.real_data
def test_detect(device, photograph, tmp_path):
    *found, path = exported("detection", tmp_path, ["export.outputs=detections", "model.scores=sigmoid"])
    [row] = predict_without_tensorflow(path, photograph)
    ours = listed(row)
    assert len(ours) > 3
    assert alike(ours, listed(network_row(*found, path, photograph)), score=0.02, pixels=2) > 0.9  # near ties may turn
    theirs = []
    for line in device("detect.py", path, photograph):
        name, value, *corners = line.replace(":", "").replace(" at", "").split()
        theirs.append((name, float(value), np.array(corners, float)))
    assert alike(ours, theirs, score=0.05, pixels=8) > 0.8, "near a threshold they may differ"


def listed(row) -> list[tuple[str, float, np.ndarray]]:
    """(class, score, corners) of the objects in a row of predict."""
    entries = zip(row["objects"].split(", "), row["boxes"].split("; "), strict=True)
    return [
        (name, float(value), np.array(box.split(), float))
        for (name, value), box in ((entry.rsplit(" ", 1), box) for entry, box in entries)
    ]


def alike(some, others, score, pixels) -> float:
    """The share of detections that both lists have, in whatever order."""
    same = sum(
        any(
            name == label and abs(mine - value) < score and np.abs(own - box).max() < pixels
            for label, value, box in others
        )
        for name, mine, own in some
    )
    return same / max(len(some), len(others))


@pytest.mark.slow
@pytest.mark.real_data
def test_segment(device, photograph, tmp_path):
    image = images.read(photograph)
    seen = transforms.resize((64, 96))({"image": image})["image"][None]
    cfg, task, model, path = exported("segmentation", tmp_path, ["model.head=lraspp"], seen)
    check_predict(cfg, task, model, path, photograph)
    metadata = artifact.read(path)
    for resize in ("stretch", "letterbox", "pad"):
        cfg = config.override(cfg.to_dict(), [f"data.resize={resize}"], resize)
        artifact.write(path, replace(metadata, config=cfg.to_dict()))
        lines = device("segment.py", path, photograph, tmp_path / "mask.png")
        mask = np.asarray(Image.open(tmp_path / "mask.png"))
        inputs = task(cfg).transform(training=False)({"image": image})["image"][None].numpy()
        [ours] = task(cfg).decode(load_predictor(path)(inputs), np.array([image.shape[:2]]))
        assert mask.shape == image.shape[:2] and (mask == ours["mask"]).mean() > 0.9, resize
        assert len(np.unique(mask)) > 1
        assert sum(float(line.split(": ")[1]) for line in lines) == pytest.approx(1, abs=0.01)


@pytest.mark.slow
@pytest.mark.real_data
def test_attributes(device, photograph, tmp_path):
    thresholds = [0.2, 0.4, 0.6, 0.8]
    cfg, task, model, path = exported("attributes", tmp_path, [f"thresholds={thresholds}", "data.augment.flip=false"])
    check_predict(cfg, task, model, path, photograph)
    inputs = task(cfg).transform(training=False)({"image": images.read(photograph)})["image"][None].numpy()
    [ours] = task(cfg).decode(load_predictor(path)(inputs), np.array([[64, 96]]))
    for line, name, score, present in zip(
        device("attributes.py", path, photograph), "abcd", ours["probabilities"], ours["present"], strict=True
    ):
        shown = line.replace(":", "").split()
        assert shown[0] == name and float(shown[1]) == pytest.approx(score, abs=0.03)
        assert shown[2] == ("yes" if present else "no")


@pytest.mark.slow
@pytest.mark.real_data
def test_compare(device, photograph, tmp_path):
    cfg, task, model, path = exported("embedding", tmp_path, ["verification.threshold=0.25"])
    check_predict(cfg, task, model, path, photograph)
    others = sorted(photograph.parent.glob("*.jpg"))[:3]
    seen = [task(cfg).transform(training=False)({"image": images.read(p)})["image"] for p in (photograph, *others)]
    vectors = np.asarray(load_predictor(path)(np.stack(seen)))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    for other, vector in zip(others, vectors[1:], strict=True):
        [line] = device("compare.py", path, photograph, other)
        assert float(line.split(": ")[1].split(",")[0]) == pytest.approx(vectors[0] @ vector, abs=0.02)
        assert line.endswith("threshold: 0.25")
