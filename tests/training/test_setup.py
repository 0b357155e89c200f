"""A run goes on only as what it was: what has changed is named, and refused, told or taken over."""

import dataclasses
import json

import numpy as np
import pytest
import yaml

from mobilenet_tf import config, workflow
from mobilenet_tf.data.source import file_source
from mobilenet_tf.inference.predict import load_keras
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.training import checkpoint, setup
from mobilenet_tf.training.setup import Images, Setup
from mobilenet_tf.training.train import train
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("few_rows")

ONE, TWO = "train.stages.0.duration=1", "train.stages.0.duration=2"


def changes(old, new) -> list[str]:
    return [change.text for change in setup.changes(Setup.of(old), Setup.of(new), "last.npz")]


def test_what_changes_the_result_is_named(small_config):
    was = small_config()
    assert changes(was, was) == []
    assert changes(was, small_config("seed=3")) == ["seed was 0, is 3"]
    assert changes(was, small_config("model.weights=imagenet", "train.ema=null")) == [
        "model.weights was null, is imagenet",
        "train.ema was 0.9, is null",
    ]
    assert changes(was, small_config("train.optimizer={name: adamw}")) == ["train.optimizer.name was sgd, is adamw"]
    assert changes(was, small_config("train.stages.0.learning_rate=0.5", TWO)) == [
        "train.stages.0.learning_rate was 0.01, is 0.5"
    ]
    longer = small_config("train.stages=[{learning_rate: 0.01, duration: 2}, {learning_rate: 0.1}]")
    assert changes(was, longer) == ["the length of train.stages was 1, is 2"]
    for same in ("export.max_drop=0.5", "train.jit=off", "train.resume=elsewhere", "export.formats=[onnx]"):
        assert changes(was, small_config(same)) == [], same


def test_every_other_key_counts(small_config):
    """Whatever key a config has or will have: unless it is known not to matter, it does."""
    was = Setup.of(small_config())
    keys = [key for key in _leaves(was.config) if not key.startswith(setup.FREE)]
    assert len(keys) > 40
    for key in keys:
        now = Setup.of(small_config()).model_copy(update={"config": _with(was.config, key)})
        found = setup.changes(was, now, "last.npz")
        assert found and key.startswith(found[0].key.removesuffix(".name")), key


def _leaves(values, key=""):
    if isinstance(values, dict) and values:
        return [leaf for part, value in values.items() for leaf in _leaves(value, f"{key}.{part}" if key else part)]
    return [key]


def _with(values, key):
    first, _, rest = key.partition(".")
    return {**values, first: _with(values[first], rest) if rest else "another"}


def test_long_lists_of_changes_are_cut(small_config):
    found = setup.changes(Setup.of(small_config()), Setup.of(config.load("folder_v2", ["data.root=x"])), "last.npz")
    text = setup.described(found)
    assert text.count("; ") == setup.MAX_NAMED and text.endswith(f"; and {len(found) - setup.MAX_NAMED} more")


def test_a_folder_under_another_name_is_the_same(small_config, tmp_path, monkeypatch):
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    was = small_config("data={reader: folder, root: photos}")
    for root in ("photos/", tmp_path / "photos", "link", "./photos"):
        assert changes(was, small_config(f"data={{reader: folder, root: {root}}}")) == [], root
    (tmp_path / "elsewhere" / "photos").mkdir(parents=True)
    old = Setup.of(was)
    monkeypatch.chdir(tmp_path / "elsewhere")
    [change] = setup.changes(old, Setup.of(was), "last.npz")
    assert change.text == f"data.root was {tmp_path / 'photos'}, is {tmp_path / 'elsewhere' / 'photos'}"
    assert old.parsed("last.npz").data.root == tmp_path / "photos"


def images(paths, labels, root):
    return Images.of(file_source(paths, {"label": np.array(labels, np.int64)}, ["a", "b"]), root)


def test_images_are_known_by_their_names_and_labels_wherever_they_lie(tmp_path):
    paths = [f"{name}.jpg" for name in "abc"]
    one = images([tmp_path / "x" / path for path in paths], [0, 1, 1], tmp_path / "x")
    assert one == images([tmp_path / "y" / path for path in paths], [0, 1, 1], tmp_path / "y")
    assert one != images([tmp_path / "x" / path for path in paths], [0, 0, 1], tmp_path / "x")
    assert one != images([tmp_path / "x" / path for path in paths[::-1]], [0, 1, 1], tmp_path / "x")
    fewer = images([tmp_path / "x" / path for path in paths[:2]], [0, 1], tmp_path / "x")
    assert fewer.count == 2


def test_changed_images_are_told_by_their_number(small_config):
    def of(count, digest):
        return Setup.of(small_config()).model_copy(update={"images": {"training": Images(count=count, digest=digest)}})

    def told(old, new):
        return [change.text for change in setup.changes(old, new, "last.npz")]

    assert told(of(120, "a"), of(130, "b")) == ["the training images have changed: 120, now 130"]
    assert told(of(120, "a"), of(120, "b")) == ["the training images have changed: as many, with other names or labels"]
    assert told(of(120, "a"), of(120, None)) == told(of(120, None), of(120, "a")) == []


@pytest.fixture
def interrupted(small_config, tmp_path, monkeypatch):
    """The folder of a run of two epochs that was killed after the first."""
    save = checkpoint.save

    def killed(*args):
        save(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            train(task, small_config(TWO), tmp_path / "run")
    return tmp_path / "run"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write(cfg, path):
    path.write_text(yaml.safe_dump(cfg.to_dict()))
    return str(path)


def renamed(*names):
    """The task with other names of its first classes."""

    class Renamed(task):
        def source(self, split):
            found = super().source(split)
            return dataclasses.replace(found, classes=[*names, *found.classes[len(names) :]])

    return Renamed


@pytest.mark.slow
def test_an_unfinished_run_is_not_continued_as_another(interrupted, small_config, tmp_path, monkeypatch, capsys):
    before = contents(tmp_path)
    other = small_config(TWO, "seed=3")
    with pytest.raises(UserError, match=r"--resume does that, --new starts .*Received: seed was 0, is 3; the "):
        train(task, other, interrupted)
    with pytest.raises(UserError, match=r"must be continued as it was started.*the classes were 10, are 10, which"):
        train(renamed("yeti"), small_config(TWO), interrupted)
    with pytest.raises(UserError, match=r"--resume needs the classes that the run in .* has learned.*yeti"):
        train(renamed("yeti"), small_config(TWO), interrupted, resume=True)
    assert contents(tmp_path) == before
    # --resume: with the config of the run, not with that of the command
    path = write(other, tmp_path / "other.yaml")
    whole = train(task, small_config(TWO), tmp_path / "whole")
    run = workflow.train_run(path, ["train.batch_size=2"], interrupted, resume=True)
    assert yaml.safe_load((run.folder / "config.yaml").read_text()) == small_config(TWO).to_dict()
    assert "--resume: the config is that of the run" in capsys.readouterr().out
    assert all(map(np.array_equal, run.model.get_weights(), whole.model.get_weights()))
    with pytest.raises(UserError, match=r"--resume needs an unfinished run\. Received: .*which is finished"):
        workflow.train_run(path, [], interrupted, resume=True)
    with pytest.raises(UserError, match="--resume and --new must not be given together"):
        workflow.train_run(path, [], interrupted, resume=True, new=True)
    with pytest.raises(UserError, match=r"--resume needs an unfinished run with a checkpoint"):
        workflow.train_run(path, [], tmp_path / "nothing", resume=True)


@pytest.mark.slow
def test_a_new_run_beside_an_old_one(interrupted, small_config, tmp_path, capsys):
    before = contents(interrupted)
    path = write(small_config(ONE), tmp_path / "config.yaml")
    assert workflow.train_run(path, [], interrupted, new=True).folder == tmp_path / "run-2"
    assert "the new one goes to" in capsys.readouterr().out and contents(interrupted) == before
    assert RunFolder(interrupted).free().path == tmp_path / "run-3"
    assert RunFolder(tmp_path / "unused").free().path == tmp_path / "unused"


@pytest.mark.slow
def test_more_images_since_are_told_and_taken_on_demand(interrupted, small_config, tmp_path, capsys):
    """What was trained before stays; the stage ends after as many epochs as it has, which are longer now."""

    class Grown(task):
        def source(self, split):
            cfg = config.override(self.cfg.to_dict(), ["data.counts={train: 60, validation: 24}"], "grown")
            return task(cfg).source(split)

    with pytest.raises(UserError, match=r"the training images have changed: 44, now 60$"):
        train(Grown, small_config(TWO), interrupted)
    train(Grown, small_config(TWO), interrupted, resume=True)
    out = capsys.readouterr().out
    assert "--resume: the run goes on although the training images have changed: 44, now 60" in out
    assert "the stage goes on from step 4 instead of 3" in out
    rows = (interrupted / "log.csv").read_text().splitlines()
    assert len(rows) == 3
    state = checkpoint.load_state(interrupted / "checkpoints" / "last.npz")
    assert state[setup.RECORD]["images"]["training"]["count"] == 60


@pytest.mark.slow
def test_a_checkpoint_of_version_0_1_is_compared_with_the_config_beside_it(interrupted, small_config, tmp_path):
    """Which knew neither classes nor images; the classes are those of the best model."""
    path = interrupted / "checkpoints" / "last.npz"
    arrays = dict(np.load(path))
    state = json.loads(str(arrays["state"]))
    for key in (setup.RECORD, "best_epoch", "stage_best"):
        del state[key]
    np.savez(path, **{**arrays, "state": np.array(json.dumps(state))})
    found = Setup.load(path)
    assert found.config == small_config(TWO).to_dict() and len(found.classes) == 10 and not found.images
    with pytest.raises(UserError, match=r"Received: seed was 0, is 3$"):
        train(task, small_config(TWO, "seed=3"), interrupted)
    with pytest.raises(UserError, match=r"the classes were 10, are 10, which differ in .*yeti"):
        train(renamed("yeti"), small_config(TWO), interrupted)
    train(task, small_config(TWO), interrupted)
    (interrupted / "config.yaml").unlink()
    assert Setup.load(path) is not None, "it has been written anew"


@pytest.mark.slow
def test_a_run_that_starts_from_another_one_equals_one_with_all_stages(small_config, tmp_path, capsys):
    """The best epoch so far and the statistics of BatchNormalization are taken over too."""
    first, second = "{duration: 1, learning_rate: 0.01}", "{duration: 1, learning_rate: 1e-9}"
    one, two = f"train.stages=[{first}]", f"train.stages=[{first}, {second}]"
    whole = train(task, small_config(two), tmp_path / "whole")
    train(task, small_config(one), tmp_path / "first")
    capsys.readouterr()
    run = train(task, small_config(two, f"train.resume={tmp_path / 'first'}"), tmp_path / "second")
    assert "train.resume: the length of train.stages was 1, is 2" in capsys.readouterr().out
    assert all(map(np.array_equal, run.model.get_weights(), whole.model.get_weights()))
    one, two = (checkpoint.load_state(tmp_path / name / "checkpoints" / "last.npz") for name in ("whole", "second"))
    assert (one["best"], one["best_epoch"]) == (two["best"], two["best_epoch"])


@pytest.mark.slow
def test_what_a_run_from_another_one_may_change(interrupted, small_config, tmp_path, monkeypatch, capsys):
    before, given = contents(interrupted), f"train.resume={interrupted}"
    for changed, found in {
        "model.alpha=0.5": r"model\.alpha was 0\.25, is 0\.5",
        "quantize.qat=true": r"quantize\.qat was false, is true",
    }.items():
        with pytest.raises(UserError, match=rf"train\.resume must name a run of the same .*: {found}"):
            train(task, small_config(TWO, given, changed), tmp_path / "refused")
    with pytest.raises(UserError, match=r"train\.resume must name a run of the same .*which differ in .*yeti"):
        train(renamed("yeti"), small_config(TWO, given), tmp_path / "refused")
    assert not (tmp_path / "refused" / "config.yaml").exists()
    capsys.readouterr()
    train(task, small_config(TWO, given, "train.batch_size=8", "train.stages.0.learning_rate=0.02"), tmp_path / "on")
    out = capsys.readouterr().out
    assert "train.resume: train.batch_size was 16, is 8; train.stages.0.learning_rate was 0.01, is 0.02\n" in out
    assert "the stage goes on from step 6 instead of 3" in out
    train(task, small_config(TWO, given, "train.optimizer={name: adamw}", "train.ema=null"), tmp_path / "anew")
    assert "stage 1 begins anew: train.optimizer.name was sgd, is adamw" in capsys.readouterr().out
    assert len((tmp_path / "anew" / "log.csv").read_text().splitlines()) == 1 + 1 + 2
    stage = "{duration: 1, learning_rate: 0.01}"  # a moving average begins where there was none
    cfg = small_config(f"train.stages=[{stage}, {stage}]", f"train.resume={tmp_path / 'anew'}")
    train(task, cfg, tmp_path / "averaged")
    assert contents(interrupted) == before


@pytest.mark.slow
def test_the_best_epoch_of_other_images_does_not_count(interrupted, small_config, tmp_path):
    """Its score, on other validation images, may never be reached again."""
    path = interrupted / "checkpoints" / "last.npz"
    arrays = dict(np.load(path))
    state = json.loads(str(arrays["state"])) | {"best": 2.0}
    np.savez(path, **{**arrays, "state": np.array(json.dumps(state))})
    cfg = small_config(TWO, f"train.resume={interrupted}", "data.counts.validation=20")
    train(task, cfg, tmp_path / "other")
    after = checkpoint.load_state(tmp_path / "other" / "checkpoints" / "last.npz")
    assert after["best"] <= 1 and after["best_epoch"] == 2
    names = ("model.keras", "checkpoints/best.keras")
    saved, best = (load_keras(tmp_path / "other" / name).get_weights() for name in names)
    assert all(map(np.array_equal, saved, best))
