"""The layers of our own: BatchNormalization on TensorFlow's fused kernel."""

from __future__ import annotations

import keras
import tensorflow as tf


# The class keeps Keras's name because Keras's weight files address layers by it.
@keras.saving.register_keras_serializable(package="mobilenet_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's BatchNormalization with the same weights, config and numbers, computed by the fused kernel.

    Takes images [N, H, W, C] of any float type; whatever the kernel cannot do (another rank or axis, masks,
    renormalisation, synchronised replicas, float64) runs as in Keras. Source: keras.layers.BatchNormalization,
    tf.raw_ops.FusedBatchNormV3.
    """

    def call(self, inputs, training=None, mask=None):
        if mask is not None or not self._fits_kernel(inputs):
            return super().call(inputs, training=training, mask=mask)
        training = bool(training) and self.trainable
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
        if training:
            # The kernel returns the sample variance, divided by n - 1; Keras averages the one divided by n.
            n = tf.cast(tf.size(inputs) // channels, tf.float32)
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance * ((n - 1.0) / n))
        return outputs

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
class ResizeLike(keras.layers.Layer):
    """[x [N, h, w, C], like [N, H, W, ...]] -> [N, H, W, C], bilinear with half-pixel centres (align_corners=False)."""

    def call(self, inputs):
        x, like = inputs
        size = like.shape[1:3] if None not in like.shape[1:3] else tf.shape(like)[1:3]
        return tf.cast(tf.image.resize(x, size), self.compute_dtype)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class BoundedAveragePooling(keras.layers.Layer):
    """Average pooling whose window shrinks to the map where that is smaller."""

    def __init__(self, window: int, vertical: int, horizontal: int, **keys):
        super().__init__(**keys)
        self.window, self.strides = window, (vertical, horizontal)

    def call(self, x):
        size = [min(self.window, side) if side else self.window for side in x.shape[1:3]]
        return keras.ops.average_pool(x, size, self.strides, "valid")

    def get_config(self):
        vertical, horizontal = self.strides
        return super().get_config() | {"window": self.window, "vertical": vertical, "horizontal": horizontal}
