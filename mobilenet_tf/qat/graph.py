"""Rewrites the graph of a float network for quantization-aware training, and back.

Every layer keeps its name and its weights, so weight files, stages, layer decay and weight decay work as before. A
BatchNormalization stays a layer of its own too. For each channel it computes x * multiplier + offset, with
multiplier = gamma / sqrt(variance + epsilon) and offset = beta - mean * multiplier. It hands these two vectors to the
convolution before it, which folds them into its kernel and bias before rounding, as the converter will. Folding the
numbers for good would be simpler, but FPNLite's levels share convolutions and have a BatchNormalization each, and
`strip` could not restore the network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
from keras import layers

from mobilenet_tf.models import layers as float_layers
from mobilenet_tf.models.graph import calls, input_structure, leaves, output_structure
from mobilenet_tf.qat import layers as qat_layers
from mobilenet_tf.qat.layers import SIGMOID_RANGE, UNIT_RANGE, FakeQuant, HardSigmoid
from mobilenet_tf.utils.errors import UserError


def prepare(model: keras.Model, momentum: float = 0.99) -> keras.Model:
    """Returns a copy of a float network with fake quantization in it, ready for quantization-aware training.

    Kernels are rounded per channel, activations and outputs by moving ranges (see `FakeQuant`), as in a full int8 file.
    The weights are copied; the ranges are set in training.

    Args:
        model: a functional model of the layers that MobileNets and this package's heads are made of; nested models
            stay nested.
        momentum: of the moving ranges.

    Raises:
        UserError: the model has a layer that this package cannot round as int8 does.
    """
    return _Prepare(momentum).model(model)


def strip(model: keras.Model) -> keras.Model:
    """Returns the float network in a prepared one, with the same weights: `strip(prepare(m))` computes what m does."""
    return _Strip().model(model)


def is_prepared(model: keras.Model) -> bool:
    """Returns whether a model has fake quantization in it, as `prepare` returns it."""
    return any(isinstance(layer, FakeQuant) for layer in leaves(model))


# Walking -----------------------------------------------------------------------------------------


class _Rewrite:
    """Builds a functional model anew, call by call, by the function in `handlers` for the layer's class.

    Handlers get the new graph's values, which are whatever `wrap_input` returns, and return such values.
    """

    handlers: dict[type, Callable[..., Any]]  # class of a layer -> (self, layer, *args, **kwargs) -> new values

    def __init__(self):
        self.new_layers: dict[int, Any] = {}  # id of an old layer -> the new one, called as often as the old

    def wrap_input(self, tensor, outermost: bool) -> Any:
        """Returns the value that stands for an input of the new model."""
        raise NotImplementedError

    def unwrap_output(self, value) -> Any:
        """Returns the tensor of a value, for an output of the new model."""
        raise NotImplementedError

    def nested(self, model: keras.Model, *args) -> Any:
        """Calls what replaces a nested model."""
        raise NotImplementedError

    def default(self, layer, *args, **kwargs) -> Any:
        """Handles a layer whose class is not in `handlers`."""
        raise NotImplementedError

    def model(self, model: keras.Model) -> keras.Model:
        new = self.graph(model, outermost=True)
        for layer in _unique_leaves(model):
            if layer.weights and id(layer) in self.new_layers:
                self.new_layers[id(layer)].set_weights(layer.get_weights())
        return new

    def graph(self, model: keras.Model, outermost: bool) -> keras.Model:
        inputs = [keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name) for t in model.inputs]
        values = {id(t): self.wrap_input(x, outermost) for t, x in zip(model.inputs, inputs, strict=True)}
        for node in calls(model):
            args, kwargs = node.arguments.fill_in(values)
            kwargs = {key: value for key, value in kwargs.items() if key not in ("training", "mask")}
            results = self.call(node.operation, *args, **kwargs)
            values |= {id(t): v for t, v in zip(node.outputs, keras.tree.flatten(results), strict=True)}
        outputs = keras.tree.map_structure(lambda t: self.unwrap_output(values[id(t)]), output_structure(model))
        inputs = keras.tree.pack_sequence_as(input_structure(model), inputs)
        return keras.Model(inputs, outputs, name=model.name)

    def call(self, layer, *args, **kwargs):
        if isinstance(layer, keras.Model):
            return self.nested(layer, *args)
        handler = self.handlers.get(type(layer), type(self).default)
        return handler(self, layer, *args, **kwargs)

    def replacement(self, model: keras.Model) -> keras.Model:
        """Returns the new model that replaces a nested one."""
        if id(model) not in self.new_layers:
            self.new_layers[id(model)] = self.graph(model, outermost=False)
        return self.new_layers[id(model)]

    def copy(self, layer, kind: type | None = None, **changes) -> Any:
        """Returns the new layer that replaces an old one, of the same class or of the class `kind`."""
        if id(layer) not in self.new_layers:
            cls: Any = kind or type(layer)
            self.new_layers[id(layer)] = cls.from_config(layer.get_config() | changes)
        return self.new_layers[id(layer)]


def _unique_leaves(model):
    return list({id(layer): layer for layer in leaves(model)}.values())


# Float to quantization-aware ---------------------------------------------------------------------


class _Lazy:
    """A tensor of the new graph that is computed when it is first read, and quantized as its first reader needs it."""

    def __init__(self, make: Callable[[], Any], make_fake_quant: Callable[[], FakeQuant] | None):
        self.make, self.make_fake_quant = make, make_fake_quant
        self.fake_quant: FakeQuant | None = None
        self.tensor: Any = None  # the quantized tensor, once it is read

    @cached_property
    def raw(self):
        """The tensor before quantization."""
        return self.make()

    def quantized(self, shared: FakeQuant | None = None):
        """Returns the quantized tensor: by a range of its own, or by one that it shares with other tensors."""
        if self.tensor is None:
            if shared:
                self.fake_quant, self.tensor = shared, shared(self.raw, observe=False)
            else:
                assert self.make_fake_quant is not None  # the subclasses without one set the tensor before
                self.fake_quant = self.make_fake_quant()
                self.tensor = self.fake_quant(self.raw)
        elif shared and shared is not self.fake_quant:
            return shared(self.tensor, observe=False)  # int8 needs an operation that requantizes
        return self.tensor


class _Image(_Lazy):
    """An input of the whole network. The first layer that reads it quantizes it, or rescales it as it is."""


class _Quantized(_Lazy):
    """A tensor that is quantized already, such as an output of another model."""

    def __init__(self, tensor):
        super().__init__(lambda: tensor, None)
        self.tensor = tensor


class _Convolution(_Lazy):
    """The outputs of a convolution or dense layer, into which a following layer may still be folded."""

    def __init__(self, layer, inputs, make_fake_quant, fold: dict | None = None):
        super().__init__(lambda: layer(inputs, **(fold or {})), make_fake_quant)
        self.layer, self.inputs, self.fold, self.foldable = layer, inputs, fold or {}, fold is None


class _SameRange(_Lazy):
    """The values of another tensor rearranged (`exact`) or averaged: int8 keeps their range."""

    def __init__(self, source: _Lazy, layer: Callable, exact: bool):
        super().__init__(lambda: layer(source.raw), None)
        self.source, self.layer, self.exact = source, layer, exact

    def quantized(self, shared: FakeQuant | None = None):
        if self.tensor is None:
            self.tensor = self.layer(self.source.quantized(shared))
            self.fake_quant = self.source.fake_quant
            if self.fake_quant and not self.exact:
                self.tensor = self.fake_quant(self.tensor, observe=False)
        return super().quantized(shared)


class _Prepare(_Rewrite):
    def __init__(self, momentum: float):
        super().__init__()
        self.momentum = momentum
        self.names: Counter = Counter()

    # --- inputs, outputs, nested models -----------------------------------------------------------

    def wrap_input(self, tensor, outermost: bool) -> _Lazy:
        return _Image(lambda: tensor, self.fake_quant_of(tensor.name)) if outermost else _Quantized(tensor)

    def unwrap_output(self, value: _Lazy):
        return value.quantized()

    def nested(self, model, *args):
        tensors: Any = keras.tree.map_structure(lambda v: v.raw if isinstance(v, _Image) else v.quantized(), args)
        new: Any = self.replacement(model)
        return keras.tree.map_structure(_Quantized, new(*tensors))

    def fake_quant_of(self, name: str, fixed: tuple[float, float] | None = None) -> Callable[[], FakeQuant]:
        """Returns a function that makes the FakeQuant of the outputs of the layer `name`, one for each of its calls."""

        def make():
            self.names[name] += 1
            count = self.names[name]
            return FakeQuant(self.momentum, fixed, name=f"{name}_range" + (f"_{count}" if count > 1 else ""))

        return make

    # --- layers -----------------------------------------------------------------------------------

    def convolution(self, layer, x: _Lazy, kind=qat_layers.QuantizedConv2D) -> _Lazy:
        activation = layer.activation.__name__
        new = self.copy(layer, kind, activation=None)
        value = _Convolution(new, x.quantized(), self.fake_quant_of(layer.name))
        if activation == "linear":
            return value
        return self.activation(layers.Activation(activation, name=f"{layer.name}_activation"), value)

    def depthwise(self, layer, x: _Lazy) -> _Lazy:
        return self.convolution(layer, x, qat_layers.QuantizedDepthwiseConv2D)

    def dense(self, layer, x: _Lazy) -> _Lazy:
        return self.convolution(layer, x, qat_layers.QuantizedDense)

    def batch_norm(self, layer, x: _Lazy) -> _Lazy:
        if not (isinstance(x, _Convolution) and x.foldable):
            identity = qat_layers.QuantizedIdentity(name=f"{layer.name}_identity")
            x = _Convolution(identity, x.quantized(), self.fake_quant_of(layer.name))
        channels = layer.moving_mean.shape[0]
        return self.folded(layer, x, qat_layers.FoldedBatchNormalization, channels=channels)

    def folded(self, layer, x: _Convolution, kind: type, **changes) -> _Convolution:
        """Folds a layer that scales or shifts channels into the convolution before it, after what it has already."""
        multiplier, offset = self.copy(layer, kind, **changes)(x.inputs, **x.fold)
        fold = {"multiplier": multiplier, "offset": offset}
        return _Convolution(x.layer, x.inputs, self.fake_quant_of(layer.name), fold)

    def layer_scale(self, layer, x: _Lazy) -> _Lazy:
        if not isinstance(x, _Convolution):
            raise UserError(f"quantize.qat needs a convolution right before {layer.name}. Received: something else")
        return self.scaled(layer, x, layer.initial, learned=True)

    def scaled(self, layer, x: _Convolution, scale: float, learned: bool) -> _Convolution:
        options = {"channels": x.layer.filters, "scale": scale, "learned": learned, "name": layer.name}
        self.new_layers.setdefault(id(layer), qat_layers.FoldedScale(**options))
        return self.folded(layer, x, qat_layers.FoldedScale)

    def activation(self, layer, x: _Lazy) -> _Lazy:
        name = "relu" if isinstance(layer, layers.ReLU) else layer.activation.__name__
        if name == "linear":
            return x
        if name == "hard_sigmoid":
            return self.hard_sigmoid(layer, x)
        if name in ("sigmoid", "softmax"):
            return self.bounded(layer, x)
        if name in ("relu", "relu6"):  # int8 computes it as part of the convolution
            return _Lazy(lambda: self.copy(layer)(x.raw), self.fake_quant_of(layer.name))
        if name in ("hard_silu", "gelu"):  # Keras's name for hard-swish; operations of their own in int8
            return self.operation(layer, x)
        raise UserError(f"quantize.qat needs a known activation in {layer.name}. Received: {name}")

    def hard_sigmoid(self, layer, x: _Lazy) -> _Lazy:
        if not (isinstance(x, _Convolution) and x.foldable):
            raise UserError(f"quantize.qat needs a convolution right before {layer.name}. Received: something else")
        new = self.new_layers[id(layer)] = HardSigmoid(name=layer.name)
        return _Quantized(new(x.layer(x.inputs, multiplier=1 / 6, offset=0.5)))

    def bounded(self, layer, x: _Lazy, limits: tuple[float, float] = SIGMOID_RANGE) -> _Lazy:
        """Rewrites an operation whose output range TFLite fixes to `limits`."""
        outputs = self.copy(layer)(x.quantized())
        return _Lazy(lambda: outputs, self.fake_quant_of(layer.name, limits))

    def unit_length(self, layer, x: _Lazy) -> _Lazy:
        return self.bounded(layer, x, UNIT_RANGE)

    def rescaling(self, layer, x: _Lazy) -> _Lazy:
        if isinstance(x, _Convolution):
            return self.scaled(layer, x, layer.scale, learned=False)
        return _Quantized(self.copy(layer, qat_layers.QuantizedRescaling)(x.raw))

    def operation(self, layer, x) -> _Lazy:
        """Rewrites an operation on one tensor or a list of them, whose output has a range of its own."""
        outputs = self.copy(layer)(keras.tree.map_structure(lambda v: v.quantized(), x))
        return _Lazy(lambda: outputs, self.fake_quant_of(layer.name))

    def concatenation(self, layer, values: list) -> _Lazy:
        """Gives all parts the range of the whole, which alone is observed."""
        whole = self.fake_quant_of(layer.name)()
        outputs = self.copy(layer)([value.quantized(whole) for value in values])
        return _Lazy(lambda: outputs, lambda: whole)

    def rearrangement(self, layer, x: _Lazy) -> _Lazy:
        return _SameRange(x, self.copy(layer), exact=True)

    def average(self, layer, x: _Lazy) -> _Lazy:
        return _SameRange(x, self.copy(layer), exact=False)

    def resize_like(self, layer, pair) -> _Lazy:
        x, like = pair
        return _SameRange(x, lambda tensor: self.copy(layer)([tensor, like.raw]), exact=False)

    def default(self, layer, *args, **kwargs):
        kind = type(layer).__name__
        raise UserError(f"quantize.qat needs layers of a known kind; {layer.name} is none. Received: {kind}")

    handlers = {
        layers.Conv2D: convolution,
        float_layers.Conv2D: convolution,
        layers.DepthwiseConv2D: depthwise,
        layers.Dense: dense,
        layers.BatchNormalization: batch_norm,
        float_layers.BatchNormalization: batch_norm,
        layers.ReLU: activation,
        layers.Activation: activation,
        layers.Softmax: bounded,
        layers.Rescaling: rescaling,
        layers.Add: operation,
        layers.Multiply: operation,
        layers.GlobalAveragePooling2D: operation,
        float_layers.Cosines: operation,
        float_layers.UnitLength: unit_length,
        float_layers.LayerScale: layer_scale,
        float_layers.AttentionLogits: operation,
        float_layers.AttentionValues: operation,
        layers.Concatenate: concatenation,
        layers.Dropout: rearrangement,
        layers.Reshape: rearrangement,
        layers.Flatten: rearrangement,
        layers.Cropping2D: rearrangement,
        layers.ZeroPadding2D: rearrangement,
        layers.UpSampling2D: rearrangement,
        layers.AveragePooling2D: average,
        float_layers.BoundedAveragePooling: average,
        float_layers.ResizeLike: resize_like,
    }


# Quantization-aware to float ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Unfolded:
    """The layers that were folded into a convolution, in their order, in place of the multiplier they stand for."""

    layers: tuple[Any, ...]


class _Strip(_Rewrite):
    def wrap_input(self, tensor, outermost: bool):
        return tensor

    def unwrap_output(self, value):
        return value

    def nested(self, model, *args):
        new: Any = self.replacement(model)
        return new(*args)

    def default(self, layer, *args, **kwargs):
        return self.copy(layer)(*args, **kwargs)

    def fake_quant(self, layer, x, **kwargs):
        return x

    def hard_sigmoid(self, layer, x):
        return layers.Activation("hard_sigmoid", name=layer.name)(x)

    def convolution(self, layer, x, multiplier=None, offset=None, kind: type = float_layers.Conv2D):
        """Calls the float convolution, then the layers that were folded into it, if any.

        The multiplier of a hard sigmoid is a number, and belongs to the activation that `hard_sigmoid` restores.
        """
        return self.unfolded(self.copy(layer, kind)(x), multiplier)

    def unfolded(self, x, multiplier):
        for layer in multiplier.layers if isinstance(multiplier, _Unfolded) else ():
            x = layer(x)
        return x

    def identity(self, layer, x, multiplier=None, offset=None):
        return self.unfolded(x, multiplier)

    def depthwise(self, layer, x, **fold):
        return self.convolution(layer, x, **fold, kind=layers.DepthwiseConv2D)

    def dense(self, layer, x, **fold):
        return self.convolution(layer, x, **fold, kind=layers.Dense)

    def rescaling(self, layer, x):
        return self.copy(layer, layers.Rescaling)(x)

    def batch_norm(self, layer, x):
        """Returns the layer in place of its multiplier, and no offset; see `convolution`."""
        if id(layer) not in self.new_layers:
            config = layer.get_config()
            del config["channels"]
            self.new_layers[id(layer)] = float_layers.BatchNormalization.from_config(config)
        return _Unfolded((self.new_layers[id(layer)],)), None

    def scale(self, layer, x, multiplier=None, offset=None):
        """Returns the layer in place of its multiplier, behind what was folded before it, and no offset."""
        if id(layer) not in self.new_layers:
            kind = float_layers.LayerScale if layer.learned else layers.Rescaling
            self.new_layers[id(layer)] = kind(layer.scale, name=layer.name)
        before = multiplier.layers if isinstance(multiplier, _Unfolded) else ()
        return _Unfolded((*before, self.new_layers[id(layer)])), None

    handlers = {
        FakeQuant: fake_quant,
        HardSigmoid: hard_sigmoid,
        qat_layers.QuantizedConv2D: convolution,
        qat_layers.QuantizedDepthwiseConv2D: depthwise,
        qat_layers.QuantizedDense: dense,
        qat_layers.QuantizedRescaling: rescaling,
        qat_layers.QuantizedIdentity: identity,
        qat_layers.FoldedBatchNormalization: batch_norm,
        qat_layers.FoldedScale: scale,
    }
