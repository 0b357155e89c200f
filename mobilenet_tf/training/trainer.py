"""The training step: a network under a task's loss, and the moving average of its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf.models.graph import leaves

RECENT_STEPS = 40  # whose losses are stored on the device and checked now and then


class Trainer(keras.Model):
    """A network with a task's loss, whatever the structure of the targets.

    Args:
        network: images to raw outputs.
        loss: fn(targets, raw outputs) -> a scalar, or one number a sample.
        distilled_loss: fn(images, targets, raw outputs), which replaces `loss` in distillation.
        after_step: runs in the graph after the weights have changed, such as the update of their moving average.
    """

    def __init__(
        self,
        network: keras.Model,
        loss: Callable[[Any, Any], tf.Tensor],
        distilled_loss: Callable | None = None,
        after_step: Callable[[], None] | None = None,
    ):
        # By its policy Keras decides whether the loss must be scaled; the network casts its inputs itself.
        super().__init__(name="trainer", dtype=_policy(network), autocast=False)
        self.network, self.loss_function, self.distilled_loss = network, loss, distilled_loss
        self.after_step = after_step
        # Rows of (step of the stage, its loss), the newest last; Keras logs the mean of the epoch alone.
        self.recent_losses = tf.Variable(tf.zeros([RECENT_STEPS, 2]), trainable=False)

    def call(self, images, training=False):
        """Returns the network's raw outputs for images float32 [N, H, W, 3]."""
        return self.network(images, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Returns the mean loss of a batch, a scalar, and keeps it among the recent ones."""
        loss = self.distilled_loss(x, y, y_pred) if self.distilled_loss else self.loss_function(y, y_pred)
        loss = tf.reduce_mean(loss)
        row = tf.stack([tf.cast(self.optimizer.iterations, tf.float32) + 1, tf.cast(loss, tf.float32)])
        self.recent_losses.assign(tf.concat([self.recent_losses[1:], row[None]], 0))
        return loss

    def train_step(self, data):
        """Takes one step of the optimizer, then calls `after_step`; returns Keras's logs."""
        logs = super().train_step(data)
        if self.after_step:
            self.after_step()
        return logs

    def losses_so_far(self) -> list[tuple[int, float]]:
        """(step of the stage, its loss) of the last steps, the newest last. Waits for the device."""
        return [(int(step), float(loss)) for step, loss in np.asarray(self.recent_losses) if step]


def _policy(network: keras.Model) -> str:
    """The dtype policy of a network's layers: that of the model is the one at the time when it was put together."""
    names = {layer.dtype_policy.name for layer in leaves(network)}
    return "mixed_float16" if "mixed_float16" in names else "float32"
