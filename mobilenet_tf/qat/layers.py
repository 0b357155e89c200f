"""Layers that compute in float what int8 will compute: ranges of activations, convolutions with quantised kernels."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from mobilenet_tf.models.layers import fast_convolution

STEPS = 255  # between the lowest and the highest of 8 bits
SIGMOID = (0.0, 255 / 256)  # the range that TFLite's int8 LOGISTIC and SOFTMAX demand
UNIT = (-1.0, 127 / 128)  # ... and its L2_NORMALIZATION


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class Range(keras.layers.Layer):
    """Rounds a tensor to the 256 values of its range, one scale and zero point for all of it.

    The range follows the smallest and largest values of the training batches: the first sets it, later ones move it by
    `1 - momentum`. It always holds 0, which int8 represents exactly. Until the first batch nothing is rounded.
    Source: arXiv:1712.05877, section 3.1; arXiv:1806.08342, section 3.

    fixed:   (lowest, highest), for what is known beforehand, in place of a moving range.
    observe: in a call, False applies the range without moving it: for tensors that share one with another.
    """

    def __init__(self, momentum: float = 0.99, fixed: tuple[float, float] | None = None, **keys):
        super().__init__(**keys)
        self.momentum, self.fixed = momentum, tuple(fixed) if fixed else None
        self.watcher: Callable | None = None  # is given what would be observed, outside training

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
        if self.watcher and observe:
            self.watcher(inputs)
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
    """A frozen BatchNormalization as (multiplier [C], offset [C]) for the convolution before it.

    It takes that convolution's input, whose values do not matter. The statistics stand still; gamma and beta learn.
    """

    def __init__(self, channels: int, **keys):
        super().__init__(**keys)
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


class _Quantised:
    """What convolutions and dense layers share: the kernel after folding, rounded by output channel."""

    def build(self, inputs_shape, multiplier_shape=None, offset_shape=None):
        super().build(inputs_shape)

    def compute_output_shape(self, inputs_shape, multiplier_shape=None, offset_shape=None):
        return super().compute_output_shape(inputs_shape)

    def call(self, inputs, multiplier=None, offset=None, training=None):
        """The layer on `inputs`, its outputs times `multiplier` plus `offset` ([C] or numbers), without activation."""
        kernel, bias = self._by_channel(tf.convert_to_tensor(self.kernel)), self.bias if self.use_bias else None
        if isinstance(offset, float):
            # not the same number for all: such a bias the converter rounds by the first channel's scale alone
            offset += 1e-7 * tf.one_hot(0, kernel.shape[-1])
        if multiplier is not None:
            kernel *= multiplier
            bias = offset if bias is None else bias * multiplier + offset
        outputs = self._convolve(inputs, _rounded(kernel, bias), training)
        return outputs if bias is None else tf.nn.bias_add(outputs, bias)

    def _by_channel(self, kernel):
        """The kernel with the output channels last."""
        return kernel


def _rounded(kernel, bias):
    """A kernel [..., C] rounded to -127..127 steps of each channel's largest weight.

    A dead channel has no largest weight; its steps are such that int32 holds its bias.
    """
    highest = tf.reduce_max(tf.abs(kernel), list(range(len(kernel.shape) - 1)))
    highest = tf.maximum(highest, 1e-6 if bias is None else tf.maximum(1e-4 * tf.abs(bias), 1e-6))
    highest = tf.stop_gradient(highest)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -highest, highest, narrow_range=True)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class QuantisedConv2D(_Quantised, keras.layers.Conv2D):
    """A Conv2D with its weights, computed as int8 will."""

    def _convolve(self, inputs, kernel, training):
        return fast_convolution(self, inputs, kernel) if training else self.convolution_op(inputs, kernel)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class QuantisedDepthwiseConv2D(_Quantised, keras.layers.DepthwiseConv2D):
    """A DepthwiseConv2D with its weights, computed as int8 will."""

    def _by_channel(self, kernel):
        return tf.reshape(kernel, [*self.kernel_size, 1, -1])

    def _convolve(self, inputs, kernel, training):
        kernel = tf.reshape(kernel, self.kernel.shape)
        return keras.ops.depthwise_conv(inputs, kernel, self.strides, self.padding, dilation_rate=self.dilation_rate)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class QuantisedDense(_Quantised, keras.layers.Dense):
    """A Dense layer with its weights, on [N, C], computed as int8 will.

    As a 1x1 convolution: the converter fails on a matrix that is quantised by column, which it has to transpose.
    """

    def call(self, inputs, multiplier=None, offset=None, training=None):
        outputs = super().call(tf.reshape(inputs, [-1, 1, 1, inputs.shape[-1]]), multiplier, offset)
        return tf.reshape(outputs, [-1, self.units])

    def _by_channel(self, kernel):
        return tf.reshape(kernel, [1, 1, *kernel.shape])

    def _convolve(self, inputs, kernel, training):
        return tf.nn.conv2d(inputs, kernel, 1, "VALID")


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class QuantisedRescaling(keras.layers.Rescaling):
    """Pixels in 0..255, each in one step, to a range of 255 steps that has 0 on its grid."""

    def call(self, inputs):
        pixels = tf.quantization.fake_quant_with_min_max_args(inputs, 0, STEPS)
        scaled = tf.quantization.fake_quant_with_min_max_args(pixels * self.scale, 0, STEPS * self.scale)
        low, high = self.offset, STEPS * self.scale + self.offset
        # 254 steps between the two: with 255 every grey level would lie in the middle between two values
        return tf.quantization.fake_quant_with_min_max_args(scaled + self.offset, low, high + (high - low) / 254)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class HardSigmoid(keras.layers.Layer):
    """What is left of a hard sigmoid behind a convolution that computes x / 6 + 0.5: the limits, as int8's own."""

    def call(self, inputs):
        return tf.quantization.fake_quant_with_min_max_args(inputs, 0, 1)

    def compute_output_shape(self, input_shape):
        return input_shape
