"""Semantic segmentation, wired together."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mobilenet_tf import task as base
from mobilenet_tf.data import transforms
from mobilenet_tf.data.source import Source
from mobilenet_tf.tasks.segmentation import data, tta
from mobilenet_tf.tasks.segmentation.config import Config
from mobilenet_tf.tasks.segmentation.export import serving_model
from mobilenet_tf.tasks.segmentation.inference import LOGITS, Inference
from mobilenet_tf.tasks.segmentation.loss import loss
from mobilenet_tf.tasks.segmentation.metric import SegmentationMetric
from mobilenet_tf.tasks.segmentation.model import segmenter
from mobilenet_tf.tasks.segmentation.report import annotated, report
from mobilenet_tf.training.distill import divergence
from mobilenet_tf.utils.errors import UserError


class Task(Inference, base.Task[Config]):
    """One class a pixel."""

    name = "segmentation"

    def source(self, split):
        """The samples of a split: "id", "image" uint8 [H, W, 3], "mask" uint8 [H, W]."""
        return data.read(self.cfg.data, split, seed=self.cfg.seed, size=max(self.cfg.model.input_size))

    def transform(self, training):
        """Sample -> Sample with a float32 image in 0..255 and a mask of the input size (or the training crop's).

        In evaluation "truth" is the mask as it was, at the original size.
        """
        size, augment, resize = self.cfg.model.input_size, self.cfg.data.augment, self.cfg.data.resize
        if not training:
            whole = transforms.letterbox(size, resize)
            return lambda sample: whole(sample | ({"truth": sample["mask"]} if "mask" in sample else {}))
        ops = [transforms.random_scale_crop(augment.crop or size, augment.scale, resize, size)]
        if augment.flip:
            ops.append(transforms.random_flip())
        if augment.color_jitter:
            ops.append(transforms.color_jitter(*[augment.color_jitter] * 3))
        return transforms.compose(ops)

    def encode(self, source):
        """Batch of samples -> (images [N, H, W, 3], {"mask": uint8 [N, H, W], "weights": float32 [N, H, W]})."""
        weights = np.zeros(256, np.float32)
        weights[: len(source.classes)] = _class_weights(self.cfg.loss.class_weights, source)
        table = tf.constant(weights)
        return lambda batch: (
            batch["image"],
            {"mask": batch["mask"], "weights": tf.gather(table, tf.cast(batch["mask"], tf.int32))},
        )

    def model(self, source):
        """Images [N, H, W, 3] in 0..255 -> logits [N, H, W, C]; with an auxiliary classifier, a dict of two."""
        options = self.cfg.model.model_dump(exclude={"backbone", "input_size"})
        return segmenter(self.cfg.model.backbone, len(source.classes), **options)

    def loss(self):
        options = self.cfg.loss
        return loss(ohem_fraction=options.ohem_fraction, dice=options.dice, auxiliary=options.auxiliary)

    def metric(self, source):
        return SegmentationMetric(source.classes, self.cfg.data.resize)

    def report(self, metric, classes, folder):
        return report(metric, classes, folder)

    def annotation(self, sample, classes):
        """The image under its mask, and the largest classes in it."""
        return annotated(sample, classes)

    def serving_model(self, model):
        return serving_model(model, self.cfg.export.outputs)

    def agreement(self, reference, candidate):
        """The share of pixels with the same class."""
        return float((reference["mask"] == candidate["mask"]).mean())

    def tta(self, predictor):
        """The predictor, or one that averages over sizes, mirror images and windows."""
        views = self.cfg.tta
        if views.window:
            predictor = tta.sliding_window(predictor, views.window)
        if views.flip or views.scales != [1.0]:
            predictor = tta.several_views(predictor, views.scales, views.flip)
        return predictor

    def distillation_loss(self):
        """fn(teacher's raw outputs, student's) -> [N, H, W]: the divergence of the pixels' softened probabilities."""
        distance = divergence(self.cfg.distill.temperature)
        return lambda *raws: distance(*(raw[LOGITS] if isinstance(raw, dict) else raw for raw in raws))


def _class_weights(chosen, source: Source):
    if chosen is None:
        return 1.0
    if chosen == "median":
        return data.median_weights(source)
    if len(chosen) != len(source.classes):
        raise UserError(
            f"loss.class_weights must have one number for each of the {len(source.classes)} classes. "
            f"Received: {len(chosen)}"
        )
    return chosen


task = Task
