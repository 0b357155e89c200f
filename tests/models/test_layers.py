import keras
import numpy as np
import pytest
import tensorflow as tf
from half import need

from mobilenet_tf.models.layers import BatchNormalization

SHAPES = [(4, 9, 7, 16), (1, 1, 1, 8), (2, 1, 1, 8), (3, 1, 5, 1)]


def pair(shape, **config):
    """Our layer and Keras's with the same random weights."""
    rng = np.random.default_rng(0)
    fused, reference = (cls(**config) for cls in (BatchNormalization, keras.layers.BatchNormalization))
    for layer in (fused, reference):
        layer.build(shape)
    reference.set_weights([rng.uniform(0.5, 1.5, w.shape).astype("float32") for w in reference.get_weights()])
    fused.set_weights(reference.get_weights())
    return fused, reference


def images(shape, seed=1):
    return tf.constant(np.random.default_rng(seed).normal(2.0, 3.0, shape).astype("float32"))


def step(layer, x, training):
    """(outputs, gradients by the inputs and the trainable variables) of a loss that tells the outputs apart."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 3)
    return [y, *tape.gradient(loss, [x, *layer.trainable_variables])]


def assert_same(ours, theirs, tolerance=2e-5):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(tf.cast(a, tf.float32)), np.asarray(tf.cast(b, tf.float32))
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max(initial=0)))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_statistics_are_those_of_keras(shape, training):
    fused, reference = pair(shape, momentum=0.9)
    for seed in range(3):
        x = images(shape, seed)
        assert_same(step(fused, x, training), step(reference, x, training))
        assert_same(fused.get_weights(), reference.get_weights())


@pytest.mark.parametrize("options", [{"center": False}, {"scale": False}, {"epsilon": 1e-5, "momentum": 0.5}])
def test_options(options):
    fused, reference = pair(SHAPES[0], **options)
    x = images(SHAPES[0])
    assert_same(step(fused, x, True), step(reference, x, True))
    assert_same(fused.get_weights(), reference.get_weights())


def test_weights_config_and_names_are_those_of_keras():
    fused, reference = pair((None, None, None, 16), name="bn")
    assert [(w.name, w.shape, w.trainable) for w in fused.weights] == [
        (w.name, w.shape, w.trainable) for w in reference.weights
    ]
    assert fused.get_config() == reference.get_config()


@pytest.mark.parametrize("frozen", ["training=False", "trainable=False"])
def test_frozen_statistics_do_not_move(frozen):
    fused, reference = pair(SHAPES[0])
    fused.trainable = reference.trainable = frozen != "trainable=False"
    training = frozen == "trainable=False"
    before, x = fused.get_weights(), images(SHAPES[0])
    assert_same(step(fused, x, training), step(reference, x, training))
    for a, b in zip(fused.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("policy, tolerance", [("mixed_bfloat16", 2e-2), ("mixed_float16", 3e-3)])
@pytest.mark.parametrize("training", [True, False])
def test_mixed_precision_keeps_float32_statistics(policy, tolerance, training):
    need(policy.removeprefix("mixed_"))
    fused, reference = pair(SHAPES[0], dtype=policy)
    x = tf.cast(images(SHAPES[0]), fused.compute_dtype)
    ours, theirs = fused(x, training=training), reference(x, training=training)
    assert ours.dtype == theirs.dtype == fused.compute_dtype
    assert_same([ours], [theirs], tolerance)
    assert_same(fused.get_weights(), reference.get_weights())


@pytest.mark.parametrize(
    "shape, options", [((4, 16), {}), ((4, 5, 16), {}), ((4, 16, 5, 3), {"axis": 1}), ((4, 5, 3, 16), {"renorm": True})]
)
def test_what_the_kernel_cannot_do_runs_as_in_keras(shape, options):
    fused, reference = pair(shape, **options)
    x = images(shape)
    assert_same(step(fused, x, True), step(reference, x, True))
    assert_same(fused.get_weights(), reference.get_weights())


def test_masked_inputs_run_as_in_keras():
    fused, reference = pair(SHAPES[0])
    x, mask = images(SHAPES[0]), tf.constant(np.random.default_rng(2).random(SHAPES[0][:3]) > 0.4)
    assert_same([fused(x, training=True, mask=mask)], [reference(x, training=True, mask=mask)])
    assert_same(fused.get_weights(), reference.get_weights())


def test_an_empty_batch_gives_an_empty_batch():
    fused, _ = pair(SHAPES[0])
    before = fused.get_weights()
    assert fused(tf.zeros([0, 9, 7, 16]), training=False).shape == (0, 9, 7, 16)
    assert_same(fused.get_weights(), before)


def test_fit_follows_keras_over_several_steps():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 8, 8, 3)).astype("float32"), rng.normal(size=(24, 4)).astype("float32")

    def train(norm):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), norm(), keras.layers.GlobalAveragePooling2D()]
        )
        model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        return model.fit(x, y, batch_size=6, epochs=3, shuffle=False, verbose=0).history["loss"], model.get_weights()

    (losses, weights), (expected_losses, expected_weights) = map(
        train, (BatchNormalization, keras.layers.BatchNormalization)
    )
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)
    assert_same(weights, expected_weights, 1e-4)


def test_a_saved_model_comes_back_with_our_layer(tmp_path):
    model = keras.Sequential([keras.Input((None, None, 3)), BatchNormalization()])
    model.save(tmp_path / "bn.keras")
    loaded = keras.saving.load_model(tmp_path / "bn.keras", safe_mode=True)
    assert type(loaded.layers[0]) is BatchNormalization


def test_weight_files_pass_between_our_layer_and_keras(tmp_path):
    ours, theirs = (
        keras.Sequential([keras.Input((None, None, 3)), cls(), keras.layers.ReLU(), cls()])
        for cls in (BatchNormalization, keras.layers.BatchNormalization)
    )
    theirs.set_weights([w + 0.5 + i for i, w in enumerate(theirs.get_weights())])
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    assert_same(ours.get_weights(), theirs.get_weights())
