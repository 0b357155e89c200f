"""Rewrites the graph of a float network for quantisation-aware training, and back.

Every layer keeps its name and its weights, so weight files, stages, layer decay and weight decay work as before. A
BatchNormalization stays a layer of its own too: it hands its multiplier and offset to the convolution before it, which
applies them to its kernel before rounding, as the converter will. Folding the numbers for good would be simpler, but
FPNLite's levels share convolutions and have a BatchNormalization each, and `strip` could not give the network back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cached_property

import keras
from keras import layers

from mobilenet_tf.models import layers as float_layers
from mobilenet_tf.models.graph import calls, input_structure, leaves, output_structure
from mobilenet_tf.qat import layers as aware_layers
from mobilenet_tf.qat.layers import SIGMOID, UNIT, HardSigmoid, Range
from mobilenet_tf.utils.errors import UserError


def aware(model: keras.Model, momentum: float = 0.99) -> keras.Model:
    """The network with the roundings of full int8 in it: kernels by channel, activations by moving ranges.

    A functional model of the layers that MobileNets and this package's heads are made of; nested models stay nested.
    Its outputs are rounded too. The weights are copied; ranges are found in training (see `Range`).
    Raises UserError: a layer that int8 rounding is not defined for here.
    """
    return _Aware(momentum).model(model)


def strip(model: keras.Model) -> keras.Model:
    """The float network inside an aware one, with its weights as they are: `strip(aware(m))` computes what m does."""
    return _Strip().model(model)


def is_aware(model: keras.Model) -> bool:
    """Whether a model has been made by `aware`."""
    return any(isinstance(layer, Range) for layer in leaves(model))


# Walking -----------------------------------------------------------------------------------------


class _Rewrite:
    """Makes a functional model anew, call by call: by the method in `handlers` for a kind of layer, or by `other`."""

    handlers: dict[type, str]

    def __init__(self):
        self.made: dict[int, keras.layers.Layer] = {}  # id of an old layer: the new one, called as often as the old

    def model(self, model: keras.Model) -> keras.Model:
        new = self.graph(model, outermost=True)
        for layer in _all_leaves(model):
            if layer.weights and id(layer) in self.made:
                self.made[id(layer)].set_weights(layer.get_weights())
        return new

    def graph(self, model: keras.Model, outermost: bool) -> keras.Model:
        inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name) for t in model.inputs]
        values = {id(t): self.given(x, outermost) for t, x in zip(model.inputs, inputs, strict=True)}
        for node in calls(model):
            args, kwargs = node.arguments.fill_in(values)
            given = {key: value for key, value in kwargs.items() if key not in ("training", "mask")}
            results = self.call(node.operation, *args, **given)
            values |= {id(t): v for t, v in zip(node.outputs, keras.tree.flatten(results), strict=True)}
        outputs = keras.tree.map_structure(lambda t: self.finished(values[id(t)]), output_structure(model))
        inputs = keras.tree.pack_sequence_as(input_structure(model), inputs)
        return keras.Model(inputs, outputs, name=model.name)

    def call(self, layer, *args, **kwargs):
        if isinstance(layer, keras.Model):
            return self.nested(layer, *args)
        return getattr(self, self.handlers.get(type(layer), "other"))(layer, *args, **kwargs)

    def inner(self, model: keras.Model) -> keras.Model:
        """The new model in the place of a nested one."""
        if id(model) not in self.made:
            self.made[id(model)] = self.graph(model, outermost=False)
        return self.made[id(model)]

    def made_as(self, layer, kind: type | None = None, **changes):
        """The new layer in the place of an old one, of the same or another class."""
        if id(layer) not in self.made:
            self.made[id(layer)] = (kind or type(layer)).from_config(layer.get_config() | changes)
        return self.made[id(layer)]


def _all_leaves(model):
    return list({id(layer): layer for layer in leaves(model)}.values())


# Float to aware ----------------------------------------------------------------------------------


class _Value:
    """A tensor of the new graph that is made when it is first read, and rounded as its first reader wants it."""

    def __init__(self, make: Callable, quantiser: Callable[[], Range]):
        self.make, self.quantiser = make, quantiser
        self.range: Range | None = None
        self.rounded = None

    @cached_property
    def raw(self):
        return self.make()

    def quantised(self, shared: Range | None = None):
        """The rounded tensor: by a range of its own, or by one that it shares with others."""
        if self.rounded is None:
            self.range = shared or self.quantiser()
            self.rounded = self.range(self.raw, observe=False) if shared else self.range(self.raw)
        elif shared and shared is not self.range:
            return shared(self.rounded, observe=False)  # int8 needs an operation for that
        return self.rounded


class _Input(_Value):
    """A picture, whose first reader rounds it."""


class _Given(_Value):
    """What comes rounded from another model."""

    def __init__(self, tensor):
        super().__init__(lambda: tensor, None)
        self.rounded = tensor


class _Convolution(_Value):
    """The outputs of a convolution or dense layer, as long as something may be folded into it."""

    def __init__(self, layer, inputs, quantiser, fold: dict | None = None):
        super().__init__(lambda: layer(inputs, **(fold or {})), quantiser)
        self.layer, self.inputs, self.foldable = layer, inputs, fold is None


class _View(_Value):
    """The values of another tensor moved about, or averages of them: int8 keeps their range."""

    def __init__(self, source: _Value, layer: Callable, exact: bool):
        super().__init__(lambda: layer(source.raw), None)
        self.source, self.layer, self.exact = source, layer, exact

    def quantised(self, shared: Range | None = None):
        if self.rounded is None:
            self.rounded = self.layer(self.source.quantised(shared))
            self.range = self.source.range
            if self.range and not self.exact:
                self.rounded = self.range(self.rounded, observe=False)
        return super().quantised(shared)


class _Aware(_Rewrite):
    handlers = {
        layers.Conv2D: "convolution",
        float_layers.Conv2D: "convolution",
        layers.DepthwiseConv2D: "depthwise",
        layers.Dense: "dense",
        layers.BatchNormalization: "normalisation",
        float_layers.BatchNormalization: "normalisation",
        layers.ReLU: "activation",
        layers.Activation: "activation",
        layers.Softmax: "bounded",
        layers.Rescaling: "rescaling",
        layers.Add: "operation",
        layers.Multiply: "operation",
        layers.GlobalAveragePooling2D: "operation",
        float_layers.Cosines: "operation",
        float_layers.UnitLength: "unit_length",
        layers.Concatenate: "concatenation",
        layers.Dropout: "view",
        layers.Reshape: "view",
        layers.Flatten: "view",
        layers.Cropping2D: "view",
        layers.ZeroPadding2D: "view",
        layers.UpSampling2D: "view",
        layers.AveragePooling2D: "average",
        float_layers.BoundedAveragePooling: "average",
        float_layers.ResizeLike: "resize_like",
    }

    def __init__(self, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.names: Counter = Counter()

    # --- ends -------------------------------------------------------------------------------------

    def given(self, tensor, outermost: bool) -> _Value:
        return _Input(lambda: tensor, self.ranged(tensor.name)) if outermost else _Given(tensor)

    def finished(self, value: _Value):
        return value.quantised()

    def nested(self, model, *args):
        tensors = keras.tree.map_structure(lambda v: v.raw if isinstance(v, _Input) else v.quantised(), args)
        return keras.tree.map_structure(_Given, self.inner(model)(*tensors))

    def ranged(self, name: str, fixed=None) -> Callable[[], Range]:
        """() -> the range of what the layer of that name computes; one for each of its calls."""

        def make():
            self.names[name] += 1
            count = self.names[name]
            return Range(self.momentum, fixed, name=f"{name}_range" + (f"_{count}" if count > 1 else ""))

        return make

    # --- layers -----------------------------------------------------------------------------------

    def convolution(self, layer, x: _Value, kind=aware_layers.QuantisedConv2D) -> _Value:
        activation = layer.activation.__name__
        made = self.made_as(layer, kind, activation=None)
        value = _Convolution(made, x.quantised(), self.ranged(layer.name))
        if activation == "linear":
            return value
        return self.activation(layers.Activation(activation, name=f"{layer.name}_activation"), value)

    def depthwise(self, layer, x: _Value) -> _Value:
        return self.convolution(layer, x, aware_layers.QuantisedDepthwiseConv2D)

    def dense(self, layer, x: _Value) -> _Value:
        return self.convolution(layer, x, aware_layers.QuantisedDense)

    def normalisation(self, layer, x: _Value) -> _Value:
        if not (isinstance(x, _Convolution) and x.foldable):
            raise UserError(f"quantize.qat needs a convolution right before {layer.name}. Received: something else")
        channels = layer.moving_mean.shape[0]
        multiplier, offset = self.made_as(layer, aware_layers.FoldedBatchNormalization, channels=channels)(x.inputs)
        return _Convolution(x.layer, x.inputs, self.ranged(layer.name), {"multiplier": multiplier, "offset": offset})

    def activation(self, layer, x: _Value) -> _Value:
        name = "relu" if isinstance(layer, layers.ReLU) else layer.activation.__name__
        if name == "linear":
            return x
        if name == "hard_sigmoid":
            return self.hard_sigmoid(layer, x)
        if name in ("sigmoid", "softmax"):
            return self.bounded(layer, x)
        if name in ("relu", "relu6"):  # part of the convolution
            return _Value(lambda: self.made_as(layer)(x.raw), self.ranged(layer.name))
        if name == "hard_silu":  # an operation of its own, and Keras's name for hard-swish
            return self.operation(layer, x)
        raise UserError(f"quantize.qat needs a known activation in {layer.name}. Received: {name}")

    def hard_sigmoid(self, layer, x: _Value) -> _Value:
        if not (isinstance(x, _Convolution) and x.foldable):
            raise UserError(f"quantize.qat needs a convolution right before {layer.name}. Received: something else")
        made = self.made[id(layer)] = HardSigmoid(name=layer.name)
        return _Given(made(x.layer(x.inputs, multiplier=1 / 6, offset=0.5)))

    def bounded(self, layer, x: _Value, limits=SIGMOID) -> _Value:
        outputs = self.made_as(layer)(x.quantised())
        return _Value(lambda: outputs, self.ranged(layer.name, limits))

    def unit_length(self, layer, x: _Value) -> _Value:
        return self.bounded(layer, x, UNIT)

    def rescaling(self, layer, x: _Value) -> _Value:
        return _Given(self.made_as(layer, aware_layers.QuantisedRescaling)(x.raw))

    def operation(self, layer, x) -> _Value:
        """Anything with a range of its own, from one tensor or a list of them."""
        outputs = self.made_as(layer)(keras.tree.map_structure(lambda v: v.quantised(), x))
        return _Value(lambda: outputs, self.ranged(layer.name))

    def concatenation(self, layer, values: list) -> _Value:
        """One range for all parts: that of the whole, which alone is observed."""
        whole = self.ranged(layer.name)()
        outputs = self.made_as(layer)([value.quantised(whole) for value in values])
        return _Value(lambda: outputs, lambda: whole)

    def view(self, layer, x: _Value) -> _Value:
        return _View(x, self.made_as(layer), exact=True)

    def average(self, layer, x: _Value) -> _Value:
        return _View(x, self.made_as(layer), exact=False)

    def resize_like(self, layer, pair) -> _Value:
        x, like = pair
        return _View(x, lambda tensor: self.made_as(layer)([tensor, like.raw]), exact=False)

    def other(self, layer, *args, **kwargs):
        kind = type(layer).__name__
        raise UserError(f"quantize.qat needs layers of a known kind; {layer.name} is none. Received: {kind}")


# Aware to float ----------------------------------------------------------------------------------


class _Strip(_Rewrite):
    handlers = {
        Range: "skipped",
        HardSigmoid: "hard_sigmoid",
        aware_layers.QuantisedConv2D: "convolution",
        aware_layers.QuantisedDepthwiseConv2D: "depthwise",
        aware_layers.QuantisedDense: "dense",
        aware_layers.QuantisedRescaling: "rescaling",
        aware_layers.FoldedBatchNormalization: "normalisation",
    }

    def given(self, tensor, outermost: bool):
        return tensor

    def finished(self, tensor):
        return tensor

    def nested(self, model, *args):
        return self.inner(model)(*args)

    def other(self, layer, *args, **kwargs):
        return self.made_as(layer)(*args, **kwargs)

    def skipped(self, layer, x, **kwargs):
        return x

    def hard_sigmoid(self, layer, x):
        return layers.Activation("hard_sigmoid", name=layer.name)(x)

    def convolution(self, layer, x, multiplier=None, offset=None, kind=float_layers.Conv2D):
        outputs = self.made_as(layer, kind)(x)
        return multiplier(outputs) if callable(multiplier) else outputs

    def depthwise(self, layer, x, **fold):
        return self.convolution(layer, x, **fold, kind=layers.DepthwiseConv2D)

    def dense(self, layer, x, **fold):
        return self.convolution(layer, x, **fold, kind=layers.Dense)

    def rescaling(self, layer, x):
        return self.made_as(layer, layers.Rescaling)(x)

    def normalisation(self, layer, x):
        """The layer itself stands for the multiplier, until the convolution is there to go before it."""
        if id(layer) not in self.made:
            config = layer.get_config()
            del config["channels"]
            self.made[id(layer)] = float_layers.BatchNormalization.from_config(config)
        return self.made[id(layer)], None
