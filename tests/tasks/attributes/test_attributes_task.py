"""Attributes through the harness: configs, cost, training with unknown labels, thresholds that travel, exports."""

import csv
import json

import numpy as np
import pytest
import yaml
from conftest import shortened
from learned import told_apart
from PIL import Image

from mobilenet_tf import config, workflow
from mobilenet_tf.analysis import cost
from mobilenet_tf.data import scenes
from mobilenet_tf.export import verification
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import keras_predictor, load_keras, load_predictor
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.tasks.attributes.inference import agreement
from mobilenet_tf.tasks.attributes.task import task
from mobilenet_tf.training.evaluate import evaluation_inputs
from mobilenet_tf.training.train import train
from mobilenet_tf.utils.errors import UserError

SWEEP = "face_attributes_mobilenet_v1_"
NAMES = [name for name, path in config.shipped().items() if path.parent.name == "attributes"]
KEPT = ["snow", "night", "indoors"]
BASE = {
    "task": "attributes",
    "model": {"backbone": "mobilenet_v1", "alpha": 0.25, "input_size": [32, 32], "weights": None, "dropout": 0.1},
    "data": {"reader": "scenes", "attributes": KEPT, "counts": {"train": 32, "validation": 32, "test": 16}},
    "train": {
        "batch_size": 16,
        "stages": [{"duration": 8, "learning_rate": 0.003}],
        "optimizer": {"name": "adamw"},
        "evaluate_every": 8,
    },
    "export": {"calibration_samples": 16, "parity_samples": 16, "max_drop": 1.0},
}

# --- configs ---


@pytest.mark.parametrize("name", NAMES)
def test_shipped_configs_load_and_say_how_to_run_them(name):
    text = config.find(name).read_text()
    cfg = config.load(name, ["data.root=."])
    assert cfg.task == "attributes" and f"mobilenet-tf train {name}" in text
    assert ("data.root=" in text) == (cfg.data.reader != "scenes")


@pytest.mark.parametrize(
    "name, mult_adds, parameters",
    [("100_224", 568, 3.2), ("050_224", 149, 0.8), ("025_224", 41, 0.2)]
    + [("100_128", 185, 3.2), ("050_128", 48, 0.8), ("025_128", 13, 0.2)],
)
def test_the_sweep_has_the_cost_of_the_paper(name, mult_adds, parameters):
    """arXiv:1704.04861, Table 12; at a quarter of the width its Table 6, whose 41 M at 224 are 45 M in Table 12."""
    cfg = config.load(SWEEP + name, ["data.root=."])
    model = classifier(cfg.model.backbone, 40, alpha=cfg.model.alpha, input_size=cfg.model.input_size)
    found = cost.cost(model, cfg.model.input_size)
    assert found.mult_adds / 1e6 == pytest.approx(mult_adds, abs=0.75)
    assert found.trainable / 1e6 == pytest.approx(parameters, abs=0.06)


@pytest.mark.parametrize(
    "change, message",
    [
        ("data.reader=celeba", "data.root must be set for data.reader=celeba"),
        ("data.attributes=null", "data.augment.flip must be false for the attribute facing_left"),
        ("loss={name: focal, margin: 0.1}", "unknown key loss.margin"),
        ("loss={positive_weights: [1, 2]}", "loss must have a key 'name'"),
        ("loss={name: cross_entropy, positive_weights: [0]}", "loss.positive_weights"),
        ("calibrate_thresholds=accuracy", "calibrate_thresholds must be 'f1' or 'balanced_accuracy'"),
        ("thresholds=[2]", "thresholds.0 must be less than or equal to 1"),
    ],
)
def test_mistakes_are_one_line(change, message):
    with pytest.raises(UserError, match=message) as error:
        config.override(BASE, [change], "test")
    assert "\n" not in str(error.value)


# --- training ---


def test_labels_weigh_what_the_config_says():
    balanced = config.override(BASE, ["loss={name: cross_entropy, positive_weights: balanced}"], "test")
    source = task(balanced).source("train")
    batch = {"image": np.zeros((2, 32, 32, 3)), "attributes": np.array([[1, 0, -1], [1, 1, 1]], np.float32)}
    _, targets = task(balanced).encode(source)(batch)
    labels = np.stack([source.load(item)["attributes"] for item in source.items])
    ratio = (1 - labels).sum(0) / labels.sum(0)
    np.testing.assert_allclose(targets["weights"], [[ratio[0], 1, 1], ratio], rtol=1e-6)
    _, targets = task(config.override(BASE, [], "test")).encode(source)(batch)
    np.testing.assert_array_equal(targets["weights"], np.ones((2, 3)))
    given = config.override(BASE, ["loss={name: cross_entropy, positive_weights: [2, 2]}"], "test")
    with pytest.raises(
        UserError, match="positive_weights must have one number for each of the 3 attributes. Received: 2"
    ):
        task(given).encode(source)


def listing(folder, count, labelled):
    """A CSV file of scenes, the first `labelled` of them with labels."""
    lines = [f"path,{','.join(KEPT)}"]
    for index in range(count):
        scene = scenes.render(1, index, 32)
        Image.fromarray(scene["image"]).save(folder / f"{index}.png")
        known = [int(scene["attributes"][scenes.ATTRIBUTES.index(name)]) for name in KEPT]
        lines.append(f"{index}.png," + (",".join(map(str, known)) if index < labelled else "," * (len(KEPT) - 1)))
    (folder / "labels.csv").write_text("\n".join(lines))
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on scenes, of a network of few rows: int8 ruins deep ones that are hardly trained."""
    with shortened():
        folder = train(task, config.override(BASE, [], "test"), tmp_path_factory.mktemp("runs") / "attributes").folder
    told_apart(load_predictor(folder), scene_inputs(folder, "test", 16))
    return folder


def scene_inputs(folder, split, count):
    """Images of a run's split, as its network takes them."""
    cfg = workflow.open_config(folder)
    return np.concatenate(evaluation_inputs(task(cfg), task(cfg).source(split), count))


@pytest.mark.slow
def test_a_run_tunes_its_thresholds_and_every_file_has_them(run):
    stored = yaml.safe_load((run / "config.yaml").read_text())
    assert len(stored["thresholds"]) == 3 and stored["thresholds"] != [0.5] * 3
    assert artifact.read(run).config == stored
    with open(run / "plots" / "per_attribute.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["threshold"]) for row in rows] == pytest.approx(stored["thresholds"])
    numbers = json.loads((run / "metrics.json").read_text())["validation"]
    assert numbers["f1"] == pytest.approx(np.mean([float(row["f1"]) for row in rows]))
    assert workflow.evaluate_model(run, split="validation") == pytest.approx(numbers, abs=1e-6)
    fixed = workflow.evaluate_model(run, split="validation", overrides=["thresholds=[0.5, 0.5, 0.5]"])
    assert fixed["mean_ap"] == pytest.approx(numbers["mean_ap"]) and fixed["f1"] <= numbers["f1"]


def test_given_thresholds_stay():
    cfg = config.override(BASE, ["thresholds=[0.1, 0.2, 0.3]"], "test")
    metric = task(cfg).metric(task(cfg).source("test"))
    assert task(cfg).calibrate_thresholds(metric) is cfg and metric.thresholds == [0.1, 0.2, 0.3]
    cfg = config.override(BASE, ["calibrate_thresholds=null"], "test")
    assert task(cfg).calibrate_thresholds(metric).thresholds is None


@pytest.mark.slow
def test_exports_say_what_the_model_says(run, tmp_path):
    results = workflow.export_run(run, ["tflite_int8", "onnx"], folder=tmp_path)
    assert [result.monitor[0] for result in results] == ["mean_ap"] * 2
    int8, onnx = results
    assert onnx.parity.max_diff < 1e-4 and onnx.parity.agreement > 0.9 and abs(onnx.drop) < 0.05
    assert int8.candidate["count"] == onnx.candidate["count"] == 32
    images = scene_inputs(run, "test", 16)
    model = keras_predictor(load_keras(run / "model.keras"))  # that ends in logits
    said = probability(model(images))
    off = np.abs(probability(load_predictor(tmp_path / "model_int8.tflite")(images)) - said).mean()
    assert off < 0.5 * np.abs(said - said.mean(0)).mean(), "the best that says the same of all pictures would be 1"
    file = load_predictor(tmp_path / "model.onnx")
    assert (
        file.metadata.outputs == "sigmoid"
        and file.metadata.config["thresholds"] == workflow.open_config(run).thresholds
    )
    ended = file.run(images[:1])["sigmoid"]
    assert ((ended > 0) & (ended < 1)).all()
    lost = 1e-6 / (said * (1 - said))  # of logits, where probabilities near 0 or 1 are rounded
    assert (np.abs(file(images) - model(images)) < 1e-3 + lost).all()
    assert verification.check_parity(model, file, images).max_diff < 1e-4


def probability(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def test_agreement_is_counted_by_attribute():
    first, second = task(config.override(BASE, [], "test")).decode(np.array([[1.0, -1, 3], [1, 1, 3]]), None)
    assert agreement(first, second) == pytest.approx(2 / 3) and agreement(first, first) == 1


def test_predictions_name_what_is_present(run, tmp_path):
    listing(tmp_path, 3, 3)
    rows = workflow.predict_files(run, [str(tmp_path)], pictures=tmp_path / "drawn")
    assert len(rows) == 3 and all(row["count"] == row["attributes"].count(".") for row in rows)
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 3
    cfg = workflow.open_config(run)
    inputs = np.stack([task(cfg).transform(training=False)({"image": scenes.render(1, 0, 32)["image"]})["image"]])
    chances = task(cfg).decode(load_predictor(run)(inputs), None)[0]["probabilities"]
    expected = [f"{n} {p:.3f}" for n, p, t in zip(KEPT, chances, cfg.thresholds, strict=True) if p >= np.float32(t)]
    assert set(rows[0]["attributes"].split(", ")) - {""} == set(expected)


@pytest.mark.slow
def test_a_teacher_teaches_from_unlabelled_pictures_alone(run, tmp_path):
    """Half of the listed pictures have no label; with distill.weight=1 no label is used at all."""
    path = listing(tmp_path, 40, 20)
    load_keras(run / "model.keras").get_layer("backbone").save(tmp_path / "backbone.keras")
    stage = "train.stages=[{train: head, augment: false, duration: 30, learning_rate: 0.03}]"
    data = f"data={{reader: csv, root: {path}, validation_fraction: 0.5}}"
    teach = [f"distill.teacher={run}", "distill.weight=1", "model.dropout=0", "train.evaluate_every=30"]
    teach += [f"model.weights={tmp_path / 'backbone.keras'}"]  # to a head on a random one all pictures look alike
    cfg = config.override(BASE, [data, stage, *teach], "test")
    source = task(cfg).source("train")
    images = np.concatenate(evaluation_inputs(task(cfg), source, 40))
    with shortened():
        models = load_keras(run / "model.keras"), task(cfg).model(source), train(task, cfg, tmp_path / "run").model
    teacher, fresh, taught = (probability(keras_predictor(model)(images)) for model in models)
    off, alike = np.abs(taught - teacher).mean(), np.abs(teacher.mean(0) - teacher).mean()
    assert off < 0.5 * min(np.abs(fresh - teacher).mean(), alike), "more than the teacher's mean answer was learned"


@pytest.mark.slow
def test_unknown_labels_train_beside_known_ones(tmp_path):
    path = listing(tmp_path, 30, 20)
    overrides = [f"data={{reader: csv, root: {path}, validation_fraction: 0.4}}", "train.stages.0.duration=1"]
    cfg = config.override(BASE, [*overrides, "loss={name: asymmetric}", "train.evaluate_every=1"], "test")
    found = train(task, cfg, tmp_path / "run")
    assert np.isfinite(found.metrics["mean_ap"]) and found.metrics["count"] == 8
    assert all(np.isfinite(value).all() for value in found.model.get_weights())
