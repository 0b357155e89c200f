"""The saved model is the best that training showed: which epoch counts, which statistics and weights it has."""

import subprocess
import sys
import types

import keras
import numpy as np
import pytest

from mobilenet_tf.inference.predict import load_keras, load_predictor
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.training import callbacks, features
from mobilenet_tf.training.evaluate import evaluate, score
from mobilenet_tf.training.state import Progress, State
from mobilenet_tf.training.train import train
from mobilenet_tf.utils.errors import UserError

pytestmark = pytest.mark.usefixtures("few_rows")

NAN = float("nan")
ONE = "train.stages.0.duration=1"


def weights(path):
    return load_keras(path).get_weights()


def same(first, second, atol=0.0):
    return all(np.allclose(a, b, rtol=0, atol=atol) for a, b in zip(first, second, strict=True))


def kept(scores, mode="max", patience=None, progress=None) -> tuple[list[int], list[int], Progress]:
    """(the epochs whose model was saved, those after which the stage was ended, the progress) of monitored scores."""
    saved, ended, progress = [], [], progress or Progress()
    cfg = types.SimpleNamespace(train=types.SimpleNamespace(patience=patience))
    folder = types.SimpleNamespace(best_checkpoint=None)
    state = types.SimpleNamespace(
        progress=progress, folder=folder, task=types.SimpleNamespace(monitor=("score", mode), cfg=cfg)
    )
    after = callbacks.AfterEpoch(state, None, 0, lambda _: saved.append(progress.epoch))
    after.set_model(keras.Model())
    for value in scores:
        progress.epoch += 1
        after.model.stop_training = False
        after.keep_best({"val_score": value})
        ended += [progress.epoch] if after.model.stop_training else []
    return saved, ended, progress


@pytest.mark.parametrize(
    ("scores", "mode", "saved"),
    [
        ([0.0, 0.0, 0.0], "max", [1, 2, 3]),  # nothing is found yet: the longest trained is the surest
        ([0.5, 0.75, 0.75, 0.25], "max", [1, 2, 3]),
        ([0.5, 0.75, 0.75, 0.25], "min", [1, 4]),
        ([NAN, 0.1, 0.2], "max", [1, 2, 3]),  # no number is never the best, once there is one
        ([NAN, NAN, 0.3, NAN, 0.2], "max", [1, 2, 3]),
        ([NAN, 3.0, NAN, 2.0], "min", [1, 2, 4]),
    ],
)
def test_the_best_epoch_of_equal_and_missing_scores(scores, mode, saved):
    found, _, progress = kept(scores, mode)
    assert found == saved and progress.best_epoch == saved[-1] and progress.best == scores[saved[-1] - 1]


def test_the_patience_of_a_stage_goes_by_its_own_evaluations():
    """A stage that begins below the end of the one before it, as a thawed backbone does, may climb."""
    saved, ended, progress = kept([0.5, 0.8, 0.8, 0.7], patience=2)
    assert (saved, ended) == ([1, 2, 3], [4])
    progress.end_stage()
    saved, ended, progress = kept([0.4, 0.5, 0.6, 0.7, 0.9, 0.9, 0.1], patience=2, progress=progress)
    assert saved == [9, 10] and ended == [11] and progress.best == 0.9


def test_patience_with_scores_that_are_no_numbers_ends():
    assert kept([NAN] * 3, patience=3)[1] == [3]


@pytest.mark.slow
def test_the_best_of_all_stages_is_saved_and_said(small_config, tmp_path, monkeypatch, capsys):
    scores = iter([0.5, 0.75, 0.25, 0.3])
    monkeypatch.setattr(
        "mobilenet_tf.training.inputs.evaluate", lambda *_: {"top1": next(scores), "log_loss": 1.0, "count": 4}
    )
    stage = "{duration: 2, learning_rate: 0.01}"
    run = train(task, small_config(f"train.stages=[{stage}, {stage}]"), tmp_path)
    assert "the weights of epoch 2 of 4 are saved, which had the best top1: 0.7500" in capsys.readouterr().out
    assert same(weights(tmp_path / "checkpoints" / "best.keras"), run.model.get_weights())


@pytest.mark.slow
def test_a_run_that_only_finishes_now_saves_its_last_weights_not_new_ones(small_config, tmp_path, monkeypatch):
    """All stages were done when it was killed, and the best weights are gone: the checkpoint has what it needs."""

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mobilenet_tf.training.train._finish", killed)
        with pytest.raises(KeyboardInterrupt):
            train(task, small_config(ONE), tmp_path)
    best = tmp_path / "checkpoints" / "best.keras"
    wanted = weights(best)  # of the one epoch
    best.unlink()
    with pytest.warns(UserWarning, match=r"best\.keras is missing: the weights of the last epoch are saved"):
        train(task, small_config(ONE), tmp_path)
    assert same(wanted, weights(tmp_path / "model.keras"))


@pytest.mark.slow
def test_damaged_best_weights_are_one_line(small_config, tmp_path, monkeypatch):
    finish = "mobilenet_tf.training.train._validate"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(finish, killed)
        with pytest.raises(KeyboardInterrupt):
            train(task, small_config(ONE), tmp_path)
    best = tmp_path / "checkpoints" / "best.keras"
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"best\.keras must be a whole file with weights of this network.* Received: "):
        train(task, small_config(ONE), tmp_path)
    assert not (tmp_path / "model.keras").exists()


@pytest.mark.slow
def test_what_is_evaluated_on_features_is_what_is_saved(small_config, tmp_path, monkeypatch):
    """After a stage of all layers the averaged backbone differs from the trained one: the saved one is scored."""
    scores = []
    monkeypatch.setattr("mobilenet_tf.training.inputs.score", lambda *a: scores.append(score(*a)) or scores[-1])
    stages = "[{duration: 2, learning_rate: 0.05}, {train: head, augment: false, duration: 1, learning_rate: 0.01}]"
    cfg = small_config(f"train.stages={stages}", "model.dropout=0", "train.ema=0.99")

    def keep(self, _):  # the model of the last epoch, whatever its score
        self.save_model(self.state.folder.best_checkpoint)

    monkeypatch.setattr(callbacks.AfterEpoch, "keep_best", keep)
    train(task, cfg, tmp_path)
    again = evaluate(task(cfg), load_predictor(tmp_path / "model.keras"), task(cfg).source("validation"))
    assert len(scores) == 1 and again == pytest.approx(scores[0], abs=1e-4)


@pytest.mark.slow
def test_nothing_of_a_run_is_left_once_its_model_is_there(small_config, tmp_path, monkeypatch):
    """A kill at any moment of the end leaves an unfinished run, which the next start finishes."""
    stage = "train.stages=[{train: head, augment: false, duration: 1, learning_rate: 0.1}]"
    save_model = State.save_model

    def killed(self, path, *args, **options):
        if path.name == "model.keras":
            assert not (tmp_path / "cache").exists() and (tmp_path / "plots" / "curves.png").exists()
            assert (tmp_path / "metrics.json").exists()
            raise KeyboardInterrupt
        save_model(self, path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(State, "save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            train(task, small_config(stage), tmp_path)
    train(task, small_config(stage), tmp_path)
    assert (tmp_path / "model.keras").exists()


# Full disks


def test_features_are_written_plainly_and_mapped_to_be_read(tmp_path):
    parts = [np.full((2, 3), i, np.float32) for i in range(3)]
    rows = features.write_rows(tmp_path / "train.npy", iter(parts), 8)  # two of the images could not be read
    assert rows.shape == (6, 3) and np.array_equal(rows, np.concatenate(parts))
    assert np.load(tmp_path / "train.npy").shape == (8, 3)


def test_features_on_a_full_disk_are_one_line_and_leave_nothing(tmp_path):
    """/dev/full is no regular file, so a limit on the size of files stands for the disk, in a process of its own."""
    code = """
import resource, sys
import numpy as np
from pathlib import Path
from mobilenet_tf.training import features
from mobilenet_tf.utils.errors import UserError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for reserve in (features._reserve, lambda *_: None):  # a system that reserves nothing, too
    features._reserve = reserve
    try:
        features.write_rows(Path(sys.argv[1]), iter([np.zeros((100, 100), np.float32)] * 9), 900)
    except UserError as error:
        print(error)
"""
    path = tmp_path / "train.npy"
    result = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    lines = result.stdout.splitlines()
    assert result.returncode == 0 and len(lines) == 2
    assert all(line.startswith("the features of 900 images, 0 MB, must fit on the disk of ") for line in lines)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_goes_on_without_tensorboard(small_config, tmp_path):
    """Its folder cannot be made, as on a full disk."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "tensorboard").write_text("in the way")
    with pytest.warns(UserWarning, match="tensorboard gets no more events: "):
        train(task, small_config(ONE), tmp_path)
    assert (tmp_path / "model.keras").exists()
