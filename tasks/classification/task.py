"""Classification, wired together."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mobilenet_tf import task as base
from mobilenet_tf.data import sampling, transforms
from mobilenet_tf.data.augment import augmentation
from mobilenet_tf.data.source import Source
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.tasks.classification import data
from mobilenet_tf.tasks.classification.config import Config
from mobilenet_tf.tasks.classification.export import serving_model
from mobilenet_tf.tasks.classification.inference import Inference
from mobilenet_tf.tasks.classification.loss import loss
from mobilenet_tf.tasks.classification.metric import ClassificationMetric
from mobilenet_tf.tasks.classification.report import report
from mobilenet_tf.training.distill import divergence
from mobilenet_tf.utils.errors import UserError


class Task(Inference, base.Task[Config]):
    """One class an image."""

    name = "classification"

    def source(self, split):
        """The samples of a split: "id", "image" uint8 [H, W, 3], "label" int32."""
        return data.read(self.cfg.data, split, seed=self.cfg.seed, size=max(self.cfg.model.input_size))

    def transform(self, training):
        """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255."""
        size = self.cfg.model.input_size
        if not training:
            return transforms.resize(size, self.cfg.data.crop_fraction)
        return augmentation(size, self.cfg.data.augment)

    def encode(self, source):
        """Batch of samples -> (images [N, H, W, 3], one-hot labels times the weights of their classes [N, C])."""
        weights = tf.constant(_class_weights(self.cfg.class_weights, source), tf.float32)
        return lambda batch: (batch["image"], tf.one_hot(batch["label"], len(source.classes)) * weights)

    def sampler(self):
        """Every class equally often, where `data.sampling` says so."""
        if self.cfg.data.sampling == "natural":
            return None

        def order(items, seed):
            labels = items["label"]
            return sampling.weighted_order(sampling.class_weights(labels, labels.max() + 1)[labels], seed)

        return order

    def mix(self):
        """Mixup or cutmix: one of them a batch where both are on."""
        augment = self.cfg.data.augment
        chosen = [op(a) for op, a in ((transforms.mixup, augment.mixup), (transforms.cutmix, augment.cutmix)) if a]
        return transforms.one_of(chosen) if chosen else None

    def model(self, source):
        """Images [N, H, W, 3] in 0..255 -> logits [N, C]."""
        options = self.cfg.model.model_dump(exclude={"backbone"})
        return classifier(self.cfg.model.backbone, len(source.classes), **options)

    def loss(self):
        return loss(self.cfg.label_smoothing)

    def metric(self, source):
        return ClassificationMetric(source.classes)

    def report(self, metric, classes, folder):
        return report(metric, classes, folder)

    def annotation(self, sample, classes):
        """The image and the name of its class."""
        return base.drawable(sample["image"]), classes[int(sample["label"])]

    def serving_model(self, model):
        return serving_model(model, self.cfg.export.outputs)

    def agreement(self, reference, candidate):
        """1 where both find the same class, else 0."""
        return float(reference["probabilities"].argmax() == candidate["probabilities"].argmax())

    def distillation_loss(self):
        return divergence(self.cfg.distill.temperature)


def _class_weights(chosen, source: Source) -> np.ndarray:
    """The weight of each class [C]."""
    if chosen is None:
        return np.ones(len(source.classes))
    if chosen == "balanced":
        return sampling.class_weights(sampling.column(source, "label"), len(source.classes))
    if len(chosen) != len(source.classes):
        raise UserError(
            f"class_weights must have one number for each of the {len(source.classes)} classes. Received: {len(chosen)}"
        )
    return np.array(chosen)


task = Task
