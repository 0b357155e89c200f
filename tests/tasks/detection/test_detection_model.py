"""Detectors of every backbone and head: maps, anchors, costs of the papers, gradients, files; and the errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from half import need

from mobilenet_tf.analysis.cost import cost
from mobilenet_tf.models import builder
from mobilenet_tf.tasks.detection.anchors import anchor_spec, anchors_for, map_sizes
from mobilenet_tf.tasks.detection.model import detector
from mobilenet_tf.utils.errors import UserError

BACKBONES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
SMALL = {"alpha": 0.25, "input_size": (96, 96)}


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.output.items()}


def picture(height, width, seed=0):
    return tf.constant(np.random.default_rng(seed).uniform(0, 255, (2, height, width, 3)), tf.float32)


# Costs -------------------------------------------------------------------------------------------


# Multiply-adds and parameters at 320 px: arXiv:1801.04381, Table 6, and arXiv:1905.02244, Table 6 (its V1 and V2 are
# the former's). Their first map has TF Object Detection's three anchors. The V2 paper's numbers fit 80 classes and
# background, the V3 paper's the 90 of COCO's ids and background; the V3 paper's parameters fit without BatchNorm's, the
# V2 paper's both ways. One difference is left: V3-Large has 0.62 B in print and 0.613 B in its convolutions. With what
# shortcuts, squeeze-excites, poolings and biases compute it has 0.617 B, and all four V3 agree with the print.
@pytest.mark.parametrize(
    ("backbone", "reduced_tail", "classes", "billions", "millions"),
    [
        ("mobilenet_v1", False, 80, "1.3", "5.1"),
        ("mobilenet_v2", False, 80, "0.8", "4.3"),
        ("mobilenet_v3_large", False, 90, "0.62", "4.97"),
        ("mobilenet_v3_large", True, 90, "0.51", "3.22"),
        ("mobilenet_v3_small", False, 90, "0.21", "2.49"),
        ("mobilenet_v3_small", True, 90, "0.16", "1.77"),
    ],
)
def test_costs_are_those_of_the_papers(backbone, reduced_tail, classes, billions, millions):
    model = detector(backbone, classes, reduced_tail=reduced_tail, anchors={"layout": "tf"})
    assert shapes(model)["class_logits"] == (None, 2034, classes + 1)
    total = cost(model)
    mult_adds = total.mult_adds
    if "v3" in backbone:
        mult_adds += elementwise(model)
    assert f"{mult_adds / 1e9:.{len(billions) - 2}f}" == billions
    parameters = total.parameters - total.by_type()["other"].parameters
    assert f"{parameters / 1e6:.{len(millions) - 2}f}" == millions
    if "v3" not in backbone:  # with BatchNorm's scales and offsets
        assert f"{total.trainable / 1e6:.{len(millions) - 2}f}" == millions


def elementwise(model):
    """The multiplications and additions of shortcuts, squeeze-excites, poolings and biases for one image."""
    count = 0
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.Add | keras.layers.Multiply):
            count += int(np.prod(layer.output.shape[1:]))
        elif isinstance(layer, keras.layers.GlobalAveragePooling2D):
            count += int(np.prod(layer.input.shape[1:]))
        elif getattr(layer, "bias", None) is not None:
            count += int(np.prod(layer.output.shape[1:]))
    return count


def test_heads_and_extra_maps_cost_what_they_should():
    lite, full = (
        {row.name: row.mult_adds for row in cost(detector("mobilenet_v2", 20, head=head)).rows}
        for head in ("ssdlite", "ssd")
    )
    assert full["extra_0_conv"] == 9 * 256 * 512 * 5 * 5
    assert (lite["extra_0_depthwise"], lite["extra_0_project"]) == (9 * 256 * 5 * 5, 256 * 512 * 5 * 5)
    assert full["class_0"] == 9 * 576 * 6 * 21 * 20 * 20
    assert (lite["class_0_depthwise"], lite["class_0"]) == (9 * 576 * 20 * 20, 576 * 6 * 21 * 20 * 20)


# Maps and anchors --------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_first_map_is_the_expansion_at_stride_16_and_the_second_the_last(backbone):
    model = detector(backbone, 3, input_size=(320, 320))
    endpoints = builder.backbone(backbone, 1.0, (320, 320, 3)).output
    first = "s16" if backbone == "mobilenet_v1" else "s16_expand"
    inputs = [model.get_layer(f"class_{i}_depthwise").input.shape[1:] for i in range(6)]
    assert inputs[0] == endpoints[first].shape[1:] and inputs[1] == endpoints["s32"].shape[1:]
    channels = {
        "mobilenet_v1": (512, 1024),
        "mobilenet_v2": (576, 1280),
        "mobilenet_v3_large": (672, 960),
        "mobilenet_v3_small": (288, 576),
    }[backbone]
    assert [tuple(shape) for shape in inputs] == [
        (20, 20, channels[0]),
        (10, 10, channels[1]),
        (5, 5, 512),
        (3, 3, 256),
        (2, 2, 256),
        (1, 1, 128),
    ]


@pytest.mark.parametrize(
    ("backbone", "head", "size"),
    [(backbone, head, (75, 131)) for backbone in BACKBONES for head in ("ssdlite", "fpnlite")]
    + [("mobilenet_v2", "ssd", (64, 96))],
)
def test_anchors_belong_to_the_outputs(backbone, head, size):
    model = detector(backbone, 2, alpha=0.25, input_size=size, head=head, fpn_channels=16, fpn_layers=1)
    anchors = anchors_for(backbone, input_size=size, head=head)
    assert shapes(model) == {
        "class_logits": (None, len(anchors), 3),
        "box_regressions": (None, len(anchors), 4),
    }
    inputs = [layer.output.shape[1:3] for layer in maps_of(model, head)]
    assert inputs == map_sizes(backbone, size, head)


def maps_of(model, head):
    """Layers whose outputs have the sizes of the maps, one a map."""
    if head == "fpnlite":
        return [model.get_layer(f"tower_0_level_{level}_relu") for level in range(3, 8)]
    return [model.get_layer(layer.name.removesuffix("_rows")) for layer in model.layers if is_class_rows(layer.name)]


def is_class_rows(name):
    return name.startswith("class_") and name.endswith("_rows")


@pytest.mark.parametrize(
    ("size", "maps"),
    [
        ((300, 300), [19, 10, 5, 3, 2, 1]),
        ((512, 512), [32, 16, 8, 4, 2, 1]),
        ((32, 32), [2, 1]),
        ((640, 640), [40, 20, 10, 5, 3, 2, 1]),
    ],
)
def test_maps_go_down_to_one_cell(size, maps):
    assert map_sizes("mobilenet_v2", size) == [(side, side) for side in maps]
    detector("mobilenet_v2", 1, alpha=0.1, input_size=size)


def test_rectangles_and_v1s_odd_maps():
    assert map_sizes("mobilenet_v3_small", (192, 320)) == [(12, 20), (6, 10), (3, 5), (2, 3), (1, 2), (1, 1)]
    assert map_sizes("mobilenet_v1", (300, 300))[:2] == [(18, 18), (9, 9)]  # 150, 75, 37, 18, 9: padded at the end
    assert map_sizes("mobilenet_v2", (300, 300), "fpnlite") == [(38, 38), (19, 19), (10, 10), (5, 5), (3, 3)]


@pytest.mark.parametrize("head", ["ssdlite", "fpnlite"])
def test_an_anchor_looks_where_it_lies(head):
    """What a spot of the image changes most in the first map are the outputs whose anchors lie around it."""
    keras.utils.set_random_seed(0)  # of 24 random networks, 3 spread the change of a spot a little wider
    model = detector("mobilenet_v2", 2, input_size=(128, 192), alpha=0.35, head=head, fpn_channels=16)
    anchors = anchors_for("mobilenet_v2", input_size=(128, 192), head=head)
    cells = np.prod(map_sizes("mobilenet_v2", (128, 192), head)[0])
    for y, x in ((30, 150), (100, 40)):
        image = np.full((1, 128, 192, 3), 127, np.float32)
        before = model(image)["class_logits"]
        image[:, y - 6 : y + 6, x - 6 : x + 6] = np.random.default_rng(0).uniform(0, 255, (12, 12, 3))
        change = np.abs(model(image)["class_logits"] - before)[0].sum(-1)[: cells * 6]
        change = change[:, None] / change.max()
        centers = (anchors[: cells * 6, :2] + anchors[: cells * 6, 2:]) / 2
        center = (centers * change**2).sum(0) / (change**2).sum() * (128, 192)
        assert np.abs(center - (y, x)).max() < 16  # pixels, a cell at stride 16


def test_anchors_are_cached_read_only_and_follow_their_keys():
    first = anchors_for("mobilenet_v2", input_size=[96, 96], anchors={"layout": "ssd", "ratios": [1, 2]})
    assert anchors_for("mobilenet_v2", input_size=(96, 96), anchors={"layout": "ssd", "ratios": (1, 2)}) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    clipped = anchors_for("mobilenet_v2", input_size=(96, 96), anchors={"ratios": [1, 2], "clip": True})
    np.testing.assert_array_equal(clipped, first.clip(0, 1))
    keys = {"layout": "custom", "boxes": [[(0.1, 0.2)], [(0.3, 0.3), (0.5, 0.2)], [(0.9, 0.9)]]}
    assert len(anchors_for("mobilenet_v2", input_size=(64, 64), anchors=keys)) == 4 * 4 + 2 * 2 * 2 + 1


# Training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backbone", "head"),
    [(backbone, "ssdlite") for backbone in BACKBONES] + [("mobilenet_v2", "ssd"), ("mobilenet_v2", "fpnlite")],
)
def test_outputs_are_finite_and_a_gradient_reaches_every_variable(backbone, head):
    model = detector(backbone, 3, **SMALL, head=head, fpn_channels=16)
    with tf.GradientTape() as tape:
        raw = model(picture(96, 96), training=True)
        total = sum(tf.reduce_sum(value**2) for value in raw.values())
    assert all(np.isfinite(value).all() for value in raw.values())
    gradients = tape.gradient(total, model.trainable_variables)
    missing = [v.path for v, g in zip(model.trainable_variables, gradients, strict=True) if g is None]
    assert not missing


@pytest.mark.parametrize("head", ["ssdlite", "fpnlite"])
def test_inference_needs_no_word_and_moves_no_statistics(head):
    model = detector("mobilenet_v2", 3, **SMALL, head=head, fpn_channels=16)
    before = [v.numpy() for v in model.non_trainable_variables]
    plain, told = model(picture(96, 96)), model(picture(96, 96), training=False)
    for name in plain:
        np.testing.assert_array_equal(plain[name], told[name])
    for variable, value in zip(model.non_trainable_variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.parametrize("head", ["ssdlite", "fpnlite"])
def test_sigmoid_scores_start_at_the_prior_and_have_no_background(head):
    model = detector("mobilenet_v2", 3, **SMALL, head=head, scores="sigmoid", fpn_channels=16)
    logits = model(picture(96, 96))["class_logits"]
    assert logits.shape[-1] == 3
    assert np.median(tf.sigmoid(logits)) == pytest.approx(0.01, rel=0.2)


def test_batch_norm_of_the_heads_and_initial_kernels():
    model = detector("mobilenet_v2", 3, input_size=(96, 96))
    norm = model.get_layer("class_0_depthwise_bn")
    assert (norm.momentum, norm.epsilon) == (0.97, 1e-3)
    kernels = [model.get_layer(f"{name}_0").kernel.numpy() for name in ("class", "box")]
    assert all(0.02 < kernel.std() < 0.035 and abs(kernel).max() < 0.07 for kernel in kernels)
    assert not np.array_equal(kernels[1][..., :4], kernels[0][..., :4])
    fpn = detector("mobilenet_v2", 3, input_size=(96, 96), head="fpnlite")
    assert fpn.get_layer("tower_0_level_3_bn").momentum == 0.997
    assert fpn.get_layer("tower_0_level_3_bn") is not fpn.get_layer("tower_0_level_4_bn")
    assert sum(layer.name == "tower_0" for layer in fpn.layers) == 1, "the levels share their convolutions"


def test_the_reduced_tail_halves_the_backbones_end_only():
    models = [detector("mobilenet_v3_small", 2, input_size=(96, 96), reduced_tail=tail) for tail in (False, True)]
    whole, reduced = ([m.get_layer(f"class_{i}_depthwise").input.shape[-1] for i in range(3)] for m in models)
    assert whole == [288, 576, 512] and reduced == [288, 288, 512]


def test_mixed_precision_gives_float32():
    need("bfloat16")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = detector("mobilenet_v2", 2, **SMALL)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("class_0").compute_dtype == "bfloat16"
    assert {value.dtype for value in model(picture(96, 96)).values()} == {tf.float32}


# Files -------------------------------------------------------------------------------------------


def test_a_detector_survives_its_file(tmp_path):
    model = detector("mobilenet_v3_small", 2, **SMALL, head="fpnlite", fpn_channels=16)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    for name, value in model(picture(96, 96)).items():
        np.testing.assert_allclose(again(picture(96, 96))[name], value, atol=1e-5)


def test_weights_are_those_of_the_backbone(tmp_path):
    source = builder.backbone("mobilenet_v2", 0.35, (96, 96, 3))
    source.save(tmp_path / "backbone.keras")
    model = detector("mobilenet_v2", 2, input_size=(96, 96), alpha=0.35, weights=str(tmp_path / "backbone.keras"))
    for ours, theirs in zip(model.get_layer("backbone").weights, source.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"head": "yolo"}, "head must be one of ssdlite, ssd, fpnlite. Received: yolo"),
        ({"scores": "argmax"}, "scores must be softmax or sigmoid. Received: argmax"),
        ({"anchors": {"layout": "grid"}}, "anchors.layout must be one of ssd, tf, fpn, custom. Received: grid"),
        (
            {"anchors": {"layout": "custom", "boxes": [[(0.1, 0.1)]]}},
            "anchors must be given for the 3 maps of ssdlite at 64x64. Received: 1 maps",
        ),
        ({"head": "fpnlite", "anchors": {"layout": "tf"}}, "anchors of fpnlite must be as many on each map"),
        ({"backbone": "resnet"}, "The network must be one of"),
        ({"reduced_tail": True}, "reduced_tail must be false for mobilenet_v2"),
        ({"input_size": (16, 64)}, "at least 32x32 pixels"),
    ],
)
def test_errors_are_one_clear_line(keys, message):
    keys = {"backbone": "mobilenet_v2", "classes": 2, "alpha": 0.1, "input_size": (64, 64)} | keys
    with pytest.raises(UserError) as error:
        detector(keys.pop("backbone"), keys.pop("classes"), **keys)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_layout_of_anchors_is_that_of_the_head():
    assert anchor_spec("mobilenet_v2", (320, 320)).counts == (6,) * 6
    assert anchor_spec("mobilenet_v2", (320, 320), layout="tf").counts == (3, 6, 6, 6, 6, 6)
    assert anchor_spec("mobilenet_v2", (320, 320), "fpnlite").counts == (6,) * 5
    assert anchor_spec("mobilenet_v2", (320, 320), "fpnlite", layout="ssd", ratios=[1, 2]).counts == (3,) * 5
