"""Attributes, wired together."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mobilenet_tf.data import transforms
from mobilenet_tf.data.augment import augmentation
from mobilenet_tf.data.source import Source
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.task import Task
from mobilenet_tf.tasks.attributes import data, loss
from mobilenet_tf.tasks.attributes.config import Config
from mobilenet_tf.tasks.attributes.export import deployable
from mobilenet_tf.tasks.attributes.inference import agree, answers
from mobilenet_tf.tasks.attributes.metric import AttributeMetric
from mobilenet_tf.tasks.attributes.report import report
from mobilenet_tf.training.distill import binary_divergence
from mobilenet_tf.utils.errors import UserError


def source(cfg: Config, split: str) -> Source:
    """The samples of a split: "id", "image" uint8 [H, W, 3], "attributes" float32 [A], below 0 where not known."""
    keys = cfg.data.model_dump(exclude={"reader", "root", "augment", "crop_fraction"})
    return data.read(cfg.data.reader, cfg.data.root, split, seed=cfg.seed, size=max(cfg.model.input_size), **keys)


def transform(cfg: Config, training: bool):
    """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255."""
    size = cfg.model.input_size
    return augmentation(size, **dict(cfg.data.augment)) if training else transforms.resize(size, cfg.data.crop_fraction)


def encode(cfg: Config, source: Source):
    """Batch of Samples -> (images [N, H, W, 3], {"labels" [N, A], "weights" [N, A] of the labels})."""
    positive = tf.constant(_positive_weights(cfg, source), tf.float32)

    def encoded(batch):
        labels = batch["attributes"]
        return batch["image"], {"labels": labels, "weights": tf.where(labels > 0, positive, 1.0)}

    return encoded


def _positive_weights(cfg: Config, source: Source) -> np.ndarray:
    """What a positive label counts, [A]; a negative one counts 1."""
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


def model(cfg: Config, source: Source):
    """Images [N, H, W, 3] in 0..255 -> logits [N, A]."""
    keys = cfg.model.model_dump(exclude={"backbone"})
    return classifier(cfg.model.backbone, len(source.classes), **keys)


def tune(cfg: Config, metric: AttributeMetric) -> Config:
    """The config with the thresholds that are best on the metric's samples, where it has none yet."""
    if cfg.thresholds is not None or cfg.tune is None:
        return cfg
    return cfg.model_copy(update={"thresholds": metric.tuned(cfg.tune)})


task = Task(
    **vars(answers),
    name="attributes",
    source=source,
    transform=transform,
    encode=encode,
    mix=lambda cfg: None,
    model=model,
    loss=lambda cfg: loss.loss(**cfg.loss.model_dump(exclude={"positive_weights"})),
    metric=lambda cfg, source: AttributeMetric(source.classes, cfg.thresholds),
    monitor=("mean_ap", "max"),
    report=report,
    deploy=lambda cfg, model: deployable(model, cfg.export.outputs),
    agree=agree,
    distill=lambda cfg: binary_divergence(cfg.distill.temperature),
    tune=tune,
)
