"""The detector as it is exported: box decoding and non-max suppression inside, as the runtimes of phones have them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from mobilenet_tf.inference.tflite import POST_PROCESS
from mobilenet_tf.tasks.detection.boxes import MAX_LOG_SIZE
from mobilenet_tf.tasks.detection.inference import OUTPUTS


def serving_model(model: keras.Model, outputs: str, anchors: np.ndarray, **options) -> keras.Model:
    """Returns the model from images to the "raw" outputs of its heads, or to "detections".

    anchors: float32 [A, 4] yxyx in 0..1. options: see `DetectionPostProcess`.
    """
    if outputs == "raw":
        return model
    outputs_of: Any = model.output  # a dict, as `detector` gives it
    raw = {name: outputs_of[name] for name in ("class_logits", "box_regressions")}
    detections = DetectionPostProcess(anchors.tolist(), **options, dtype="float32", name="detections")(raw)
    return keras.Model(model.inputs, detections, name=model.name)


@keras.saving.register_keras_serializable(package="mobilenet_tf")
class DetectionPostProcess(layers.Layer):
    """Raw outputs of a detector -> the four outputs of TFLite's detection models, best first.

    detection_boxes [N, K, 4] yxyx in 0..1, detection_classes [N, K] from 0, detection_scores [N, K], all float32, and
    num_detections [N]. K is `max_detections`. The rows after the last detection are zeros, in TFLite undefined.
    In TFLite the layer becomes the single operation TFLite_Detection_PostProcess; elsewhere it is the TensorFlow graph
    below. Each anchor has only its best class, and non-max suppression runs over all anchors together: the operation's
    mode for one class at a time loses classes when the interpreter has several threads (ai-edge-litert 2.3: with two
    threads and five classes, four of them). ONNX suppresses class by class and has no rows after the last detection.
    Source: tensorflow/lite/kernels/detection_postprocess.cc.

    anchors: [A, 4] yxyx in 0..1. scores: "softmax" (class 0 of the logits is the background) or "sigmoid".
    """

    def __init__(
        self,
        anchors,
        *,
        scores: str,
        variances: tuple[float, float],
        score_threshold: float,
        iou_threshold: float,
        max_detections: int,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.options = {
            "scores": scores,
            "variances": tuple(variances),
            "score_threshold": score_threshold,
            "iou_threshold": iou_threshold,
            "max_detections": max_detections,
        }
        self.anchors = np.asarray(anchors, np.float32)

    def get_config(self):
        """Returns the arguments that make the same layer, for Keras to store."""
        return {**super().get_config(), **self.options, "anchors": self.anchors.tolist()}

    def compute_output_spec(self, raw):
        """Returns the shapes of the outputs, by their names."""
        most = self.options["max_detections"]
        shapes = ((None, most, 4), (None, most), (None, most), (None,))
        return {name: keras.KerasTensor(shape, "float32") for name, shape in zip(OUTPUTS, shapes, strict=True)}

    def call(self, raw):
        """Decodes boxes and suppresses overlapping ones: raw outputs -> {name: tensor}."""
        logits, background = raw["class_logits"], self.options["scores"] == "softmax"
        scores = tf.nn.softmax(logits) if background else tf.nn.sigmoid(logits)
        low, high = self.anchors[:, :2], self.anchors[:, 2:]
        prior = np.concatenate([(low + high) / 2, high - low], -1)  # centers and sizes
        operation = tf.function(
            self._suppress,
            autograph=False,
            experimental_implements=self._implements(logits.shape[-1] - background),
        )
        return dict(zip(OUTPUTS, operation(raw["box_regressions"], scores, tf.constant(prior)), strict=True))

    def _implements(self, classes: int) -> str:
        """Returns what TFLite's converter turns the function into: an operation with attributes, as a NameAttrList."""
        options = self.options
        center, size = (1 / variance for variance in options["variances"])
        scales = {"y_scale": center, "x_scale": center, "h_scale": size, "w_scale": size}
        floats = scales | {
            "nms_score_threshold": options["score_threshold"],
            "nms_iou_threshold": options["iou_threshold"],
        }
        integers = {
            "max_detections": options["max_detections"],
            "max_classes_per_detection": 1,
            "num_classes": classes,
        }
        attributes = [f'attr {{ key: "{key}" value {{ f: {value} }} }}' for key, value in floats.items()]
        attributes += [f'attr {{ key: "{key}" value {{ i: {value} }} }}' for key, value in integers.items()]
        attributes.append('attr { key: "use_regular_nms" value { b: false } }')
        return " ".join([f'name: "{POST_PROCESS}"', *attributes])

    def _suppress(self, codes, scores, prior):
        """Returns (boxes, classes, scores, count) as the operation does, computed with TensorFlow."""
        options = self.options
        variance = options["variances"]
        centers = codes[..., :2] * variance[0] * prior[:, 2:] + prior[:, :2]
        half = tf.exp(tf.minimum(codes[..., 2:] * variance[1], MAX_LOG_SIZE)) * prior[:, 2:] / 2
        boxes = tf.concat([centers - half, centers + half], -1)
        scores = scores[..., 1:] if options["scores"] == "softmax" else scores
        best = tf.reduce_max(scores, -1)
        selected, count = tf.image.non_max_suppression_padded(
            boxes,
            best,
            options["max_detections"],
            options["iou_threshold"],
            options["score_threshold"],
            pad_to_max_output_size=True,
            canonicalized_coordinates=True,
        )
        real = tf.sequence_mask(count, options["max_detections"], tf.float32)
        classes = tf.gather(tf.argmax(scores, -1, tf.int32), selected, batch_dims=1)
        return (
            tf.gather(boxes, selected, batch_dims=1) * real[..., None],
            tf.cast(classes, tf.float32) * real,
            tf.gather(best, selected, batch_dims=1) * real,
            tf.cast(count, tf.float32),
        )
