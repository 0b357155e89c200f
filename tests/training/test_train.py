"""The training loop: what a run leaves, exact resume, early stopping, errors that lose nothing."""

import csv
import dataclasses
import errno
import json
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import yaml

from mobilenet_tf import config
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import load_keras, load_predictor
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.training import checkpoint, features
from mobilenet_tf.training.devices import computes
from mobilenet_tf.training.train import train
from mobilenet_tf.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("few_rows")

DATA = "data={reader: scenes, counts: {train: 8, validation: 4, test: 4}, augment: {mixup: 0.2, cutmix: 1.0}}"


def rows(folder):
    with open(folder / "log.csv") as file:
        return list(csv.DictReader(file))


def weights(folder):
    return load_keras(folder / "model.keras").get_weights()


def same(first, second, atol=0.0):
    return all(np.allclose(a, b, rtol=0, atol=atol) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
def test_a_run_leaves_everything(small_run, small_config):
    for name in ("config.yaml", "log.csv", "model.keras", "metrics.json", "checkpoints/last.npz", "plots/curves.png"):
        assert (small_run / name).stat().st_size > 0, name
    assert list((small_run / "tensorboard").glob("events*"))
    assert (small_run / "plots" / "confusion.png").exists()
    assert [row["epoch"] for row in rows(small_run)] == ["1", "2"]
    assert {"loss", "learning_rate", "val_top1", "val_log_loss", "stage", "seconds"} <= set(rows(small_run)[0])
    metadata = artifact.read(small_run)
    assert metadata.task == "classification" and len(metadata.classes) == 10 and metadata.input_size == (32, 32)
    assert metadata.config == small_config().to_dict()
    assert not list(small_run.rglob("*.tmp"))


def test_the_saved_numbers_are_those_of_the_saved_model(small_run, small_config):
    from mobilenet_tf.training.evaluate import evaluate

    cfg = small_config()
    again = evaluate(task(cfg), load_predictor(small_run), task(cfg).source("validation"))
    stored = json.loads((small_run / "metrics.json").read_text())["validation"]
    assert again == pytest.approx(stored, abs=1e-6)
    assert stored["count"] == 24
    assert stored["top1"] == pytest.approx(max(float(row["val_top1"]) for row in rows(small_run)), abs=1e-6)


KILLED = """
import sys, tensorflow as tf
from mobilenet_tf import config
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.training.train import train
tf.config.experimental.enable_op_determinism()
train(task, config.load(sys.argv[1]), sys.argv[2])
"""


def run_killed(config_path, folder, epochs):
    """Runs training in a process and kills it -9 in the middle of an epoch, once `epochs` epochs are logged."""
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(config_path), str(folder)], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not ((folder / "log.csv").exists() and len(rows(folder)) >= epochs):
        assert process.poll() is None and time.monotonic() < deadline, "training ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_a_killed_run_continues_to_the_result_of_an_uninterrupted_one(small_config, tmp_path):
    """kill -9 in the second stage; dropout, augmentation, EMA, Adam's moments and the warm-up all count."""
    stages = "[{duration: 2, learning_rate: 0.01, train: s16}, {duration: 25 steps, learning_rate: 0.005}]"
    cfg = small_config(
        f"train.stages={stages}",
        "train.schedule={name: cosine, warmup: 1}",
        "train.optimizer={name: adamw}",
        "train.clip_norm=5",
        "data.counts={train: 150, validation: 20, test: 20}",
        "data.augment.color_jitter=0.3",
        "data.augment.mixup=0.2",
    )
    path = tmp_path / "config.yaml"
    cfg.save(path)
    command = [sys.executable, "-c", KILLED, str(path)]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, stdout=subprocess.DEVNULL)
    run_killed(path, tmp_path / "killed", 3)
    output = subprocess.run([*command, str(tmp_path / "killed")], check=True, capture_output=True, text=True).stdout
    assert "continuing from" in output
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "killed"), atol=1e-6)
    drop = {"seconds"}
    for first, second in zip(rows(tmp_path / "whole"), rows(tmp_path / "killed"), strict=True):
        assert {k: v for k, v in first.items() if k not in drop} == {k: v for k, v in second.items() if k not in drop}
    assert len(rows(tmp_path / "whole")) == 5  # 2 epochs of 10 steps, then 25 steps


@pytest.mark.slow
def test_a_frozen_backbone_without_augmentation_trains_on_features_computed_once(small_config, tmp_path, monkeypatch):
    stage = "train.stages=[{train: head, augment: false, duration: 3, learning_rate: 0.1}]"
    calls = []
    compute = features.Features.compute.__func__
    monkeypatch.setattr(
        features.Features,
        "compute",
        classmethod(lambda cls, *args, **kw: calls.append(args) or compute(cls, *args, **kw)),
    )
    cached = train(task, small_config(stage, "model.dropout=0", "train.ema=null"), tmp_path / "cached")
    assert len(calls) == 2  # training and validation pictures, once each
    assert not (tmp_path / "cached" / "cache").exists()
    monkeypatch.setattr("mobilenet_tf.training.inputs.has_features", lambda *_: False)
    plain = train(task, small_config(stage, "model.dropout=0", "train.ema=null"), tmp_path / "plain")
    assert same(cached.model.get_weights(), plain.model.get_weights(), atol=1e-4)
    assert cached.metrics["log_loss"] == pytest.approx(plain.metrics["log_loss"], abs=1e-4)


@pytest.mark.slow
def test_the_head_stage_leaves_the_backbone_as_it_was(small_config, tmp_path):
    run = train(task, small_config("train.stages=[{train: head, duration: 1, learning_rate: 0.1}]"), tmp_path)
    keras.utils.set_random_seed(small_config().seed)
    fresh = task(small_config()).model(task(small_config()).source("train"))
    for layer, other in zip(run.model.layers, fresh.layers, strict=True):
        assert same(layer.get_weights(), other.get_weights()) == (layer.name != "logits"), layer.name


@pytest.mark.slow
def test_early_stopping_ends_a_stage_and_the_best_model_is_kept(small_config, tmp_path, capsys):
    cfg = small_config(
        "train.patience=1", "train.stages.0.learning_rate=1e-9", "train.stages.0.duration=6", "train.ema=null"
    )
    run = train(task, cfg, tmp_path)
    assert len(rows(tmp_path)) < 6
    assert "the stage ends here" in capsys.readouterr().out
    assert run.metrics["top1"] == pytest.approx(max(float(row["val_top1"]) for row in rows(tmp_path)), abs=1e-6)


@pytest.mark.slow
def test_of_equal_evaluations_the_later_is_kept(small_config, tmp_path, monkeypatch):
    """Small validation splits tie often; the network that was trained longer is the surer one."""
    scores = iter([0.5, 0.75, 0.75, 0.25])
    monkeypatch.setattr("mobilenet_tf.training.inputs.evaluate", lambda *_: {"top1": next(scores)})
    saved = []
    monkeypatch.setattr(
        "mobilenet_tf.training.state.State.save_model", lambda self, *_, **__: saved.append(self.progress.epoch)
    )
    train(task, small_config("train.stages.0.duration=4"), tmp_path)
    assert saved[:-1] == [1, 2, 3], "and the last is model.keras"


@pytest.mark.slow
def test_a_stage_whose_patience_was_out_when_the_run_was_killed_is_over(small_config, tmp_path, monkeypatch):
    cfg = small_config("train.patience=1", "train.stages.0.learning_rate=1e-9", "train.stages.0.duration=6")

    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mobilenet_tf.training.state.Progress.end_stage", killed)
        with pytest.raises(KeyboardInterrupt):
            train(task, cfg, tmp_path)
    before = rows(tmp_path)
    assert len(before) < 6
    train(task, cfg, tmp_path)
    assert rows(tmp_path) == before


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_last_losses(small_config, tmp_path):
    cfg = small_config("train.stages.0.learning_rate=1e38", "train.stages.0.duration=5")
    with pytest.raises(UserError, match=r"the loss became (nan|inf) at step \d+ of stage 1 .*the last losses were: \d"):
        train(task, cfg, tmp_path)
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.slow
def test_resuming_with_a_changed_model_is_refused_and_loses_nothing(small_config, tmp_path):
    train(task, small_config("train.stages.0.duration=1"), tmp_path)
    last = tmp_path / "checkpoints" / "last.npz"
    before = last.read_bytes()
    with pytest.raises(UserError, match=r"--resume .* --new .*Received: model\.alpha was 0\.25, is 0\.5$"):
        train(task, small_config("train.stages.0.duration=1", "model.alpha=0.5"), tmp_path)
    assert last.read_bytes() == before


@pytest.mark.slow
def test_resume_continues_another_run(small_config, tmp_path, capsys):
    stage = "{duration: 1, learning_rate: 0.01}"
    one, two = f"train.stages=[{stage}]", f"train.stages=[{stage}, {stage}]"
    train(task, small_config(one), tmp_path / "first")
    train(task, small_config(two, f"train.resume={tmp_path / 'first'}"), tmp_path / "second")
    assert "continuing from" in capsys.readouterr().out
    assert [row["stage"] for row in rows(tmp_path / "second")] == ["1", "2"]
    with pytest.raises(UserError, match=r"train\.resume must name a run with stages left"):
        train(task, small_config(one, f"train.resume={tmp_path / 'first'}"), tmp_path / "third")
    with pytest.raises(UserError, match=r"train\.resume must be a run folder"):
        train(task, small_config(f"train.resume={tmp_path / 'nowhere'}"), tmp_path / "fourth")


def test_validation_must_have_the_classes_of_training(small_config, tmp_path):
    class Odd(task):
        def source(self, split):
            found = super().source(split)
            return dataclasses.replace(found, classes=[*found.classes, "yeti"]) if split == "validation" else found

    with pytest.raises(UserError, match=r"validation split must have the classes .* differ in yeti"):
        train(Odd, small_config(), tmp_path)


def test_a_run_folder_that_cannot_be_written_is_one_line(small_config, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match=r"the run folder must be writable.*Received: .*file"):
        train(task, small_config(), tmp_path / "file" / "run")


@pytest.mark.slow
def test_a_full_disk_on_checkpoint_keeps_the_old_one(small_config, tmp_path, monkeypatch):
    savez, calls = np.savez, []

    def full_the_second_time(file, **arrays):
        calls.append(1)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", full_the_second_time)
    with pytest.raises(UserError, match=r"no space left on the disk; the previous checkpoint .* is kept"):
        train(task, small_config("train.stages.0.duration=3"), tmp_path)
    assert checkpoint.load_state(tmp_path / "checkpoints" / "last.npz")["epoch"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_and_saves_float32(small_config, tmp_path, precision):
    cfg = small_config(f"train.precision={precision}", "train.stages.0.duration=4 steps")
    if not computes(precision.removeprefix("mixed_")):
        with pytest.raises(UserError, match=rf"train\.precision must be auto or float32.*Received: {precision}"):
            train(task, cfg, tmp_path)
        return
    run = train(task, cfg, tmp_path)
    assert all(layer.compute_dtype == "float32" for layer in run.model.layers)
    assert np.isfinite(run.metrics["log_loss"])


def test_a_precision_that_the_processor_lacks_is_one_line(small_config, tmp_path, monkeypatch):
    monkeypatch.setattr("mobilenet_tf.training.devices.computes", lambda dtype: dtype == "float32")
    with pytest.raises(UserError, match=r"train\.precision must be auto or float32 .*Received: mixed_bfloat16"):
        train(task, small_config("train.precision=mixed_bfloat16"), tmp_path)
    assert computes("float32")


def test_the_stored_config_reads_as_yaml(small_run, small_config):
    assert yaml.safe_load((small_run / "config.yaml").read_text()) == small_config().to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in config.shipped() if config.find(n).parent.name == task.name])
def test_every_shipped_config_takes_a_real_step(name, tmp_path):
    """On the built-in pictures, without downloads and at a small size; all else is the config's."""
    steps = [f"train.stages.{i}.duration=1 step" for i in range(len(config.load(name, [DATA]).train.stages))]
    small = ["model.weights=null", "model.input_size=[32, 32]", "train.batch_size=4", "train.schedule.warmup=0"]
    run = train(task, config.load(name, [DATA, *small, *steps]), tmp_path)
    assert len(rows(tmp_path)) == len(steps) and np.isfinite(run.metrics["log_loss"])


def test_a_folder_of_something_else_is_refused_and_stays(small_config, tmp_path):
    (tmp_path / "cache").mkdir()
    files = {"config.yaml": "mine: true", "cache/paid.bin": "expensive", "thesis.txt": "years of work"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=r"the run folder must be new, empty.*which holds config\.yaml, thesis\.txt"):
        train(task, small_config(), tmp_path)
    assert {name: (tmp_path / name).read_text() for name in files} == files
    assert not (tmp_path / "checkpoints").exists()


def test_only_the_features_of_the_run_are_removed(small_config, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "mine.bin").write_text("keep")
    train(task, small_config("train.stages=[{train: head, augment: false, duration: 1, learning_rate: 0.1}]"), tmp_path)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["mine.bin"]


def test_a_start_that_fails_leaves_an_interrupted_run_as_it_was(small_config, tmp_path, monkeypatch):
    def killed(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mobilenet_tf.training.state.Progress.end_stage", killed)
        with pytest.raises(KeyboardInterrupt):
            train(task, small_config(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for change in ("model.alpha=0.5", "train.network=nowhere.keras", "data.reader=folder data.root=nowhere"):
        with pytest.raises(UserError):
            train(task, small_config(*change.split()), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_run_killed_while_it_draws_its_plots_is_finished_by_the_next_start(small_config, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mobilenet_tf.viz.plots.curves", killed)
        with pytest.raises(KeyboardInterrupt):
            train(task, small_config("train.stages.0.duration=1"), tmp_path)
    assert not (tmp_path / "model.keras").exists()
    train(task, small_config("train.stages.0.duration=1"), tmp_path)
    assert (tmp_path / "model.keras").exists() and (tmp_path / "plots" / "curves.png").exists()


def test_missing_best_weights_are_told(small_config, tmp_path, monkeypatch):
    monkeypatch.setattr("mobilenet_tf.training.callbacks.AfterEpoch.keep_best", lambda *_: None)
    with pytest.warns(UserWarning, match=r"best\.keras is missing: the weights of the last epoch are saved"):
        train(task, small_config("train.stages.0.duration=1"), tmp_path)


def test_a_network_for_other_classes_or_of_another_size_is_one_line(small_config, small_run, tmp_path, capsys):
    class Two(task):
        def source(self, split):
            found = super().source(split)
            return dataclasses.replace(found, classes=found.classes[:2])

    class Renamed(task):
        def source(self, split):
            found = super().source(split)
            return dataclasses.replace(found, classes=["yeti", *found.classes[1:]])

    given, one = f"train.network={small_run / 'model.keras'}", "train.stages.0.duration=1 step"
    with pytest.raises(UserError, match=r"train\.network must have the classes of the data, 2 of them\..* with 10, "):
        train(Two, small_config(given, one), tmp_path)
    with pytest.raises(UserError, match=r"train\.network must have the input that .*\(64, 64, 3\)\. .*\(32, 32, 3\)"):
        train(task, small_config(given, one, "model.input_size=[64, 64]"), tmp_path)
    foreign = keras.Sequential([keras.Input((32, 32, 3)), keras.layers.GlobalMaxPooling2D(), keras.layers.Dense(10)])
    foreign.save(tmp_path / "foreign.keras")
    with pytest.raises(UserError, match=r"train\.network must hold a layer named backbone"):
        train(task, small_config(f"train.network={tmp_path / 'foreign.keras'}", one), tmp_path / "run")
    train(Renamed, small_config(given, one), tmp_path / "renamed")
    assert "was trained for other classes, which differ in" in capsys.readouterr().out


def test_figures_are_printed_where_they_cannot_be_stored(small_run, tmp_path):
    from mobilenet_tf import workflow
    from mobilenet_tf.commands import printing

    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="no plots in .*file/plots: "):
        numbers = workflow.evaluate_model(small_run, split="validation", plots=tmp_path / "file" / "plots")
    assert numbers["count"] == 24
    (tmp_path / "metrics.json").write_text("{damaged")
    for path in (tmp_path / "file" / "metrics.json", tmp_path / "metrics.json"):
        with pytest.warns(UserWarning, match=r"the numbers are not stored in .*metrics\.json: "):
            printing.merge_json(path, {"test": numbers})


@pytest.mark.slow
def test_a_second_process_in_a_run_folder_is_one_line(small_config, tmp_path, monkeypatch):
    def second(*_):
        with pytest.raises(UserError, match=r"the run folder must not be in use .*in use by process \d+ on "):
            train(task, small_config(), tmp_path)
        raise KeyboardInterrupt

    monkeypatch.setattr("mobilenet_tf.training.train._fit", second)
    with pytest.raises(KeyboardInterrupt):
        train(task, small_config(), tmp_path)
    assert not (tmp_path / ".lock").exists()
