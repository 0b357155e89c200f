"""Layers that compute in float what int8 will compute: fake quantization of activations, and of kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf.models.layers import fast_convolution

MAX_UINT8 = 255  # 8 bits hold 256 values, so a range has 255 LSBs
SIGMOID_RANGE = (0.0, 255 / 256)  # the output range that TFLite's int8 LOGISTIC and SOFTMAX demand
UNIT_RANGE = (-1.0, 127 / 128)  # the output range that TFLite's int8 L2_NORMALIZATION demands

LayerClass = TypeVar("LayerClass", bound=type)


def _stored_as(name: str) -> Callable[[LayerClass], LayerClass]:
    """Makes a layer class known to Keras by the name that .keras files since version 0.1.0 hold.

    Keras writes two names into a file: the registered name into the config, and the class's `__name__`, in snake case,
    into the paths of the weights ("layers/range_1/vars/0"). Both have to stay when a class is renamed in Python.
    """

    def register(cls: LayerClass) -> LayerClass:
        cls.__name__ = name
        keras.saving.register_keras_serializable(package="mobilenet_tf", name=name)(cls)
        return cls

    return register


@_stored_as("Range")
class FakeQuant(keras.layers.Layer):
    """Rounds a tensor to the 256 values that int8 has in a range [low, high], with one scale and zero point.

    The range is a moving average of the smallest and largest values in the training batches: the first batch sets it,
    each later one moves it by `1 - momentum`. It always contains 0, which int8 represents exactly. Before the first
    batch the tensor passes unchanged. Source: arXiv:1712.05877, section 3.1; arXiv:1806.08342, section 3.

    Args:
        momentum: of the moving average.
        fixed: (low, high), for an operation whose range is known beforehand, in place of a moving range.

    In a call, `observe=False` applies the range without moving it, for a tensor that shares the range of another.
    """

    low: Any  # scalar variables; absent where the range is fixed
    high: Any

    def __init__(self, momentum: float = 0.99, fixed: tuple[float, float] | None = None, **kwargs):
        super().__init__(**kwargs)
        self.momentum, self.fixed = momentum, tuple(fixed) if fixed else None
        self.observer: Callable | None = None  # called in inference with each tensor that training would observe

    def build(self, input_shape):
        if self.fixed is None:
            self.low, self.high = (
                self.add_weight(shape=(), initializer="zeros", trainable=False, dtype="float32", name=name)
                for name in ("low", "high")
            )

    def call(self, inputs, observe=True, training=None):
        if self.fixed:
            return tf.quantization.fake_quant_with_min_max_args(inputs, *self.fixed)
        if training and observe:
            self._follow(inputs)
        if self.observer and observe:
            self.observer(inputs)
        low, high = tf.convert_to_tensor(self.low), tf.convert_to_tensor(self.high)
        return tf.cond(
            high > low, lambda: tf.quantization.fake_quant_with_min_max_vars(inputs, low, high), lambda: inputs
        )

    def _follow(self, inputs):
        known = self.high > self.low
        for variable, extreme in (
            (self.low, tf.minimum(tf.reduce_min(inputs), 0.0)),
            (self.high, tf.maximum(tf.reduce_max(inputs), 0.0)),
        ):
            moved = variable * self.momentum + extreme * (1.0 - self.momentum)
            variable.assign(tf.where(known, moved, extreme))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"momentum": self.momentum, "fixed": self.fixed}


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class FoldedBatchNormalization(keras.layers.BatchNormalization):
    """A BatchNormalization in the form in which the convolution before it can absorb it: (multiplier [C], offset [C]).

    With frozen statistics, BatchNorm computes x * multiplier + offset for each channel, where multiplier is
    gamma / sqrt(variance + epsilon) and offset is beta - mean * multiplier. The layer returns these two vectors in
    place of a normalized tensor. Gamma and beta are trained; mean and variance are not updated.

    It is called on the input of the convolution, so that it has a place in the graph; the values do not matter.
    """

    gamma: Any
    beta: Any
    moving_mean: Any
    moving_variance: Any

    def __init__(self, channels: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels

    def build(self, input_shape):
        super().build((*input_shape[:-1], self.channels))
        self.input_spec = None  # the input has the channels of the convolution's input

    def call(self, inputs, training=None, mask=None):
        multiplier = tf.math.rsqrt(self.moving_variance + self.epsilon)
        if self.scale:
            multiplier *= self.gamma
        offset = -self.moving_mean * multiplier
        return multiplier, offset + self.beta if self.center else offset

    def compute_output_shape(self, input_shape):
        return (self.channels,), (self.channels,)

    def get_config(self):
        return super().get_config() | {"channels": self.channels}


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class FoldedScale(keras.layers.Layer):
    """A scale of channels in the form in which the convolution before it can absorb it: (multiplier [C], offset [C]).

    What was folded into that convolution before is in its arguments and comes back scaled.

    Args:
        scale: the number for all channels.
        learned: each channel has a number of its own, which starts at `scale` and is trained.
    """

    gamma: Any = None

    def __init__(self, channels: int, scale: float, learned: bool, **kwargs):
        super().__init__(**kwargs)
        self.channels, self.scale, self.learned = channels, scale, learned

    def build(self, inputs_shape, multiplier_shape=None, offset_shape=None):
        if self.learned:
            initializer = keras.initializers.Constant(self.scale)
            self.gamma = self.add_weight(name="gamma", shape=(self.channels,), initializer=initializer)

    def call(self, inputs, multiplier=None, offset=None):
        scale = tf.convert_to_tensor(self.gamma) if self.learned else tf.fill([self.channels], self.scale)
        return (
            scale if multiplier is None else multiplier * scale,
            tf.zeros_like(scale) if offset is None else offset * scale,
        )

    def compute_output_shape(self, inputs_shape, multiplier_shape=None, offset_shape=None):
        return (self.channels,), (self.channels,)

    def get_config(self):
        return super().get_config() | {"channels": self.channels, "scale": self.scale, "learned": self.learned}


class _QuantizedKernel:
    """A mixin for convolutions and dense layers, which fake-quantizes the kernel per output channel after folding."""

    kernel: Any
    bias: Any
    use_bias: bool
    _convolve: Callable  # (inputs, kernel, training) -> outputs without bias

    def build(self, inputs_shape, multiplier_shape=None, offset_shape=None):
        layer: Any = super()
        layer.build(inputs_shape)

    def compute_output_shape(self, inputs_shape, multiplier_shape=None, offset_shape=None):
        layer: Any = super()
        return layer.compute_output_shape(inputs_shape)

    def call(self, inputs, multiplier=None, offset=None, training=None):
        """Computes layer(inputs) * multiplier + offset, without an activation.

        Both scale or shift the outputs per channel ([C], or one number for all); they are folded into the kernel and
        the bias before these are rounded, as the TFLite converter does.
        """
        kernel, bias = self._by_channel(tf.convert_to_tensor(self.kernel)), self.bias if self.use_bias else None
        if isinstance(offset, float):
            # The converter rounds a bias that is one number for all channels by the first channel's scale alone, so
            # one channel gets another number.
            offset += 1e-7 * tf.one_hot(0, kernel.shape[-1])
        if multiplier is not None:
            kernel *= multiplier
            bias = offset if bias is None else bias * multiplier + offset
        outputs = self._convolve(inputs, _fake_quantize(kernel, bias), training)
        return outputs if bias is None else tf.nn.bias_add(outputs, bias)

    def _by_channel(self, kernel):
        """Returns the kernel with the output channels last."""
        return kernel


def _fake_quantize(kernel, bias):
    """Rounds a kernel [..., C] to -127..127 LSBs per channel, where 127 LSBs are the channel's largest weight.

    Where all weights of a channel are (nearly) zero, the LSB is chosen so that int32 holds the channel's bias.
    """
    highest = tf.reduce_max(tf.abs(kernel), list(range(len(kernel.shape) - 1)))
    highest = tf.maximum(highest, 1e-6 if bias is None else tf.maximum(1e-4 * tf.abs(bias), 1e-6))
    highest = tf.stop_gradient(highest)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -highest, highest, narrow_range=True)


@_stored_as("QuantisedConv2D")
class QuantizedConv2D(_QuantizedKernel, keras.layers.Conv2D):
    """A Conv2D with the same weights, which computes with a fake-quantized kernel."""

    def _convolve(self, inputs, kernel, training):
        return fast_convolution(self, inputs, kernel) if training else self.convolution_op(inputs, kernel)


@_stored_as("QuantisedDepthwiseConv2D")
class QuantizedDepthwiseConv2D(_QuantizedKernel, keras.layers.DepthwiseConv2D):
    """A DepthwiseConv2D with the same weights, which computes with a fake-quantized kernel."""

    def _by_channel(self, kernel):
        return tf.reshape(kernel, [*self.kernel_size, 1, -1])

    def _convolve(self, inputs, kernel, training):
        kernel = tf.reshape(kernel, self.kernel.shape)
        strides: Any = self.strides  # a tuple, where Keras's annotations have an int
        dilation: Any = self.dilation_rate
        return keras.ops.depthwise_conv(inputs, kernel, strides, self.padding, dilation_rate=dilation)


@_stored_as("QuantisedDense")
class QuantizedDense(_QuantizedKernel, keras.layers.Dense):
    """A Dense layer on [N, C] with the same weights, which computes with a fake-quantized kernel.

    It is computed as a 1x1 convolution, because the converter fails to transpose a matrix that is quantized per column.
    """

    def call(self, inputs, multiplier=None, offset=None, training=None):
        outputs = super().call(tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]]), multiplier, offset)
        return tf.reshape(outputs, [-1, self.units])

    def _by_channel(self, kernel):
        return tf.reshape(kernel, [1, 1, *kernel.shape])

    def _convolve(self, inputs, kernel, training):
        return tf.nn.conv2d(inputs, kernel, 1, "VALID")


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class QuantizedIdentity(_QuantizedKernel, keras.layers.Layer):
    """A depthwise 1x1 convolution of ones: a BatchNormalization without a convolution before it is folded into it."""

    use_bias = False

    def build(self, inputs_shape, multiplier_shape=None, offset_shape=None):
        self.kernel = np.ones([1, 1, 1, inputs_shape[-1]], np.float32)

    def compute_output_shape(self, inputs_shape, multiplier_shape=None, offset_shape=None):
        return inputs_shape

    def _convolve(self, inputs, kernel, training):
        return tf.nn.depthwise_conv2d(inputs, tf.reshape(kernel, [1, 1, -1, 1]), [1, 1, 1, 1], "VALID")


@_stored_as("QuantisedRescaling")
class QuantizedRescaling(keras.layers.Rescaling):
    """Rescales pixels in 0..255, whose LSB is one gray level, to a range of 255 LSBs that represents 0 exactly."""

    def call(self, inputs):
        pixels = tf.quantization.fake_quant_with_min_max_args(inputs, 0, MAX_UINT8)
        scale, offset = np.asarray(self.scale, np.float64), np.asarray(self.offset, np.float64)  # [] or [C]
        scaled = pixels * scale.astype(np.float32)
        scaled = tf.quantization.fake_quant_with_min_max_args(scaled, 0, float(np.max(MAX_UINT8 * scale)))
        low, high = float(np.min(offset)), float(np.max(MAX_UINT8 * scale + offset))
        # 254 LSBs lie between low and high: with 255, each gray level would lie halfway between two int8 values.
        moved = scaled + offset.astype(np.float32)
        return tf.quantization.fake_quant_with_min_max_args(moved, low, high + (high - low) / 254)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class HardSigmoid(keras.layers.Layer):
    """The clipping to 0..1 of a hard sigmoid, min(max(x / 6 + 0.5, 0), 1); the convolution before it has the rest.

    int8 clips for free: it is the range of the convolution's output.
    """

    def call(self, inputs):
        return tf.quantization.fake_quant_with_min_max_args(inputs, 0, 1)

    def compute_output_shape(self, input_shape):
        return input_shape
