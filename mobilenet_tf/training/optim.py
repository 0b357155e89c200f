"""Optimizers, learning-rate schedules, what is trained and decayed, and the moving average of the weights."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from mobilenet_tf.models.graph import leaves, producer

HORIZON = 0.1  # the longest window of a moving average, as a share of the steps of a stage
ENDPOINTS = ("s2", "s4", "s8", "s16")  # boundaries between the depths of a backbone, lowest first


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Climbs linearly to `peak` over `steps` steps, then follows `after`, whose step 0 is the end of the climb."""

    def __init__(self, peak: float, steps: int, after: keras.optimizers.schedules.LearningRateSchedule):
        self.peak, self.steps, self.after = peak, steps, after

    def __call__(self, step):
        """Returns the learning rate at a step of the optimizer, a float32 scalar."""
        step = tf.cast(step, tf.float32)
        climb = self.peak * (step + 1) / (self.steps + 1)
        return tf.where(step < self.steps, climb, self.after(tf.maximum(step - self.steps, 0)))

    def get_config(self):
        """Returns the arguments that make the same schedule, for Keras to store."""
        return {"peak": self.peak, "steps": self.steps, "after": keras.saving.serialize_keras_object(self.after)}

    @classmethod
    def from_config(cls, config):
        """Makes the schedule from what `get_config` returned."""
        return cls(**config | {"after": keras.saving.deserialize_keras_object(config["after"])})


def schedule(config, learning_rate: float, total: int, steps_per_epoch: int, batch_size: int):
    """The learning rate over the `total` steps of one stage, as a Keras schedule of the optimizer's step.

    Args:
        config: a `config.Schedule` section.
        learning_rate: the rate after the warm-up.
    """
    schedules = keras.optimizers.schedules

    def steps(duration) -> int:
        return duration.steps(steps_per_epoch, batch_size)

    warmup = min(steps(config.warmup), total)
    rest = max(total - warmup, 1)
    match config.name:
        case "cosine":
            after = schedules.CosineDecay(learning_rate, rest, alpha=config.final)
        case "polynomial":
            after = schedules.PolynomialDecay(learning_rate, rest, learning_rate * config.final, config.power)
        case "exponential":
            after = schedules.ExponentialDecay(learning_rate, steps(config.every), config.rate, config.staircase)
        case "step":
            boundaries = [max(steps(at) - warmup, 0) for at in config.at]
            rates = [learning_rate * config.rate**i for i in range(len(boundaries) + 1)]
            after = schedules.PiecewiseConstantDecay(boundaries, rates)
        case "constant":
            after = schedules.ExponentialDecay(learning_rate, 1, 1.0)
    return WarmUp(learning_rate, warmup, after) if warmup else after


def optimizer(config, learning_rate, network, *, layer_decay=1.0, decay_depthwise=False, clip_norm=None):
    """A Keras optimizer with weight decay and learning-rate factors by variable.

    Decay is decoupled (`w -= rate * decay * w`, as in AdamW) and spares BatchNorm, biases and, unless
    `decay_depthwise`, depthwise kernels. A layer of the backbone learns at `layer_decay ** depth` of the rate: see
    `depths`.

    Args:
        config: a `config.Optimizer` section.
        learning_rate: a number or a schedule.
        network: the model whose variables will be trained.
        clip_norm: largest global norm of the gradient, or None.
    """
    options = config.model_dump(exclude={"name", "weight_decay"})
    base = {"sgd": keras.optimizers.SGD, "adamw": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[
        config.name
    ]
    decayed = {v.value.ref() for v in decayed_variables(network, depthwise=decay_depthwise)}
    factors = {v.value.ref(): layer_decay**depth for layer, depth in depths(network) for v in layer.trainable_variables}

    class ByVariable(base):
        """`base` with a factor and a decay for each variable."""

        def update_step(self, gradient, variable, learning_rate):
            rate = learning_rate * factors.get(variable.ref(), 1.0)
            if config.weight_decay and variable.ref() in decayed:
                self.assign_sub(variable, variable * tf.cast(config.weight_decay * rate, variable.dtype))
            super().update_step(gradient, variable, rate)

    ByVariable.__name__ = base.__name__
    return ByVariable(learning_rate=learning_rate, global_clipnorm=clip_norm, **options)


def decayed_variables(network, *, depthwise: bool) -> list[keras.Variable]:
    """The kernels that weight decay acts on. V1 paper, section 3.2: little or no decay on depthwise filters."""
    return [
        layer.kernel
        for layer in leaves(network)
        if hasattr(layer, "kernel") and (depthwise or not isinstance(layer, keras.layers.DepthwiseConv2D))
    ]


def floating(model) -> list[keras.Variable]:
    """The variables of a model that are of a floating type: what can be averaged."""
    return [v for v in model.variables if v.dtype.startswith(("float", "bfloat"))]


def depths(network) -> list[tuple[keras.layers.Layer, int]]:
    """(layer, depth) of the backbone's layers: 1 above endpoint s16, 2 above s8, ... 5 below s2. The head is at 0."""
    backbone = network.get_layer("backbone")
    order = {id(layer): i for i, layer in enumerate(backbone.layers)}
    marks = [order[id(producer(backbone.output[key])[0])] for key in ENDPOINTS]
    return [(layer, 1 + sum(i <= mark for mark in marks)) for i, layer in enumerate(backbone.layers)]


def set_trainable(network, train: str, *, freeze_batch_norm: bool = False) -> None:
    """Freezes what a stage does not train. Frozen BatchNorm keeps its statistics.

    Args:
        train: "head" (the backbone is frozen), "all", or an endpoint such as "s16" (what lies above it is trained).
        freeze_batch_norm: freeze the backbone's BatchNorm layers wherever they are.
    """
    network.trainable = True
    deepest = {"head": 0, "all": len(ENDPOINTS) + 1}.get(train)
    if deepest is None:
        deepest = len(ENDPOINTS) - ENDPOINTS.index(train)
    for layer, depth in depths(network):
        frozen_norm = freeze_batch_norm and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = depth <= deepest and not frozen_norm


def momenta(network: keras.Model) -> dict[keras.layers.Layer, float]:
    """The momenta of the layers with moving statistics: BatchNormalization, and the ranges of activations under QAT."""
    return {layer: layer.momentum for layer in leaves(network) if hasattr(layer, "momentum")}


def limit_horizon(momenta: dict[keras.layers.Layer, float], total: int) -> None:
    """Gives the layers their momenta, but lets none look back over more than `HORIZON` of a stage's `total` steps."""
    for layer, momentum in momenta.items():
        layer.momentum = min(momentum, within_horizon(total))


def within_horizon(total: int) -> float:
    """The largest decay of an average that looks back over at most `HORIZON` of `total` steps."""
    return 1 - 1 / max(1.0, HORIZON * total)


class MovingAverage:
    """Exponential moving average of all floating-point variables of a model, BatchNorm statistics included.

    Keras's own averages trainable variables only and would pair them with statistics of other weights.
    The decay grows as min(decay, (1 + n) / (10 + n)) so that the first steps do not weigh on the average, and never
    looks back over more than `HORIZON` of a stage's steps: the average of a short run would lag behind its weights.
    """

    def __init__(self, model: keras.Model, decay: float):
        self.decay = decay
        self.count = tf.Variable(tf.constant(0, tf.int64), trainable=False)
        self.sources = [v.value for v in floating(model)]
        self.averages = [tf.Variable(tf.cast(v, tf.float32), trainable=False) for v in self.sources]

    def reset(self) -> None:
        """Begins anew at the weights as they are."""
        self.count.assign(0)
        for average, source in zip(self.averages, self.sources, strict=True):
            average.assign(tf.cast(source, tf.float32))

    def updater(self, trained: keras.Model, total: int) -> Callable[[], None]:
        """A function for the training graph: it takes the variables of `trained`, all or a part, into the average.

        The averages of variables that a stage does not change stay as they are. Otherwise the averaged weights of
        frozen layers and their statistics would drift apart.

        Args:
            total: the optimizer steps of the stage.
        """
        decay = min(self.decay, within_horizon(total))
        moving = {v.value.ref() for layer in leaves(trained) if _moves(layer) for v in layer.variables}
        pairs = [(a, s) for a, s in zip(self.averages, self.sources, strict=True) if s.ref() in moving]

        def update():
            n = tf.cast(self.count, tf.float32)
            share = 1 - tf.minimum(decay, (1 + n) / (10 + n))
            for average, source in pairs:
                average.assign_sub(share * (average - tf.cast(source, tf.float32)))
            self.count.assign_add(1)

        return update

    @property
    def variables(self) -> list[tf.Variable]:
        """The variables that a checkpoint holds: the number of steps, then the averages."""
        return [self.count, *self.averages]


def _moves(layer) -> bool:
    """Whether training changes a layer's variables; under QAT the ranges of frozen layers follow their inputs too."""
    return layer.trainable or (hasattr(layer, "momentum") and not isinstance(layer, keras.layers.BatchNormalization))
