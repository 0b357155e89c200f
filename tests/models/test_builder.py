import collections
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import mobilenet_tf
from mobilenet_tf.inference.tflite import interpreter_class
from mobilenet_tf.models import specs
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.utils.errors import UserError

OURS = {
    "mobilenet_v1": mobilenet_tf.MobileNetV1,
    "mobilenet_v2": mobilenet_tf.MobileNetV2,
    "mobilenet_v3_large": mobilenet_tf.MobileNetV3Large,
    "mobilenet_v3_small": mobilenet_tf.MobileNetV3Small,
    "mobilenet_v3_large_minimalistic": functools.partial(mobilenet_tf.MobileNetV3Large, minimalistic=True),
    "mobilenet_v3_small_minimalistic": functools.partial(mobilenet_tf.MobileNetV3Small, minimalistic=True),
}
KERAS = {
    "mobilenet_v1": keras.applications.MobileNet,
    "mobilenet_v2": keras.applications.MobileNetV2,
    "mobilenet_v3_large": keras.applications.MobileNetV3Large,
    "mobilenet_v3_small": keras.applications.MobileNetV3Small,
    "mobilenet_v3_large_minimalistic": functools.partial(keras.applications.MobileNetV3Large, minimalistic=True),
    "mobilenet_v3_small_minimalistic": functools.partial(keras.applications.MobileNetV3Small, minimalistic=True),
}
NAMES = list(OURS)
PAIRS = [(name, alpha) for name in NAMES for alpha in specs.find(name).alphas]


def photo(height, width, seed=0):
    """An image with structure at a low and a high frequency, [1, H, W, 3] in 0..255."""
    rng = np.random.default_rng(seed)
    coarse = tf.image.resize(rng.uniform(0, 255, (1, 9, 9, 3)), (height, width), method="bicubic").numpy()
    return np.clip(coarse + rng.normal(0, 20, coarse.shape), 0, 255).astype("float32")


def as_keras_wants(name, image):
    """keras.applications' V1 and V2 take [-1, 1]; its V3 rescales by itself."""
    return image if "v3" in name else image / 127.5 - 1.0


def batch_norms(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def randomise(model, image):
    """Random affine weights, and statistics around those of the image.

    Variances of once to twice the true ones keep the network well-conditioned: with the true ones a random network is
    chaotic (the last bit of the input moves the output by 1e-4), with larger ones it forgets its input.
    """
    rng = np.random.default_rng(0)
    momenta = [layer.momentum for layer in batch_norms(model)]
    for layer in batch_norms(model):
        layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
        layer.momentum = 0.0
    model(image, training=True)
    for layer, momentum in zip(batch_norms(model), momenta, strict=True):
        layer.momentum = momentum
        variance = layer.moving_variance.numpy()
        layer.moving_mean.assign_add(rng.normal(0, 0.1, variance.shape) * np.sqrt(variance))
        layer.moving_variance.assign(variance * rng.uniform(1.0, 2.0, variance.shape))


def assert_close(ours, theirs, tolerance=1e-5):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.isfinite(ours).all()
    assert np.abs(ours - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max())


@functools.cache
def reference(name, alpha):
    """keras.applications' features without a fixed size, randomised."""
    model = KERAS[name](input_shape=(None, None, 3), alpha=alpha, weights=None, include_top=False)
    randomise(model, as_keras_wants(name, photo(224, 224)))
    return model


@functools.cache
def randomised(name, **options):
    """Our backbone with the reference's weights."""
    model = mobilenet_tf.backbone(name, **options)
    model.set_weights(reference(name, 1.0).get_weights())
    return model


def weighted_layers(model):
    return [(layer.name, [(w.name, w.shape) for w in layer.weights]) for layer in model.layers if layer.weights]


# Parity with keras.applications ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name, alpha", PAIRS)
def test_parity_with_keras_applications(name, alpha):
    theirs = reference(name, alpha)
    ours = OURS[name](input_shape=(None, None, 3), alpha=alpha, weights=None, include_top=False)
    assert weighted_layers(ours) == weighted_layers(theirs)
    ours.set_weights(theirs.get_weights())
    for height, width in [(224, 224), (160, 160)]:
        image = photo(height, width, seed=1)
        assert_close(ours(image), theirs(as_keras_wants(name, image)))
    for height, width in [(193, 193), (257, 321)]:
        # keras.applications pads V2 and V3 wrongly on odd sizes when it does not know them, so here it must.
        fixed = theirs
        if name != "mobilenet_v1":
            fixed = KERAS[name](input_shape=(height, width, 3), alpha=alpha, weights=None, include_top=False)
            fixed.set_weights(theirs.get_weights())
        image = photo(height, width, seed=2)
        assert_close(ours(image), fixed(as_keras_wants(name, image)))


@pytest.mark.parametrize("name, height, width", [("mobilenet_v1", 160, 224), *[(name, 193, 161) for name in NAMES]])
def test_classifier_parity_at_a_fixed_size(name, height, width):
    options = {"input_shape": (height, width, 3), "weights": None, "classes": 7}
    theirs, ours = KERAS[name](**options), OURS[name](**options)
    head = theirs.get_weights()[len(reference(name, 1.0).weights) :]
    theirs.set_weights(reference(name, 1.0).get_weights() + head)
    assert weighted_layers(ours) == weighted_layers(theirs)
    ours.set_weights(theirs.get_weights())
    image = photo(height, width, seed=3)
    assert_close(ours(image), theirs(as_keras_wants(name, image)))


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooling_and_own_rescaling(pooling):
    options = {"input_shape": (96, 96, 3), "alpha": 0.5, "weights": None, "include_top": False, "pooling": pooling}
    theirs, ours = (
        keras.applications.MobileNetV2(**options),
        mobilenet_tf.MobileNetV2(**options, include_preprocessing=False),
    )
    ours.set_weights(theirs.get_weights())
    image = photo(96, 96) / 127.5 - 1.0
    assert_close(ours(image), theirs(image))


def test_depth_multiplier_and_odd_alpha():
    options = {"input_shape": (64, 64, 3), "alpha": 0.33, "depth_multiplier": 2, "weights": None}
    theirs, ours = keras.applications.MobileNet(**options), mobilenet_tf.MobileNetV1(**options)
    assert weighted_layers(ours) == weighted_layers(theirs)


@pytest.mark.parametrize("alpha", [0.6, 1.25, 2.0])
@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_unpublished_alphas_have_the_shapes_of_keras(name, alpha):
    options = {"input_shape": (64, 64, 3), "alpha": alpha, "weights": None}
    assert weighted_layers(OURS[name](**options)) == weighted_layers(KERAS[name](**options))


def test_keras_weight_files_load(tmp_path):
    theirs = KERAS["mobilenet_v3_small"](input_shape=(64, 64, 3), weights=None)
    ours = OURS["mobilenet_v3_small"](input_shape=(64, 64, 3), weights=None)
    for file in ("published.h5", "keras3.weights.h5"):
        theirs.set_weights([w + 0.01 for w in theirs.get_weights()])
        theirs.save_weights(tmp_path / file) if "weights" in file else theirs.save(tmp_path / file)
        ours.load_weights(tmp_path / file)
        for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "name, millions",
    [
        ("mobilenet_v1", 4.231976),
        ("mobilenet_v2", 3.504872),
        ("mobilenet_v3_large", 5.483032),
        ("mobilenet_v3_small", 2.542856),
    ],
)
def test_parameter_counts_of_the_papers(name, millions):
    model = OURS[name](weights=None)
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == millions * 1e6


# Endpoints ---------------------------------------------------------------------------------------

# channels of s2, s4, s8, s16, s16_expand, s32 at alpha 1
CHANNELS = {
    "mobilenet_v1": (64, 128, 256, 512, None, 1024),
    "mobilenet_v2": (16, 24, 32, 96, 576, 1280),
    "mobilenet_v3_large": (16, 24, 40, 112, 672, 960),
    "mobilenet_v3_small": (16, 16, 24, 48, 288, 576),
    "mobilenet_v3_large_minimalistic": (16, 24, 40, 112, 672, 960),
    "mobilenet_v3_small_minimalistic": (16, 16, 24, 48, 288, 576),
}
STRIDES = {"s2": 2, "s4": 4, "s8": 8, "s16": 16, "s16_expand": 16, "s32": 32}


@pytest.mark.parametrize("output_stride", [32, 16, 8])
@pytest.mark.parametrize("name", NAMES)
def test_endpoint_shapes(name, output_stride):
    model = mobilenet_tf.backbone(name, input_shape=(224, 160, 3), output_stride=output_stride)
    expected = {
        key: (None, 224 // min(stride, output_stride), 160 // min(stride, output_stride), channels)
        for (key, stride), channels in zip(STRIDES.items(), CHANNELS[name], strict=True)
        if channels
    }
    assert model.name == "backbone"
    assert {key: map.shape for key, map in model.output.items()} == expected


@pytest.mark.parametrize("name", NAMES)
def test_endpoints_have_static_channels_and_odd_sizes_round_up_or_down(name):
    model = randomised(name)
    maps = model(photo(97, 65))
    assert all(map.shape[-1] is not None for map in model.output.values())
    for key, stride in STRIDES.items():
        if key in maps:
            exact = np.array([97, 65]) / stride
            assert (np.abs(np.array(maps[key].shape[1:3]) - exact) <= 1).all(), key
            assert np.isfinite(maps[key]).all(), key


@pytest.mark.parametrize(
    "name, size, first",
    [
        # "same" padding at stride 2 looks at odd positions on even sizes, at even positions on odd sizes
        ("mobilenet_v2", 96, {16: 1, 8: 3}),
        ("mobilenet_v2", 97, {16: 0, 8: 0}),
        ("mobilenet_v3_large_minimalistic", 96, {16: 1, 8: 3}),
        ("mobilenet_v3_small_minimalistic", 97, {16: 0, 8: 0}),
        # V1 pads at the end whatever the size
        ("mobilenet_v1", 96, {16: 1, 8: 3}),
        ("mobilenet_v1", 122, {16: 1, 8: 3}),
    ],
)
def test_dilated_network_computes_the_strided_one_densely(name, size, first):
    """Without squeeze-excite (a mean over all positions) each strided value is one of the dilated network's values."""
    image = photo(size, size)
    strided = randomised(name)(image)
    for output_stride, start in first.items():
        dilated = randomised(name, output_stride=output_stride)(image)
        step = 32 // output_stride
        assert_close(dilated["s32"][:, start::step, start::step], strided["s32"])
        assert_close(dilated["s8"], strided["s8"])


def test_five_by_five_kernels_dilate_too():
    def rates(output_stride):
        model = mobilenet_tf.backbone("mobilenet_v3_large", output_stride=output_stride)
        convs = [layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
        return [(layer.strides[0], layer.dilation_rate[0]) for layer in convs[6:]]

    assert rates(32) == [(2, 1), *[(1, 1)] * 5, (2, 1), (1, 1), (1, 1)]
    assert rates(16) == [(2, 1), *[(1, 1)] * 5, (1, 1), (1, 2), (1, 2)]
    assert rates(8) == [(1, 1), *[(1, 2)] * 5, (1, 2), (1, 4), (1, 4)]


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_reduced_tail_halves_the_blocks_at_stride_32(name):
    full, reduced = (mobilenet_tf.backbone(name, reduced_tail=flag).output for flag in (False, True))
    assert reduced["s32"].shape[-1] * 2 == full["s32"].shape[-1]
    assert reduced["s16_expand"].shape == full["s16_expand"].shape


def test_backbone_holds_the_weights_of_the_classifier_in_order():
    for name in NAMES:
        assert weighted_layers(randomised(name)) == weighted_layers(reference(name, 1.0))


# Training ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_variable_has_a_gradient(name):
    model = OURS[name](input_shape=(64, 64, 3), alpha=0.5, weights=None, classes=5, classifier_activation=None)
    image = np.concatenate([photo(64, 64, seed) for seed in range(4)])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(image, training=True) - 1.0) ** 2)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert gradient is not None and np.isfinite(gradient).all(), variable.path
        assert np.abs(gradient).max() > 0, variable.path


def test_a_frozen_model_keeps_its_statistics():
    model = OURS["mobilenet_v2"](input_shape=(64, 64, 3), alpha=0.35, weights=None)
    model.trainable = False
    before = model.get_weights()
    model(photo(64, 64), training=True)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(type(layer) is BatchNormalization for layer in batch_norms(model))


def test_saves_and_loads_in_safe_mode(tmp_path):
    model = randomised("mobilenet_v3_small")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    image = photo(96, 64)
    for key, expected in model(image).items():
        assert_close(loaded(image)[key], expected, 1e-6)


def test_input_tensor_keeps_what_comes_before_it():
    image = keras.Input((64, 64, 3), name="rgb")
    flipped = keras.layers.Lambda(lambda x: x[:, :, ::-1])(image)
    ours = OURS["mobilenet_v1"](input_tensor=flipped, alpha=0.25, weights=None, include_top=False)
    plain = OURS["mobilenet_v1"](input_shape=(64, 64, 3), alpha=0.25, weights=None, include_top=False)
    plain.set_weights(ours.get_weights())
    assert_close(ours(photo(64, 64)), plain(photo(64, 64)[:, :, ::-1]))


def test_models_have_the_names_of_keras():
    assert OURS["mobilenet_v2"](weights=None, alpha=0.5).name == "mobilenet_v2_0.50_224"
    assert OURS["mobilenet_v3_large"](weights=None).name == "MobileNetV3Large"


# Mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"alpha": 0}, "alpha must be above 0.*alpha=0"),
        ({"output_stride": 4}, "output_stride must be 32, 16 or 8.*output_stride=4"),
        ({"pooling": "sum"}, "pooling must be.*'sum'"),
        ({"input_shape": (31, 64, 3)}, r"at least 32x32.*\(31, 64, 3\)"),
        ({"input_shape": (64, 64)}, r"input_shape must be.*\(64, 64\)"),
        ({"weights": "imagenet", "classes": 10}, "classes must be 1000.*classes=10"),
    ],
)
def test_mistakes_are_user_errors(options, message):
    with pytest.raises(UserError, match=message):
        OURS["mobilenet_v2"](**{"weights": None, **options})


def test_backbone_mistakes_are_user_errors():
    with pytest.raises(UserError, match="one of mobilenet_v1.*Received: vgg"):
        mobilenet_tf.backbone("vgg")
    with pytest.raises(UserError, match="reduced_tail"):
        mobilenet_tf.backbone("mobilenet_v2", reduced_tail=True)
    with pytest.raises(UserError, match="depth_multiplier must be 1"):
        OURS["mobilenet_v1"](depth_multiplier=2)


# Export ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, expected",
    [
        # everything folds: BatchNormalization and relu6 into the convolutions, explicit padding into "same"
        ("mobilenet_v1", {"CONV_2D": 15, "DEPTHWISE_CONV_2D": 13}),
        ("mobilenet_v2", {"CONV_2D": 35, "DEPTHWISE_CONV_2D": 17, "FULLY_CONNECTED": 1}),
        ("mobilenet_v3_small", {"HARD_SWISH": 19, "DEPTHWISE_CONV_2D": 11}),
    ],
)
def test_tflite_folds_normalisation_and_activations(name, expected, tmp_path):
    model = OURS[name](input_shape=(64, 64, 3), weights=None, classifier_activation=None)
    signature = [tf.TensorSpec((1, 64, 64, 3), name="image")]
    model.export(tmp_path, verbose=False, input_signature=signature)
    content = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path)).convert()
    interpreter = interpreter_class()(model_content=content)
    ops = collections.Counter(op["op_name"] for op in interpreter._get_ops_details())
    assert {op: ops[op] for op in expected} == expected
    assert not {"PAD", "PADV2", "RELU6", "VAR_HANDLE", "READ_VARIABLE"} & set(ops)
    if name != "mobilenet_v3_small":
        assert ops["MUL"] <= 1  # the rescaling
