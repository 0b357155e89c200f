"""Files of earlier versions open in this one, and give the same outputs as they did (built by stored/build.py)."""

import json
import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import yaml
from gradient import picture
from PIL import Image

from mobilenet_tf import config, migrations, workflow
from mobilenet_tf.inference.predict import load_predictor

ARCHIVES = sorted((Path(__file__).parents[1] / "stored").glob("*.zip"))
ONE_STEP = "train.stages=[{train: all, duration: 1 step, learning_rate: 0.001}]"


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.stem)
def stored(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param.stem)
    zipfile.ZipFile(request.param).extractall(folder)
    return folder


def expected(stored: Path) -> dict:
    return json.loads((stored / "expected.json").read_text())


@pytest.mark.slow
def test_they_give_the_same_outputs(stored):
    for name, then in expected(stored).items():
        cfg = workflow.open_config(stored / name)
        image = workflow.find_inference(cfg.task)(cfg).preprocess(picture())
        raw = load_predictor(stored / name)(image[None])
        raw = raw if isinstance(raw, dict) else {"output": raw}
        assert raw.keys() == then["answers"].keys(), name
        for key, value in then["answers"].items():
            value = np.array(value)
            assert raw[key].shape == value.shape and np.isfinite(raw[key]).all(), name
            if "int8" not in name:  # whose rounding is the kernels' affair, and much in networks that hardly learned
                step = 1e-3 * np.abs(value).max() + 1e-4
                got, wanted = raw[key], value
                if key.startswith("detection_"):  # of equal scores any may come first
                    got, wanted = np.sort(got, axis=None), np.sort(wanted, axis=None)
                np.testing.assert_allclose(got, wanted, atol=step, err_msg=f"{name} {key}")


@pytest.mark.slow
def test_they_are_scored_as_they_were(stored):
    for name, then in expected(stored).items():
        now = workflow.evaluate_model(stored / name)
        assert now.keys() == then["metrics"].keys(), name
        if "int8" not in name and "log_loss" in now:
            assert now["log_loss"] == pytest.approx(then["metrics"]["log_loss"], abs=1e-3), name
        assert now["count"] == then["metrics"]["count"], name


@pytest.mark.slow
def test_they_are_inspected(stored):
    for name in expected(stored):
        inspection = workflow.inspect_model(stored / name)
        assert inspection.metadata.config["task"] == inspection.metadata.task
        assert inspection.outputs, name


@pytest.mark.slow
def test_they_predict(stored, tmp_path):
    Image.fromarray(picture()).save(tmp_path / "picture.png")
    for name in expected(stored):
        [row] = workflow.predict_files(stored / name, [str(tmp_path / "picture.png")])
        assert "error" not in row and len(row) > 1, name


@pytest.mark.slow
def test_they_are_exported_again(stored, tmp_path):
    [result] = workflow.export_run(stored / "classification", ["tflite"], folder=tmp_path)
    assert result.parity.max_diff < 1e-4


def train(stored, tmp_path, *overrides):
    plain = ["model.backbone=mobilenet_v1", "model.alpha=0.05", "model.input_size=[32, 32]", ONE_STEP]
    small = ["data.counts={train: 32, validation: 16, test: 16}", "train.batch_size=16"]
    return workflow.train_run("demo", [*plain, *small, *overrides], tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("key", ["model.weights", "distill.teacher", "train.network"])
def test_training_starts_from_them(stored, tmp_path, key):
    run = train(stored, tmp_path, f"{key}={stored / 'classification' / 'model.keras'}")
    assert np.isfinite(run.metrics["log_loss"])


@pytest.mark.slow
def test_an_interrupted_run_goes_on(stored, tmp_path, capsys):
    values = yaml.safe_load((stored / "interrupted" / "config.yaml").read_text())
    cfg = config.override(values, [], "stored")
    from mobilenet_tf.training.train import train

    train(workflow.find_task(cfg.task), cfg, stored / "interrupted")
    rows = (stored / "interrupted" / "log.csv").read_text().splitlines()
    assert len(rows) == 5  # the header, one epoch of the head, three of all


@pytest.mark.slow
def test_training_resumes_from_a_stored_checkpoint(stored, tmp_path):
    with zipfile.ZipFile(ARCHIVES[0]) as file:  # as it was, whatever other tests made of the folder
        file.extractall(tmp_path)
    stages = yaml.safe_load((tmp_path / "interrupted" / "config.yaml").read_text())["train"]["stages"]
    run = train(stored, tmp_path, f"train.resume={tmp_path / 'interrupted'}", "train.ema=0.9",
                f"train.stages={json.dumps(stages)}")  # fmt: skip
    assert len((run.folder / "log.csv").read_text().splitlines()) == 5


def test_configs_carry_the_number_of_their_schema(tmp_path):
    cfg = config.load("demo")
    assert cfg.to_dict()["schema"] == migrations.SCHEMA
    cfg.save(tmp_path / "config.yaml")
    assert config.load(tmp_path / "config.yaml") == cfg


@pytest.mark.parametrize("number", [0, migrations.SCHEMA + 1, "two"])
def test_a_schema_of_another_version_is_one_line(number):
    with pytest.raises(Exception, match="schema must be a whole number from 1 to"):
        config.override({**config.load("demo").to_dict(), "schema": number}, [], "config.yaml")


@pytest.fixture
def renamed(monkeypatch):
    rows = (
        migrations.Rename(2, "train.ema_decay", "train.ema"),
        migrations.Rename(2, "model.net", "model.backbone", {"v1": "mobilenet_v1"}),
        migrations.Rename(2, "data.reader", "data.reader", {"drawn": "scenes"}, task="classification"),
    )
    monkeypatch.setattr(migrations, "RENAMES", rows)
    monkeypatch.setattr(migrations, "SCHEMA", 2)


def old_values() -> dict:
    values = config.load("demo").to_dict()
    values["schema"] = 1
    values["train"]["ema_decay"] = values["train"].pop("ema")
    values["model"].pop("backbone")
    return {**values, "model": {**values["model"], "net": "v1"}, "data": {**values["data"], "reader": "drawn"}}


def test_renamed_keys_and_values_are_read(renamed):
    cfg = config.override(old_values(), [], "stored")
    assert (cfg.model.backbone, cfg.data.reader, cfg.train.ema) == ("mobilenet_v1", "scenes", None)
    assert old_values()["train"].keys() >= {"ema_decay"}  # what was handed in stays as it is


def test_overrides_may_use_old_names(renamed):
    with pytest.warns(UserWarning, match="write train.ema_decay as train.ema"):
        assert config.load("demo", ["train={stages: [{learning_rate: 1}], ema_decay: 0.5}"]).train.ema == 0.5
    assert config.load("demo", ["train.ema_decay=0.5"]).train.ema == 0.5
    assert config.load("demo", ["train.ema=0.9", "train.ema_decay=0.5"]).train.ema == 0.5
    assert config.load("demo", ["data.reader=drawn"]).data.reader == "scenes"


def test_a_key_by_both_names_is_refused(renamed):
    values = old_values()
    values["train"]["ema"] = 0.5
    with pytest.raises(Exception, match="train.ema_decay is the old name of train.ema"):
        config.override(values, [], "stored")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("ssdlite_scenes", "pad", "letterbox"),
        ("ssdlite_scenes", "stretch", "stretch"),
        ("lraspp_scenes", "fit", "letterbox"),
        ("lraspp_scenes", "pad", "pad"),
    ],
)
def test_ways_to_resize_are_read_by_their_old_names(name, old, new, tmp_path):
    values = config.load(name).to_dict()
    values |= {"schema": 1, "data": {**values["data"], "resize": old}}
    assert config.override(values, [], "stored").data.resize == new
    values.pop("schema")  # as a user wrote it
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    with pytest.warns(UserWarning, match=f"write data.resize as {old} as {new}") if old != new else nullcontext():
        assert config.load(tmp_path / "mine.yaml").data.resize == new
    with pytest.warns(UserWarning, match="override: write data.resize") if old != new else nullcontext():
        assert config.load(name, [f"data.resize={old}"]).data.resize == new


def test_shipped_configs_use_the_names_of_today():
    for name, path in config.shipped().items():
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert migrations.migrate(values, name) == values, name
