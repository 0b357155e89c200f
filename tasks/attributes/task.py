"""Attributes, wired together."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mobilenet_tf import task as base
from mobilenet_tf.data import sampling, transforms
from mobilenet_tf.data.augment import augmentation
from mobilenet_tf.data.source import Source
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.tasks.attributes import data
from mobilenet_tf.tasks.attributes.config import Config
from mobilenet_tf.tasks.attributes.export import serving_model
from mobilenet_tf.tasks.attributes.inference import Inference, agreement
from mobilenet_tf.tasks.attributes.loss import loss
from mobilenet_tf.tasks.attributes.metric import AttributeMetric
from mobilenet_tf.tasks.attributes.report import report
from mobilenet_tf.training.distill import binary_divergence
from mobilenet_tf.utils.errors import UserError


class Task(Inference, base.Task[Config]):
    """Several yes-or-no labels an image."""

    name = "attributes"

    def source(self, split):
        """The samples of a split: "id", "image" uint8 [H, W, 3], "attributes" float32 [A], below 0 where not known."""
        return data.read(self.cfg.data, split, seed=self.cfg.seed, size=max(self.cfg.model.input_size))

    def transform(self, training):
        """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255."""
        size, options = self.cfg.model.input_size, self.cfg.data
        return augmentation(size, options.augment) if training else transforms.resize(size, options.crop_fraction)

    def encode(self, source):
        """Batch of samples -> (images [N, H, W, 3], {"labels" [N, A], "weights" [N, A] of the labels})."""
        positive = tf.constant(_positive_weights(self.cfg, source), tf.float32)

        def encoded(batch):
            labels = batch["attributes"]
            return batch["image"], {"labels": labels, "weights": tf.where(labels > 0, positive, 1.0)}

        return encoded

    def sampler(self):
        """Images with a rare label more often, where `data.sampling` says so."""
        if self.cfg.data.sampling == "natural":
            return None
        return lambda items, seed: sampling.weighted_order(sampling.attribute_weights(items["attributes"]), seed)

    def model(self, source):
        """Images [N, H, W, 3] in 0..255 -> logits [N, A]."""
        options = self.cfg.model.model_dump(exclude={"backbone"})
        return classifier(self.cfg.model.backbone, len(source.classes), **options)

    def loss(self):
        return loss(**self.cfg.loss.model_dump(exclude={"positive_weights"}))

    def metric(self, source):
        return AttributeMetric(source.classes, self.cfg.thresholds)

    def report(self, metric, classes, folder):
        return report(metric, classes, folder)

    def annotation(self, sample, classes):
        """The image and the names of the attributes that it has."""
        present = [name for name, value in zip(classes, np.asarray(sample["attributes"]), strict=True) if value > 0]
        return base.drawable(sample["image"]), ", ".join(present) or "none"

    def serving_model(self, model):
        return serving_model(model, self.cfg.export.outputs)

    def agreement(self, reference, candidate):
        return agreement(reference, candidate)

    def distillation_loss(self):
        return binary_divergence(self.cfg.distill.temperature)

    def calibrate_thresholds(self, metric):
        """The config with the thresholds that are best on the metric's samples, where it has none yet."""
        cfg = self.cfg
        if cfg.thresholds is not None or cfg.calibrate_thresholds is None:
            return cfg
        return cfg.model_copy(update={"thresholds": metric.tuned(cfg.calibrate_thresholds)})


def _positive_weights(cfg: Config, source: Source) -> np.ndarray:
    """The weight of a positive label of each attribute, [A]; a negative one weighs 1."""
    chosen = cfg.loss.positive_weights if cfg.loss.name == "cross_entropy" else None
    if chosen is None:
        return np.ones(len(source.classes))
    if chosen == "balanced":
        labels = data.labels(source)
        positives, negatives = (labels > 0).sum(0), (labels == 0).sum(0)
        return np.where((positives > 0) & (negatives > 0), negatives / np.maximum(positives, 1), 1.0)
    if len(chosen) != len(source.classes):
        raise UserError(
            f"loss.positive_weights must have one number for each of the {len(source.classes)} attributes. "
            f"Received: {len(chosen)}"
        )
    return np.array(chosen)


task = Task
