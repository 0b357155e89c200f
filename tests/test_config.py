"""Configs: loading, overriding, validation with the nearest key, round trips."""

from pathlib import Path

import pytest
import yaml

from mobilenet_tf import config
from mobilenet_tf.config import Duration
from mobilenet_tf.utils.errors import UserError

MINIMAL = {"task": "classification", "data": {"reader": "scenes"}, "train": {"stages": [{"learning_rate": 0.1}]}}


def load(tmp_path, *overrides, values=MINIMAL):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(values))
    return config.load(path, overrides)


@pytest.mark.parametrize(
    ("text", "steps"),
    [("3 epochs", 30), ("3", 30), (1.5, 15), ("7 steps", 7), ("1 step", 1), ("1e3 samples", 32), ("33 samples", 2)],
)
def test_durations_become_steps(text, steps):
    assert Duration.parse(text).steps(steps_per_epoch=10, batch_size=32) == steps


@pytest.mark.parametrize("text", ["5 parsecs", "epochs", "", None, "-3"])
def test_a_duration_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="epochs, steps or samples"):
        Duration.parse(text)


def test_overrides_reach_nested_keys_lists_and_scientific_notation(tmp_path):
    cfg = load(tmp_path, "train.stages.0.learning_rate=1e-3", "model.input_size=[96, 128]", "data.augment.flip=false")
    assert cfg.train.stages[0].learning_rate == 1e-3
    assert cfg.model.input_size == (96, 128)
    assert cfg.data.augment.flip is False


def test_what_is_saved_loads_as_the_same_config(tmp_path):
    cfg = load(tmp_path, "train.schedule={name: step, at: [5, 300 steps]}", "train.optimizer={name: rmsprop, rho: 0.8}")
    cfg.save(tmp_path / "config.yaml")
    assert config.load(tmp_path / "config.yaml") == cfg
    assert config.override(cfg.to_dict(), (), "stored") == cfg
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.optimzer.name=adamw", "unknown key train.optimzer (nearest: train.optimizer"),
        ("train.optimizer.nme=adamw", "unknown key train.optimizer.nme (nearest: train.optimizer.name"),
        ("data.augment.mixpu=1", "nearest: data.augment.mixup"),
        (
            "qqq=1",
            "known here: class_weights, data, distill, export, label_smoothing, model, quantize, seed, task, train)",
        ),
        ("seed=4294967296", "seed must be a number of at most 4.29497e+09. Received: 4294967296"),
        ("model.alpha=.inf", "model.alpha must be a finite number"),
        ("model.alpha=1e400", "model.alpha must be"),
        ("train.stages.0.duration=1e400 epochs", "train.stages.0.duration must be a number of epochs"),
        ("train.stages.0.learning_rate=.nan", "train.stages.0.learning_rate must be"),
        ("train.schedule={name: exponential, every: 0}", "train.schedule.every must be longer than 0"),
        ("data.augment.crop_scale=[5, 1]", "data.augment.crop_scale.0 must be less than or equal to 1. Received: 5"),
        ("data.augment.crop_scale=[0.9, 0.1]", "data.augment.crop_scale must be the smaller number and then"),
        ("data.counts={train: -1}", "data.counts.train must be greater than or equal to 0"),
        ("model.input_size=[-32, 32]", "model.input_size.0 must be greater than or equal to 1"),
        ("model.input_size=100000", "model.input_size.0 must be less than or equal to 8192"),
        ("model.alpha=-1", "model.alpha must be greater than 0. Received: -1"),
        ("train.stages.0.duration=5 parsecs", "train.stages.0.duration must be a number of epochs, steps or samples"),
        ("train.stages.7.learning_rate=1", "train.stages.7 must be an index from 0 to 0"),
        ("train.schedule={warmup: 3}", "train.schedule must have a key 'name'"),
        ("train.optimizer.name=adam", "train.optimizer.name must be sgd, adamw or rmsprop. Received: adam"),
        (
            "train.optimizer={name: adam}",
            "mine.yaml: train.optimizer.name must be sgd, adamw or rmsprop. Received: adam",
        ),
        ("train.optimizer.momentum=2", "mine.yaml: train.optimizer.momentum must be less than 1. Received: 2"),
        ("train.stages.0.lr=1", "unknown key train.stages.0.lr (known here: "),
        ("data.counts={train: none}", "mine.yaml: data.counts.train must be a valid integer"),
        ("data.counts={trian: 3}", "mine.yaml: data.counts.trian must be 'train', 'validation' or 'test'"),
        ("export.float_layers=-1", "mine.yaml: export.float_layers must be"),
        ("export.formats=[tflite_int3]", "export.formats.0 must be one of"),
        ("model.weights=imagenett", "mine.yaml: model.weights must be imagenet, null or the path of a .h5"),
        ("data.reader=folder", "data.root must be set for data.reader=folder"),
        ("train.batch_size.x=1", "train.batch_size is a single value"),
        ("nonsense", "must look like key=value"),
        ("task=weather", "task must be one of attributes, classification"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(tmp_path, override, message):
    values = MINIMAL | {"train": MINIMAL["train"] | {"batch_size": 8, "optimizer": {"name": "sgd"}}}
    with pytest.raises(UserError) as caught:
        load(tmp_path, override, values=values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.precision=mixed_float16", "train.precision must be auto or float32 .* Received: mixed_float16"),
        ("train.precision=mixed_bfloat16", "train.precision must be auto or float32 .* Received: mixed_bfloat16"),
        ("export.float_layers=1", "export.float_layers must be 0 with quantize.qat. Received: 1"),
    ],
)
def test_what_training_for_int8_cannot_honour_is_refused(tmp_path, override, message):
    load(tmp_path, override)
    with pytest.raises(UserError, match=f"^mine.yaml: {message}$"):
        load(tmp_path, "quantize.qat=true", override)


def test_an_unknown_config_names_the_nearest():
    with pytest.raises(UserError, match="stanford_dogs_v2"):
        config.find("standford_dogs_v2")
    with pytest.raises(UserError, match="existing YAML file"):
        config.find("missing.yaml")


@pytest.mark.parametrize("text", ["[1, 2", "just text", "- a\n- b"])
def test_a_file_that_is_no_config_is_one_line(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"bad\.yaml") as caught:
        config.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", config.shipped())
def test_every_shipped_config_is_valid(name):
    path = config.find(name)
    assert path.read_text().startswith("# "), "the header says what it is"
    assert config.load(name, ["data.root=."]).task == path.parent.name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task: classification\ntrain: {batch_size: 8}\ntrain: {batch_size: 9}", "train again in line 3"),
        ("task: classification\ntrain: {batch_size: 8, batch_size: 9}", "batch_size again in line 2"),
        ("a: &a [1]\n" + "b: [" + "*a, " * 200 + "]", "at most 100 aliases"),
        ("task: " + "x" * 1_000_001, "at most 1,000,000 characters"),
    ],
    ids=["a section twice", "a key twice", "aliases", "length"],
)
def test_yaml_that_would_mislead_or_grow_is_one_line(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        config.load(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_merge_keys_are_no_repetition(tmp_path):
    path = tmp_path / "merged.yaml"
    stage = "{train: all, duration: 1, learning_rate: 0.1}"
    path.write_text(
        "task: classification\ndata: {reader: scenes}\ntrain:\n"
        f"  stages: [&s {stage}, {{<<: *s, learning_rate: 0.2}}]\n"
    )
    assert [stage.learning_rate for stage in config.load(path).train.stages] == [0.1, 0.2]


@pytest.mark.parametrize(
    "text", ["/x/photos #2", "2024", "[new]", "a: b", "2024-01-01", "1e3", "yes", "photos, old", "{x}", "- a", "*star"]
)
def test_a_path_or_a_text_is_taken_as_it_stands(text):
    assert config.load("folder_v2", [f"data.root={text}"]).data.root == Path(text)
    assert config.load("stanford_dogs_v2", [f"data.name={text}"]).data.name == text
    classes = config.load("lraspp_scenes", [f"data.classes={text}"]).data.classes
    assert classes == (["new"] if text == "[new]" else Path(text)), "a list of names is one too"


def test_paths_know_the_home_and_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PHOTOS", "/x/y")
    assert config.load("folder_v2", ["data.root=~/photos"]).data.root == Path("/home/me/photos")
    assert config.load("folder_v2", ["data.root=$PHOTOS/z"]).data.root == Path("/x/y/z")
    assert config.load("folder_v2", ["data.root='/a b'"]).data.root == Path("/a b")
    coco = config.load("ssdlite_mobilenet_v2_coco", ["data.root=.", "data.annotations.train=~/a #1.json"])
    assert coco.data.annotations["train"] == Path("/home/me/a #1.json")


def test_null_and_choices_stay_what_they_are():
    assert config.load("demo", ["data.root=null", "model.weights=null", "train.ema=null"]).data.root is None
    assert config.load("demo", ["train.jit=on"]).train.jit == "on"
    assert config.load("demo", ["train.clip_norm=1e-3"]).train.clip_norm == 1e-3
    with pytest.raises(UserError, match="the value of seed must be valid YAML") as caught:
        config.load("demo", ["seed=" + "9" * 5000])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.monitor=AP", "train.monitor must be one of top1, top5, macro_f1, .*. Received: AP"),
        ("data.sampling=balanced", "data.sampling=balanced needs data.reader=folder or csv; class_weights=balanced"),
        ("class_weights=[1, -1]", "class_weights.*greater than 0"),
    ],
)
def test_what_does_not_go_together_is_refused(tmp_path, override, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, override)


def test_the_monitored_metric_and_its_direction(tmp_path):
    assert load(tmp_path).monitor == ("top1", "max")
    assert load(tmp_path, "train.monitor=log_loss").monitor == ("log_loss", "min")
    segmentation = MINIMAL | {"task": "segmentation"}
    assert load(tmp_path, "train.monitor=iou_cat", values=segmentation).monitor == ("iou_cat", "max")


def test_one_number_is_a_square(tmp_path):
    assert load(tmp_path, "model.input_size=96").model.input_size == (96, 96)


WRONG = ["-1", "0", "1e400", ".nan", "-.inf", str(2**70), "9" * 5000, "x", "[]", "{}", "null", "true", "2020-01-01",
         "[5, 1]", "[-1, -1]", "[[[]]]", "{a: {b: 1}}", "!!python/name:os.system"]  # fmt: skip


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation", "attributes", "embedding"])
def test_no_value_of_any_key_ends_in_a_traceback(task):
    """Each key gets each wrong value: it is refused in one line, or makes a config that can be stored."""
    values = {**MINIMAL, "task": task, "data": {"reader": "scenes", "augment": {"flip": False}}}
    plain = config.override(values, (), "mine")
    for key in _keys(plain.to_dict()):
        for value in WRONG:
            try:
                cfg = config.override(values, (f"{key}={value}",), "mine")
            except UserError as error:
                assert "\n" not in str(error), key
            else:
                assert config.override(cfg.to_dict(), (), "stored") == cfg, (key, value)


def _keys(values, prefix=""):
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield f"{prefix}{key}.0"
            if value and isinstance(value[0], dict):
                yield from _keys(value[0], f"{prefix}{key}.0.")
