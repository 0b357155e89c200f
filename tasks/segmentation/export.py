"""The segmentation model as it is exported."""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from mobilenet_tf.tasks.segmentation.config import Export
from mobilenet_tf.tasks.segmentation.inference import LOGITS
from mobilenet_tf.utils.errors import UserError


def serving_model(model: keras.Model, output: str = "logits", size: tuple[int, int] | None = None) -> keras.Model:
    """Returns the model from images to one output: "logits", "softmax" (both [N, H, W, C]) or "class_map".

    The class map is uint8 [N, H, W], the class with the largest logit. `size` is the (height, width) of the output; by
    default it is that of the image. The auxiliary classifier is left out. Raises UserError for another output.
    """
    endings = [ending.name for ending in Export.endings]
    if output not in endings:
        raise UserError(f"export.outputs must be one of {', '.join(endings)}. Received: {output}")
    x = model.output[LOGITS] if isinstance(model.output, dict) else model.output
    if size:
        x = layers.Resizing(*size, interpolation="bilinear", dtype="float32", name="resize")(x)
    if output == "softmax":
        x = layers.Softmax(dtype="float32", name="softmax")(x)
    if output == "class_map":
        x = ClassMap(name="class_map")(x)
    return keras.Model(model.inputs, {output: x}, name=model.name)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class ClassMap(layers.Layer):
    """Logits [N, H, W, C] -> the class with the largest logit, uint8 [N, H, W]."""

    def call(self, logits):
        """Returns the class with the largest logit of each pixel."""
        # not keras.ops.argmax, which treats -0.0 with operations that TFLite does not have
        return tf.cast(tf.argmax(logits, -1, output_type=tf.int32), tf.uint8)
