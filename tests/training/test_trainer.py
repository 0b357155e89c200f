"""The training step: loss scaling where the network computes in half precision."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.training import train as training
from mobilenet_tf.training.trainer import Trainer


def dense(policy: str) -> keras.Model:
    """A network whose layers have the policy, put together, as the head of a network is, under another one."""
    image = keras.Input((4,))
    layers = [keras.layers.Dense(3, dtype=policy), keras.layers.Activation("linear", dtype="float32")]
    x = image
    for layer in layers:
        x = layer(x)
    return keras.Model(image, x)


def compiled(policy: str, factor: float = 1.0) -> Trainer:
    trainer = Trainer(dense(policy), lambda targets, raw: factor * tf.reduce_mean((targets - raw) ** 2))
    trainer.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    trainer.optimizer.build(trainer.network.trainable_variables)
    return trainer


@pytest.mark.parametrize(("policy", "scaled"), [("mixed_float16", True), ("mixed_bfloat16", False), ("float32", False)])
def test_the_loss_is_scaled_in_float16_alone(policy, scaled):
    optimizer = compiled(policy).optimizer
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == scaled


def fit(trainer: Trainer) -> None:
    trainer.fit(np.ones((8, 4), np.float32), np.zeros((8, 3), np.float32), batch_size=8, verbose=0)


def test_a_step_that_overflows_is_skipped_and_the_scale_falls():
    trainer = compiled("mixed_float16", factor=1e6)
    before, scale = trainer.network.get_weights(), float(trainer.optimizer.dynamic_scale)
    fit(trainer)
    assert all(map(np.array_equal, trainer.network.get_weights(), before))
    assert float(trainer.optimizer.dynamic_scale) == scale / 2 and int(trainer.optimizer.iterations) == 0
    trainer = compiled("mixed_float16")
    before = trainer.network.get_weights()
    fit(trainer)
    assert not any(map(np.array_equal, trainer.network.get_weights()[:1], before[:1]))


def test_small_gradients_survive_half_precision():
    """Without a scale they would be zero: 1e-8 is below the smallest number of float16."""
    trainer = compiled("mixed_float16", factor=1e-7)
    trainer.optimizer.inner_optimizer.learning_rate = 1e6
    before = trainer.network.get_weights()[0]
    fit(trainer)
    assert np.abs(trainer.network.get_weights()[0] - before).max() > 1e-4


@pytest.mark.parametrize("stage", ["head", "all"])
def test_every_stage_scales_the_loss(small_config, few_rows, tmp_path, monkeypatch, stage):
    """Whatever the processor computes: the networks of a run in float16 are put together as the run does it."""
    from mobilenet_tf.tasks.classification.task import task

    seen = []
    monkeypatch.setattr("mobilenet_tf.training.devices.computes", lambda dtype: True)
    monkeypatch.setattr(training, "_fit", lambda trainer, *_: seen.append(trainer.optimizer))
    monkeypatch.setattr(training, "_finish", lambda *_: None)
    cfg = small_config(
        "train.precision=mixed_float16",
        f"train.stages=[{{train: {stage}, augment: true, duration: 1 step, learning_rate: 0.1}}]",
    )
    training.train(task, cfg, tmp_path)
    assert [type(optimizer).__name__ for optimizer in seen] == ["LossScaleOptimizer"]
