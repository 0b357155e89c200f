"""MobileNetV4, MobileDet, MNASNet, MobileNet-EdgeTPU and MobileNet-Multi: their published sizes, maps and layers."""

import functools
import warnings

import keras
import numpy as np
import pytest

import mobilenet_tf
from mobilenet_tf.analysis.cost import cost
from mobilenet_tf.models import assembly, builder, specs, weights
from mobilenet_tf.models.layers import AttentionLogits, AttentionValues, LayerScale
from mobilenet_tf.utils.errors import UserError

# name -> (input size, millions of trained parameters, millions of multiply-adds) with 1000 classes; MobileDet without
# a classifier. Counted from the tables; the parameters are those that the papers and timm give.
COUNTS = {
    "mobilenet_v4_conv_small": (224, 3.774, 186.0),
    "mobilenet_v4_conv_medium": (256, 9.716, 1080.2),
    "mobilenet_v4_conv_large": (384, 32.591, 6376.2),
    "mobilenet_v4_conv_medium_seg": (256, 5.022, 802.9),
    "mobilenet_v4_hybrid_medium": (256, 11.075, 1271.2),
    "mobilenet_v4_hybrid_large": (384, 37.765, 7711.9),
    "mobiledet_cpu": (320, 3.006, 408.0),
    "mobiledet_dsp": (320, 5.840, 2763.4),
    "mobiledet_edgetpu": (320, 2.777, 1473.8),
    "mobilenet_edgetpu_v1": (224, 4.091, 990.7),
    "mobilenet_edgetpu_v2_xs": (224, 4.460, 688.2),
    "mobilenet_edgetpu_v2_s": (224, 5.986, 1198.0),
    "mobilenet_edgetpu_v2_m": (224, 8.463, 1835.6),
    "mobilenet_edgetpu_v2_l": (224, 10.922, 2530.8),
    "mnasnet_a1": (224, 3.887, 311.6),
    "mnasnet_b1": (224, 4.383, 314.4),
    "mnasnet_small": (224, 2.030, 68.3),
    "mobilenet_multi_max": (224, 4.423, 349.2),
    "mobilenet_multi_avg": (224, 4.949, 432.5),
    "mobilenet_multi_max_seg": (224, 3.183, 320.2),
    "mobilenet_multi_avg_seg": (224, 3.491, 392.8),
}
NAMES = list(COUNTS)
BUILDERS = {name: value for name, value in vars(builder).items() if isinstance(value, builder.Builder)}


@functools.cache
def whole(name):
    return builder.network(specs.find(name), input_shape=(None, None, 3), weights=None)


def test_every_network_is_counted_and_has_a_builder():
    assert set(NAMES) == {name for name, net in specs.NETS.items() if not net.sizes}
    assert [found.name for found in BUILDERS.values()] == list(specs.NETS)[-len(BUILDERS) :]
    assert {name: specs.find(found.name).title for name, found in BUILDERS.items()} == {name: name for name in BUILDERS}
    assert set(BUILDERS) <= set(dir(mobilenet_tf)) and mobilenet_tf.MNASNetB1 is builder.MNASNetB1


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_multiply_adds_are_the_published_ones(name):
    size, parameters, mult_adds = COUNTS[name]
    found = cost(whole(name), size)
    rows = [row for row in found.rows if not (name.startswith("mobiledet") and row.name == "predictions")]
    assert f"{sum(row.trainable for row in rows) / 1e6:.3f}" == f"{parameters:.3f}"
    assert f"{sum(row.mult_adds for row in rows) / 1e6:.1f}" == f"{mult_adds:.1f}"
    net = specs.find(name)
    shapes = [tuple(w.shape) for w in whole(name).weights if len(w.shape) == 4]
    kernels = list(net.kernels(1.0))
    assert kernels == shapes[: len(kernels)]
    assert weights.identify(shapes) == weights.Identity(name, 1.0)


@pytest.mark.parametrize("name", NAMES)
def test_maps_have_their_strides_at_every_output_stride_width_and_odd_size(name):
    place = NAMES.index(name)
    output_stride, alpha = (8, 16, 32)[place % 3], (0.35, 0.5, 0.75)[place % 2]
    net = specs.find(name)
    model = mobilenet_tf.backbone(name, alpha, (97, 65, 3), output_stride, last=False)
    sizes = net.map_sizes((97, 65))
    assert list(model.output) == ["s2", "s4", "s8", "s16", "s32"]
    for key, found in model.output.items():
        assert found.shape[1:3] == sizes[min(int(key[1:]), output_stride)], key
    assert model.output["s32"].shape[-1] == net.width(net.blocks[-1].out, alpha)
    assert [tuple(w.shape) for w in model.weights if len(w.shape) == 4] == [
        *specs.replace(net, last=None).kernels(alpha)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_short_network_computes_saves_and_loads(name, few_rows, tmp_path):
    model = BUILDERS[specs.find(name).title](input_shape=(65, 49, 3), alpha=0.5, classes=3)
    image = np.random.default_rng(0).uniform(0, 255, (1, 65, 49, 3)).astype("float32")
    scores = np.asarray(model(image))
    assert scores.shape == (1, 3) and np.isclose(scores.sum(), 1)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(image), scores)


def test_a_dilated_universal_block_computes_the_strided_one_densely():
    """Without attention each value of the strided network is one of the dilated network's."""
    strided = mobilenet_tf.backbone("mobilenet_v4_conv_small", 0.35, (64, 64, 3))
    dilated = mobilenet_tf.backbone("mobilenet_v4_conv_small", 0.35, (64, 64, 3), 16)
    dilated.set_weights(strided.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    found, expected = dilated(image)["s32"], strided(image)["s32"]
    np.testing.assert_allclose(found[:, 1::2, 1::2], expected, atol=1e-5)


def test_weights_of_a_classifier_load_with_its_head(few_rows, tmp_path):
    """The normalized convolution behind the pooling is part of the head, not of the backbone."""
    first = mobilenet_tf.MobileNetV4ConvSmall(input_shape=(32, 32, 3), alpha=0.35, classes=4)
    second = mobilenet_tf.MobileNetV4ConvSmall(input_shape=(32, 32, 3), alpha=0.35, classes=7)
    first.save(tmp_path / "first.keras")
    report = weights.load(second, tmp_path / "first.keras")
    assert report.reset_layers == ("logits",)
    np.testing.assert_array_equal(second.get_layer("head_bn").gamma, first.get_layer("head_bn").gamma)
    with pytest.raises(UserError, match="none are published for MobileNetV4ConvSmall"):
        mobilenet_tf.MobileNetV4ConvSmall(weights="imagenet")


def test_weights_from_another_padding_are_warned_about(few_rows, tmp_path):
    """Networks that are converted from PyTorch have the same layers, but pad both sides at stride 2."""
    net = specs.find("mobilenet_v4_conv_small")
    image = keras.Input((64, 64, 3))
    symmetric = assembly.endpoints(specs.replace(net, padding="symmetric"), image, 0.35)
    keras.Model(image, symmetric["s32"]).save(tmp_path / "torch.keras")
    with pytest.warns(
        UserWarning, match=r"torch\.keras is of a network that pads both sides alike.*MobileNetV4ConvSmall"
    ):
        mobilenet_tf.backbone(net.name, 0.35, weights=tmp_path / "torch.keras")
    keras.Model(image, assembly.endpoints(net, image, 0.35)["s32"]).save(tmp_path / "own.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mobilenet_tf.backbone(net.name, 0.35, weights=tmp_path / "own.keras")


# Layers of hybrid networks -----------------------------------------------------------------------


def test_attention_is_that_of_numpy():
    rng = np.random.default_rng(0)
    queries, keys, values = (rng.normal(size=shape).astype("float32") for shape in ((2, 3, 4, 10), *[(2, 2, 3, 5)] * 2))
    logits = np.asarray(AttentionLogits()([queries, keys]))
    flat = queries.reshape(2, 12, 2, 5)  # pixel, head, depth
    expected = np.einsum("npha,nka->nphk", flat, keys.reshape(2, 6, 5))
    np.testing.assert_allclose(logits.reshape(2, 12, 2, 6), expected, atol=1e-5)
    shares = np.asarray(keras.ops.softmax(logits))
    found = AttentionValues()([shares, values, queries])
    mixed = np.einsum("nphk,nka->npha", shares.reshape(2, 12, 2, 6), values.reshape(2, 6, 5))
    np.testing.assert_allclose(found, mixed.reshape(2, 3, 4, 10), atol=1e-5)
    assert AttentionLogits().mult_adds(queries.shape, logits.shape) == 3 * 4 * 10 * 6
    assert AttentionValues().mult_adds(logits.shape, queries.shape) == 3 * 4 * 10 * 6


def test_layer_scale_starts_as_it_is_told_and_is_stored():
    layer = LayerScale(0.5)
    np.testing.assert_array_equal(layer(np.full((1, 2, 2, 3), 4.0, np.float32)), np.full((1, 2, 2, 3), 2.0))
    assert LayerScale.from_config(layer.get_config()).initial == 0.5
    assert [w.shape for w in layer.trainable_weights] == [(3,)]
