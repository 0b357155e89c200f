"""What a model of others says and what its user says become metadata, or one line that names the option."""

from dataclasses import replace

import numpy as np
import pytest

from mobilenet_tf.foreign.checkpoints import SETTINGS
from mobilenet_tf.foreign.declaration import Declaration, Range
from mobilenet_tf.foreign.facts import NO_DATA, Facts, describe
from mobilenet_tf.utils.errors import UserError

FACTS = Facts("model.h5", (None, 32, 48, 3), {"output_0": (None, 4)}, ends_in="softmax")
SAID = Declaration(classes=["a", "b", "c", "d"], input_range="-1..1")


@pytest.mark.parametrize(
    ("text", "black", "white"),
    [("0..255", 0, 255), ("-1..1", -1, 1), ("0..1", 0, 1), ("-128..127", -128, 127), ("-.5 .. 0.5", -0.5, 0.5)],
)
def test_a_range_is_what_black_and_white_become(text, black, white):
    wanted = Range.parse(text)
    np.testing.assert_allclose(wanted(np.array([[0.0] * 3, [255.0] * 3])), [[black] * 3, [white] * 3], atol=1e-5)
    assert wanted.is_identity == (text == "0..255")


def test_torch_and_caffe_are_ranges_by_channel():
    red = np.array([255.0, 0.0, 0.0])
    np.testing.assert_allclose(Range.parse("torch")(red), [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], 1e-5)
    np.testing.assert_allclose(Range.parse("caffe")(red), [-103.939, -116.779, 255 - 123.68], 1e-5)


@pytest.mark.parametrize("text", ["", "1..0", "0..0", "0-255", "tf", "0..x", "nan..1"])
def test_other_ranges_are_refused(text):
    with pytest.raises(UserError, match=r"--input-range must be .* Received: "):
        Declaration(input_range=text)


def test_a_described_model_has_the_preprocessing_of_its_task():
    description = describe(FACTS, SAID, ["data.crop_fraction=0.9"])
    metadata = description.metadata
    assert (metadata.task, metadata.classes, metadata.outputs) == ("classification", ["a", "b", "c", "d"], "softmax")
    assert metadata.input_size == (32, 48) and metadata.config["data"]["crop_fraction"] == 0.9
    assert description.range == Range.parse("-1..1") and description.cfg.data.root == NO_DATA


@pytest.mark.parametrize(
    ("facts", "said", "message"),
    [
        ({}, {"classes": None}, "--classes must give the 4 classes"),
        ({}, {"classes": ["a", "b"]}, "--classes must name the 4 classes .* Received: 2, a, b"),
        ({}, {"input_range": None}, "--input-range must say what model.h5 takes"),
        ({"rescales": True}, {}, "--input-range must be left out for model.h5, which rescales 0..255 inside"),
        ({"range": Range()}, {}, "--input-range must be left out for model.h5, which says another range itself"),
        ({"ends_in": None}, {}, "--ends-in must say what the outputs of model.h5 are"),
        ({}, {"ends_in": "logits"}, "--ends-in must be softmax, which model.h5 ends in. Received: logits"),
        ({"input_shape": (None, None, None, 3)}, {}, "--size must give the size"),
        ({}, {"size": (64, 64)}, "--size must be that of model.h5, 32x48. Received: 64x64"),
        ({"input_shape": (None, 3, 32, 32)}, {}, "channels first. Received: .any, 3, 32, 32."),
        ({"input_shape": (None, 10, 8)}, {}, "vectors or sequences. Received: .any, 10, 8."),
        ({"input_shape": (None, 32, 32, 4)}, {}, "must take images .* Received: .any, 32, 32, 4."),
        ({"outputs": {"a": (None, 4), "b": (None, 2)}}, {}, "--task must say .* Received: a .any, 4., b .any, 2."),
        ({"outputs": {"a": (None, 8, 8, 4)}}, {}, "--task must say what model.h5 is for"),
        ({"outputs": {"a": (None, 8, 8, 4)}}, {"task": "classification"}, "must have one output .N, values. for class"),
        ({}, {"task": "segmentation"}, "must have one output .N, height, width, classes. for segmentation"),
    ],
)
def test_what_is_missing_or_contradicts_is_one_line(facts, said, message):
    with pytest.raises(UserError, match=message) as caught:
        describe(replace(FACTS, **facts), replace(SAID, **said))
    assert "\n" not in str(caught.value)


def test_a_model_that_says_everything_needs_no_option():
    facts = replace(FACTS, rescales=True, classes=["w", "x", "y", "z"])
    assert describe(facts, Declaration()).classes == ["w", "x", "y", "z"]
    assert describe(facts, Declaration()).range.is_identity


def test_the_classes_of_the_data_are_the_models_where_nobody_says_others():
    said = replace(SAID, classes=None)
    given = describe(FACTS, said, ["data.root=somewhere"], classes_of=lambda cfg: ["k", "l", "m", "n"])
    assert given.classes == ["k", "l", "m", "n"]
    with pytest.raises(UserError, match="--classes must give"):
        describe(FACTS, said, classes_of=lambda cfg: pytest.fail("no data is given"))


def test_a_detector_of_torchvision_has_the_settings_of_its_config():
    heads = {"class_logits": (None, 3234, 6), "box_regressions": (None, 3234, 4)}
    settings = SETTINGS["ssdlite320_mobilenet_v3_large"]
    facts = Facts("net.pth", (None, 320, 320, 3), heads, rescales=True, task="detection", settings=settings)
    description = describe(facts, Declaration(classes="numbered"))
    assert description.classes == list("01234"), "the first of the six logits is the background"
    assert description.cfg.detections.iou_threshold == 0.55 and description.cfg.model.anchors.max_side == 1.0


def test_one_output_is_the_second_of_two_classes():
    binary = replace(FACTS, outputs={"output_0": (None, 1)}, ends_in="sigmoid")
    description = describe(binary, replace(SAID, classes=["cat", "dog"]))
    assert description.is_binary and description.metadata.outputs == "softmax"


def test_class_files_of_other_tools(tmp_path):
    path = tmp_path / "labels.txt"
    for text, names in (
        ("0 Cat\n1 Dog\n", ["Cat", "Dog"]),  # Teachable Machine
        ("crane\ncrane\n", ["crane", "crane (2)"]),  # ImageNet
        ("1 Cat\n2 Dog\n", ["1 Cat", "2 Dog"]),
    ):
        path.write_text(text)
        assert Declaration(classes=path).class_names(2) == names
    assert Declaration(classes="numbered").class_names(3) == ["0", "1", "2"]
    path = tmp_path / "instances.json"
    path.write_text('{"categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}]}')
    assert Declaration(classes=path).class_names(3) == ["person", "unused 2", "car"]
    for broken in ("[]", '{"categories": []}', '{"categories": [{"id": 0, "name": "x"}]}', '{"categories": [7]}'):
        path.write_text(broken)
        with pytest.raises(UserError, match="instances.json must"):
            Declaration(classes=path).class_names(3)


@pytest.mark.parametrize("option", [{"task": "depth"}, {"ends_in": "relu"}])
def test_unknown_values_name_the_known_ones(option):
    with pytest.raises(UserError, match="must be .* or .* Received: "):
        Declaration(**option)
