"""Classification, wired together."""

from __future__ import annotations

import tensorflow as tf

from mobilenet_tf.data import transforms
from mobilenet_tf.data.augment import augmentation
from mobilenet_tf.data.source import Source
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.task import Task
from mobilenet_tf.tasks.classification import data, loss, metric, report
from mobilenet_tf.tasks.classification.config import Config
from mobilenet_tf.tasks.classification.export import deployable
from mobilenet_tf.tasks.classification.inference import answers
from mobilenet_tf.training.distill import divergence


def source(cfg: Config, split: str) -> Source:
    """The samples of a split: "id", "image" uint8 [H, W, 3], "label" int32."""
    keys = cfg.data.model_dump(exclude={"reader", "root", "augment", "crop_fraction"})
    return data.read(cfg.data.reader, cfg.data.root, split, seed=cfg.seed, size=max(cfg.model.input_size), **keys)


def transform(cfg: Config, training: bool):
    """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255."""
    size = cfg.model.input_size
    if not training:
        return transforms.resize(size, cfg.data.crop_fraction)
    return augmentation(size, **cfg.data.augment.model_dump(exclude={"mixup", "cutmix"}))


def encode(cfg: Config, source: Source):
    """Batch of Samples -> (images [N, H, W, 3], one-hot labels [N, C])."""
    return lambda batch: (batch["image"], tf.one_hot(batch["label"], len(source.classes)))


def mix(cfg: Config):
    """Mixup or cutmix on (images, targets): one of them a batch where both are on, None where neither is."""
    augment = cfg.data.augment
    chosen = [op(a) for op, a in ((transforms.mixup, augment.mixup), (transforms.cutmix, augment.cutmix)) if a]
    return transforms.one_of(chosen) if chosen else None


def model(cfg: Config, source: Source):
    """Images [N, H, W, 3] in 0..255 -> logits [N, C]."""
    keys = cfg.model.model_dump(exclude={"backbone"})
    return classifier(cfg.model.backbone, len(source.classes), **keys)


task = Task(
    **vars(answers),
    name="classification",
    source=source,
    transform=transform,
    encode=encode,
    mix=mix,
    model=model,
    loss=lambda cfg: loss.loss(cfg.label_smoothing),
    metric=lambda cfg, source: metric.ClassificationMetric(source.classes),
    monitor=("top1", "max"),
    report=report.report,
    deploy=lambda cfg, model: deployable(model, cfg.export.outputs),
    agree=lambda *pair: float(len({prediction["probabilities"].argmax() for prediction in pair}) == 1),
    distill=lambda cfg: divergence(cfg.distill.temperature),
)
