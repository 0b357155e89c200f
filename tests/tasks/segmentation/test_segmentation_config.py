"""The keys of a segmentation experiment, and the shipped ones."""

import pytest

from mobilenet_tf import config
from mobilenet_tf.utils.errors import UserError

NAMES = [name for name, path in config.shipped().items() if path.parent.name == "segmentation"]
BASE = {
    "task": "segmentation",
    "data": {"reader": "scenes"},
    "train": {"stages": [{"learning_rate": 0.01}]},
}


@pytest.mark.parametrize("name", NAMES)
def test_shipped_configs_load_and_say_how_to_run_them(name):
    text = config.find(name).read_text()
    cfg = config.load(name, ["data.root=."])
    assert cfg.task == "segmentation" and text.startswith("# ")
    assert f"mobilenet-tf train {name}" in text
    assert ("data.root=" in text) == (cfg.data.reader != "scenes")


def test_there_is_one_for_each_published_network():
    wanted = {"deeplabv3_mobilenet_v1_voc", "deeplabv3_mobilenet_v2_voc", "deeplabv3_mobilenet_v3_large_coco"}
    wanted |= {f"lraspp_mobilenet_v3_{size}_cityscapes" for size in ("large", "small")}
    assert wanted <= set(NAMES)


@pytest.mark.parametrize(
    "change, message",
    [
        ("data.reader=folder", "data.root must be set for data.reader=folder"),
        ("data.reader=tfds", "data.name must be set"),
        ("model.head=unet", "model.head must be 'deeplabv3', 'deeplabv3plus' or 'lraspp'"),
        ("model.output_stride=4", "model.output_stride must be 32, 16 or 8"),
        ("loss.class_weights=mean", "loss.class_weights"),
        ("loss.ohem=0.5", "unknown key loss.ohem"),
        ("export.outputs=labels", "export.outputs"),
    ],
)
def test_mistakes_are_one_line(change, message):
    with pytest.raises(UserError, match=message) as error:
        config.override(BASE, [change], "test")
    assert "\n" not in str(error.value)


def test_a_config_survives_being_stored():
    cfg = config.override(BASE, ["loss.class_weights=[1, 2.5]", "data.classes=[a, b]", "model.rates=[]"], "test")
    again = config.override(cfg.to_dict(), [], "stored")
    assert again == cfg and again.model.rates == [] and again.data.classes == ["a", "b"]
