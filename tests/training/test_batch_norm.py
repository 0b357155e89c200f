"""Statistics of BatchNormalization found anew: right numbers, for the right layers, in training and when resumed."""

import keras
import numpy as np
import pytest

from mobilenet_tf.inference.predict import keras_predictor, load_keras
from mobilenet_tf.models import builder, graph
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.training import train as training
from mobilenet_tf.training.batch_norm import Statistics, first_batches, trained_layers
from mobilenet_tf.training.evaluate import SAME_OUTPUT_WARNING
from mobilenet_tf.training.inputs import UNFIT_STATISTICS_WARNING
from mobilenet_tf.training.train import train

pytestmark = pytest.mark.usefixtures("few_rows")


def norms(model):
    return [layer for layer in graph.leaves(model) if isinstance(layer, BatchNormalization)]


def images(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (count, 32, 32, 3)).astype(np.float32) * rng.uniform(0.2, 1, (count, 1, 1, 3))


def small(dtype="float32"):
    inputs = keras.Input((8, 8, 3))
    x = BatchNormalization(name="first", dtype=dtype)(inputs)
    x = keras.layers.Dropout(0.9)(keras.layers.Conv2D(4, 3, use_bias=False)(x))
    x = BatchNormalization(name="second", center=False, scale=False)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


@pytest.mark.parametrize("dtype", ["float32", "float64"], ids=["kernel", "as in Keras"])
def test_statistics_are_those_of_all_images_without_dropout(dtype):
    model = small(dtype)
    first, second = norms(model)
    batches = [np.random.default_rng(i).normal(i, 1 + i, (size, 8, 8, 3)) for i, size in enumerate((6, 6, 2))]
    Statistics(model, [first, second]).update(batches)
    everything = np.concatenate(batches)
    np.testing.assert_allclose(first.moving_mean, everything.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(first.moving_variance, everything.var((0, 1, 2)), rtol=1e-4)
    Statistics(model, [second]).update([everything])  # the first one infers now
    features = keras.Model(model.inputs, second.input)(everything, training=False)
    np.testing.assert_allclose(second.moving_mean, np.mean(features, 0), atol=1e-5)
    np.testing.assert_allclose(second.moving_variance, np.var(features, 0), rtol=1e-3, atol=1e-6)


def test_one_batch_infers_as_it_trains():
    model = builder.MobileNetV1((32, 32, 3), alpha=0.25, weights=None, classes=5)
    batch = images(16)
    statistics, predictor = Statistics(model, norms(model)), keras_predictor(model)
    assert not statistics.fit(batch, predictor), "initial statistics leave nothing of an image"
    in_training = model(batch, training=True)
    statistics.update([batch])
    assert statistics.fit(batch, predictor)
    # dropout is off in inference, and the outputs behind it are probabilities
    np.testing.assert_allclose(predictor(batch).argmax(-1), np.argmax(statistics._observe(batch)[1], -1))
    np.testing.assert_allclose(predictor(batch), statistics._observe(batch)[1], atol=1e-4)
    assert np.shape(in_training) == (16, 5)


def test_frozen_layers_and_weights_stay_and_nothing_happens_without_batches():
    network, twin = (builder.MobileNetV1((32, 32, 3), alpha=0.25, weights=None, classes=5) for _ in range(2))
    assert trained_layers(network, twin) == norms(twin)
    for layer in norms(network)[:3]:
        layer.trainable = False
    chosen = trained_layers(network, twin)
    assert chosen == norms(twin)[3:]
    before = [v.numpy() for v in twin.variables]
    Statistics(twin, chosen).update([])
    Statistics(twin, []).update([images(4)])
    assert all(np.array_equal(a, b) for a, b in zip(before, twin.variables, strict=True))
    Statistics(twin, chosen).update([images(4)])
    moved = {id(v) for layer in chosen for v in (layer.moving_mean, layer.moving_variance)}
    for variable, value in zip(twin.variables, before, strict=True):
        assert np.array_equal(variable, value) != (id(variable) in moved), variable.path


def test_images_are_kept_as_bytes_up_to_a_limit(monkeypatch):
    batches = [images(4, seed) for seed in range(5)]
    whole = first_batches(batches, 5)
    assert len(whole) == 5 and whole[0].dtype == np.uint8 and np.abs(whole[0] - batches[0]).max() <= 0.5
    assert first_batches([np.ones((4, 7), np.float32)], 1)[0].dtype == np.float32, "features"
    monkeypatch.setattr("mobilenet_tf.training.batch_norm.MAX_BYTES", whole[0].nbytes + 1)
    assert len(first_batches(batches, 5)) == 2


@pytest.mark.slow
def test_what_a_stage_freezes_keeps_statistics_that_belong_to_its_weights(small_config, tmp_path, monkeypatch):
    """As the first of two stages left them, in the averaged network and in the live one."""
    all_then_head = "[{duration: 30 steps, learning_rate: 0.01}, {train: head, duration: 1, learning_rate: 0.1}]"
    train_stage, found = training._train_stage, []

    def watched(state, data, index, *rest):
        if index:  # around the second stage
            found.append(averaged_and_live(state))
        train_stage(state, data, index, *rest)
        if index:
            found.append(averaged_and_live(state))

    monkeypatch.setattr(training, "_train_stage", watched)
    train(task, small_config(f"train.stages={all_then_head}"), tmp_path)
    before, after = found
    for one, other in zip(before, after, strict=True):
        assert all(map(np.array_equal, one, other))
    assert not any(map(np.array_equal, *before)), "the averaged network is another than the live one"


def averaged_and_live(state):
    state.sync_ema_weights()
    return statistics_of(state.serving), statistics_of(state.network)


def statistics_of(model):
    return [v.numpy() for layer in norms(model) for v in (layer.moving_mean, layer.moving_variance)]


@pytest.mark.slow
def test_moving_averages_that_lag_are_told(small_config, tmp_path):
    lagging = ["train.batch_norm_samples=0", "train.batch_norm_momentum=0.999", "train.stages.0.duration=40 steps"]
    with pytest.warns(UserWarning) as told:
        train(task, small_config(*lagging), tmp_path / "lagging")
    assert {SAME_OUTPUT_WARNING, UNFIT_STATISTICS_WARNING} <= {str(warning.message) for warning in told}
    run = train(task, small_config(lagging[-1]), tmp_path / "found")
    inferred = keras_predictor(load_keras(run.folder / "model.keras"))(images(8))
    assert np.ptp(inferred, axis=0).max() > 0.1
