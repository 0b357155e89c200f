"""Schedules, what is decayed and trained, learning-rate factors, the moving average."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf import config
from mobilenet_tf.config import Duration
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.training import optim


@pytest.fixture(scope="module")
def network():
    return classifier("mobilenet_v2", 5, alpha=0.35, input_size=(32, 32))


def rates(section, total=100, learning_rate=1.0):
    schedule = optim.schedule(section, learning_rate, total, steps_per_epoch=10, batch_size=4)
    return np.array([float(schedule(step)) for step in range(total)])


def test_every_schedule_warms_up_to_the_rate_and_follows_its_law():
    cosine = rates(config.Cosine(warmup=Duration(1), final=0.1))
    assert np.allclose(cosine[:10], np.arange(1, 11) / 11)
    assert np.allclose(cosine[10:], 0.1 + 0.9 * (1 + np.cos(np.pi * np.arange(90) / 90)) / 2, atol=1e-6)
    assert np.allclose(rates(config.Polynomial(power=2)), (1 - np.arange(100) / 100) ** 2, atol=1e-6)
    assert np.allclose(rates(config.Exponential(rate=0.5, every=Duration(20, "steps"))), 0.5 ** (np.arange(100) // 20))
    step = rates(config.Step(at=[Duration(3), Duration(60, "steps")], rate=0.1))
    assert np.allclose(step[[0, 30, 31, 60, 61, 99]], [1, 1, 0.1, 0.1, 0.01, 0.01])
    assert np.allclose(rates(config.Constant(warmup=Duration(5, "steps")))[5:], 1)


def test_the_warm_up_survives_serialisation():
    schedule = optim.schedule(config.Cosine(warmup=Duration(1)), 1.0, 50, 10, 4)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [float(again(s)) for s in range(0, 50, 7)] == [float(schedule(s)) for s in range(0, 50, 7)]


def test_decay_spares_batch_norm_biases_and_depthwise_kernels(network):
    paths = [v.path for v in optim.decayed_variables(network, depthwise=False)]
    assert all(path.endswith("kernel") and "depthwise" not in path for path in paths)
    assert "logits/kernel" in paths
    extra = {v.path for v in optim.decayed_variables(network, depthwise=True)} - set(paths)
    assert len(extra) == 17 and all("depthwise" in path for path in extra)


def test_decay_and_factors_act_on_each_variable_as_stated(network):
    section = config.SGD(momentum=0.0, weight_decay=0.5)
    keras.utils.set_random_seed(0)
    optim.set_trainable(network, "all")
    optimizer = optim.optimizer(section, 0.1, network, layer_decay=0.5)
    kernel = network.get_layer("logits").kernel
    gamma = network.get_layer("backbone").get_layer("bn_Conv1").gamma
    stem = network.get_layer("backbone").get_layer("Conv1").kernel
    before = [v.numpy() for v in (kernel, gamma, stem)]
    optimizer.apply([tf.ones_like(v) for v in (kernel, gamma, stem)], [kernel, gamma, stem])
    expected = [before[0] * (1 - 0.1 * 0.5) - 0.1, before[1] - 0.1 / 32, before[2] * (1 - 0.1 * 0.5 / 32) - 0.1 / 32]
    for variable, value in zip((kernel, gamma, stem), expected, strict=True):
        assert np.allclose(variable.numpy(), value, atol=1e-6), variable.path


@pytest.mark.parametrize("section", [config.SGD(), config.AdamW(), config.RMSprop()], ids=lambda s: s.name)
def test_each_optimiser_without_factors_is_keras_own(network, section):
    keras_class = {"sgd": keras.optimizers.SGD, "adamw": keras.optimizers.AdamW, "rmsprop": keras.optimizers.RMSprop}
    keys = section.model_dump(exclude={"name"})
    kernel = network.get_layer("logits").kernel
    reference = keras.Variable(kernel.numpy())
    ours = optim.optimizer(section.model_copy(update={"weight_decay": 0.1}), 0.01, network)
    theirs = keras_class[section.name](learning_rate=0.01, **keys | {"weight_decay": 0.1})
    for step in range(3):
        gradient = tf.cast(tf.fill(kernel.shape, 0.1 * (step + 1)), tf.float32)
        ours.apply([gradient], [kernel])
        theirs.apply([gradient], [reference])
    assert np.allclose(kernel.numpy(), reference.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("train", "trained", "frozen"),
    [
        ("head", [], ["Conv1", "block_13_expand", "Conv_1"]),
        ("s16", ["block_13_depthwise", "Conv_1"], ["Conv1", "block_5_expand", "block_12_project"]),
        ("all", ["Conv1", "block_13_expand", "Conv_1"], []),
    ],
)
def test_stages_train_what_they_say(network, train, trained, frozen):
    optim.set_trainable(network, train)
    backbone = network.get_layer("backbone")
    assert all(backbone.get_layer(name).trainable_variables for name in trained)
    assert not any(backbone.get_layer(name).trainable_variables for name in frozen)
    assert network.get_layer("logits").trainable_variables


def test_a_frozen_batch_norm_keeps_its_statistics(network):
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    norm = network.get_layer("backbone").get_layer("bn_Conv1")
    for options, moves in ((("head", False), False), (("all", True), False), (("all", False), True)):
        optim.set_trainable(network, options[0], freeze_batch_norm=options[1])
        before = norm.moving_mean.numpy()
        network(images, training=True)
        assert (not np.array_equal(before, norm.moving_mean.numpy())) == moves, options


def test_the_average_covers_batch_norm_statistics():
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(), keras.layers.Dense(1)])
    average = optim.MovingAverage(model, 0.5)
    update = average.updater(model, total=1000)
    expected = [v.numpy().copy() for v in model.weights]
    for step in range(4):
        for variable in model.weights:
            variable.assign(variable + step)
        update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = [decay * e + (1 - decay) * v.numpy() for e, v in zip(expected, model.weights, strict=True)]
    assert len(average.averages) == 6  # gamma, beta, mean, variance, kernel, bias
    for value, reference in zip(average.averages, expected, strict=True):
        assert np.allclose(value.numpy(), reference, atol=1e-6)


def test_a_moving_average_looks_back_over_a_tenth_of_a_stage_at_most():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    averages = {total: optim.MovingAverage(model, 0.999) for total in (40, 400_000)}
    updates = {total: average.updater(model, total) for total, average in averages.items()}
    for step in range(40):
        model.layers[0].kernel.assign(np.full((2, 1), step / 39))
        for update in updates.values():
            update()
    assert optim.within_horizon(40) == pytest.approx(0.75) and optim.within_horizon(5) == 0.0
    short, long = (average.averages[0].numpy().mean() for average in averages.values())
    assert short == pytest.approx(1 - 3 / 39, abs=0.01), "three steps behind, the mean age of a horizon of four"
    assert long < 0.9


def test_momenta_keep_within_the_horizon_of_each_stage():
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization(momentum=0.99)])
    momenta = optim.momenta(model)
    for total, expected in ((100, 0.9), (10_000, 0.99), (5, 0.0)):
        optim.limit_horizon(momenta, total)
        assert model.layers[0].momentum == pytest.approx(expected)
