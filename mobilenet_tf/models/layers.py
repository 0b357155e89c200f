"""Layers of this package: BatchNormalization on TensorFlow's fused kernel, dilated convolutions, resizing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from mobilenet_tf.models.specs import BN_EPSILON


# The class keeps Keras's name because Keras's weight files address layers by it.
@keras.saving.register_keras_serializable(package="mobilenet_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's BatchNormalization with the same weights, config and numbers, computed by the fused kernel.

    Takes images [N, H, W, C] of any float type; whatever the kernel cannot do (another rank or axis, masks,
    renormalization, synchronized replicas, float64) runs as in Keras. Source: keras.layers.BatchNormalization,
    tf.raw_ops.FusedBatchNormV3.

    observer: while set, a call normalizes by the statistics of its own batch, whatever `training` says, and hands their
        mean and variance, each [C], to it; the moving averages stay (see `batch_norm.Statistics`).
    """

    observer: Callable | None = None

    def __init__(self, *args, epsilon: float = BN_EPSILON, **kwargs):
        super().__init__(*args, epsilon=epsilon, **kwargs)

    def call(self, inputs, training=None, mask=None):
        if self.observer:
            return self._observed(inputs, self.observer)
        if mask is not None or not self._fits_kernel(inputs):
            return super().call(inputs, training=training, mask=mask)
        training = bool(training) and self.trainable
        outputs, mean, variance = self._fused(inputs, training)
        if training:
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        return outputs

    def _observed(self, inputs, observer: Callable):
        if self._fits_kernel(inputs):
            outputs, mean, variance = self._fused(inputs, training=True)
        else:
            values = tf.cast(inputs, self.variable_dtype)
            mean, variance = tf.nn.moments(values, list(range(len(inputs.shape) - 1)))
            scale, offset = self.gamma if self.scale else None, self.beta if self.center else None
            outputs = tf.nn.batch_normalization(values, mean, variance, offset, scale, self.epsilon)
            outputs = tf.cast(outputs, self.compute_dtype)
        observer((mean, variance))
        return outputs

    def _fused(self, inputs, training: bool):
        """(outputs, mean, variance) by the kernel; in training of the batch, the variance divided by n as in Keras."""
        channels = inputs.shape[-1]
        empty = tf.zeros([0], tf.float32)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=tf.cast(inputs, self.compute_dtype),
            scale=self.gamma if self.scale else tf.ones([channels]),
            offset=self.beta if self.center else tf.zeros([channels]),
            mean=empty if training else self.moving_mean,
            variance=empty if training else self.moving_variance,
            epsilon=self.epsilon,
            is_training=training,
        )
        n = tf.cast(tf.size(inputs) // channels, tf.float32)  # the kernel's variance is divided by n - 1
        return outputs, mean, variance * ((n - 1.0) / n) if training else variance

    def _fits_kernel(self, inputs) -> bool:
        return (
            len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and not self.renorm
            and not self.synchronized
            and self.compute_dtype in ("float32", "float16", "bfloat16")
            and self.variable_dtype == "float32"
        )

    def _move(self, average, value):
        average.assign(average * self.momentum + value * (1.0 - self.momentum))


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class Conv2D(keras.layers.Conv2D):
    """Keras's Conv2D with the same weights, config and numbers, made for large dilations.

    On CPU TensorFlow trains a dilated convolution on a batch of many tiny images. Here each tap of the kernel is a 1x1
    convolution of the part of the map it reaches, which leaves out all products with the padding: a 3x3 kernel on a
    33x33 map trains 6 times faster at rate 12 and 250 times at rate 36. Inference and exports keep the one operation,
    but a kernel of which the map is too small for all but the center becomes the 1x1 convolution that it is.
    (Dilated depthwise convolutions gain nothing from the like: their few phases are fast.)
    """

    def call(self, inputs, training=None):
        if not (training or _only_center(self, inputs)):
            return super().call(inputs)
        outputs: Any = fast_convolution(self, inputs, self.kernel)
        if self.use_bias:
            outputs += self.bias
        return outputs if self.activation is None else self.activation(outputs)


def fast_convolution(layer, inputs, kernel):
    """What a Conv2D layer computes with a kernel, for training: tap by tap where that is faster."""
    if not _dilated(layer, inputs):
        return layer.convolution_op(inputs, kernel)
    return tf.add_n([_tap(inputs, kernel[i : i + 1, j : j + 1], shift) for i, j, shift in _shifts(layer, inputs)])


def _dilated(layer, inputs) -> bool:
    """Whether a convolution is one that is faster done otherwise."""
    return (
        max(layer.dilation_rate) > 1
        and layer.padding == "same"
        and all(size % 2 for size in layer.kernel_size)
        and None not in inputs.shape[1:3]
        and not tf.config.list_logical_devices("GPU")
    )


def _only_center(layer, inputs) -> bool:
    return _dilated(layer, inputs) and len(list(_shifts(layer, inputs))) == 1


def _shifts(layer, inputs):
    """(i, j, (dy, dx)) of the kernel's taps that reach any pixel of the map."""
    (rows, columns), (dy, dx), (height, width) = layer.kernel_size, layer.dilation_rate, inputs.shape[1:3]
    for i in range(rows):
        for j in range(columns):
            shift = (i - rows // 2) * dy, (j - columns // 2) * dx
            if abs(shift[0]) < height and abs(shift[1]) < width:
                yield i, j, shift


def _tap(x, kernel, shift):
    """x shifted and multiplied, padded with zeros to its size: [N, H, W, C] -> [N, H, W, filters]."""
    (dy, dx), (height, width) = shift, x.shape[1:3]
    seen = x[:, max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)]
    room = [[0, 0], [max(0, -dy), max(0, dy)], [max(0, -dx), max(0, dx)], [0, 0]]
    product = tf.nn.conv2d(seen, kernel, 1, "VALID")
    return tf.pad(product, room) if any(shift) else product


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class ResizeLike(keras.layers.Layer):
    """[x [N, h, w, C], like [N, H, W, ...]] -> [N, H, W, C], bilinear with half-pixel centers (align_corners=False)."""

    def call(self, inputs):
        x, like = inputs
        size = like.shape[1:3] if None not in like.shape[1:3] else tf.shape(like)[1:3]
        return tf.cast(tf.image.resize(x, size), self.compute_dtype)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class BoundedAveragePooling(keras.layers.Layer):
    """Average pooling whose window shrinks to the map where that is smaller."""

    def __init__(self, window: int, vertical: int, horizontal: int, **kwargs):
        super().__init__(**kwargs)
        self.window, self.strides = window, (vertical, horizontal)

    def call(self, x):
        size = [min(self.window, side) if side else self.window for side in x.shape[1:3]]
        return keras.ops.average_pool(x, size, self.strides, "valid")

    def get_config(self):
        vertical, horizontal = self.strides
        return super().get_config() | {"window": self.window, "vertical": vertical, "horizontal": horizontal}


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class UnitLength(keras.layers.Layer):
    """x [N, D] divided by its Euclidean length.

    Converters know the operation, which keras.layers.UnitNormalization spells out: one kernel in TFLite, int8 too.
    """

    def call(self, x):
        return tf.math.l2_normalize(x, axis=-1)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class Cosines(keras.layers.Layer):
    """Unit vectors [N, D] -> their cosines [N, classes] with one learned center a class, whatever its length."""

    def __init__(self, classes: int, **kwargs):
        super().__init__(**kwargs)
        self.classes = classes

    def build(self, shape):
        self.centers = self.add_weight(
            name="centres",  # the name in stored models
            shape=(shape[-1], self.classes),
            initializer=keras.initializers.RandomNormal(seed=0),
        )

    def call(self, x):
        return tf.matmul(x, tf.math.l2_normalize(self.centers, axis=0))

    def get_config(self):
        return super().get_config() | {"classes": self.classes}


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class LayerScale(keras.layers.Layer):
    """x [..., C] times one learned number a channel, which starts at `initial`. Source: arXiv:2103.17239, section 2."""

    gamma: Any

    def __init__(self, initial: float = 1e-5, **kwargs):
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, shape):
        self.gamma = self.add_weight(
            name="gamma", shape=(shape[-1],), initializer=keras.initializers.Constant(self.initial)
        )

    def call(self, x):
        return x * tf.cast(self.gamma, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {"initial": self.initial}


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class AttentionLogits(keras.layers.Layer):
    """[queries [N, H, W, heads * d], keys [N, h, w, d]] -> the product of each with each [N, H * W * heads, h * w].

    All heads share the keys, so that nothing is transposed: a query is a row of d numbers. Source: arXiv:1911.02150.
    """

    def call(self, inputs):
        queries, keys = inputs
        depth = keys.shape[-1]
        return tf.matmul(_rows(queries, depth), _rows(keys, depth), transpose_b=True)

    def mult_adds(self, input_shape, output_shape) -> int:
        """The multiply-adds for one image, of the shapes of the queries and of the outputs: each query has all keys."""
        return math.prod(input_shape[1:]) * output_shape[2]


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class AttentionValues(keras.layers.Layer):
    """[shares [N, H * W * heads, h * w], values [N, h, w, d], queries] -> means of values [N, H, W, heads * d].

    Of the queries [N, H, W, heads * d] only the shape counts. Source: arXiv:1911.02150.
    """

    def call(self, inputs):
        shares, values, queries = inputs
        means = tf.matmul(shares, _rows(values, values.shape[-1]))
        known, shape = queries.shape, tf.shape(queries)
        return tf.reshape(means, [shape[0], *(known[i] or shape[i] for i in (1, 2)), known[3]])

    def mult_adds(self, input_shape, output_shape) -> int:
        """The multiply-adds for one image, of the shapes of the shares and of the outputs: a query has all values."""
        return math.prod(output_shape[1:]) * input_shape[2]


def _rows(x, depth: int):
    """[N, H, W, C] -> [N, H * W * C / depth, depth]."""
    height, width, channels = x.shape[1:]
    count = height * width * channels // depth if height and width else -1
    return tf.reshape(x, [tf.shape(x)[0], count, depth])


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class FlipChannels(keras.layers.Layer):
    """Swaps RGB and BGR: the channels [..., C] in reverse order."""

    def call(self, inputs):
        # not a slice with a negative step, which TFLite does not quantize
        return keras.ops.take(inputs, list(reversed(range(inputs.shape[-1]))), axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape
