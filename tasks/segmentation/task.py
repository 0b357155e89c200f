"""Semantic segmentation, wired together."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from mobilenet_tf.data import transforms
from mobilenet_tf.data.source import Source
from mobilenet_tf.task import Task
from mobilenet_tf.tasks.segmentation import data, loss, metric, report, tta
from mobilenet_tf.tasks.segmentation.config import Config
from mobilenet_tf.tasks.segmentation.export import deployable
from mobilenet_tf.tasks.segmentation.inference import LOGITS, answers
from mobilenet_tf.tasks.segmentation.model import segmenter
from mobilenet_tf.training.distill import divergence
from mobilenet_tf.utils.errors import UserError


def source(cfg: Config, split: str) -> Source:
    """The samples of a split: "id", "image" uint8 [H, W, 3], "mask" uint8 [H, W]."""
    keys = cfg.data.model_dump(exclude={"reader", "root", "augment", "resize"})
    return data.read(cfg.data.reader, cfg.data.root, split, seed=cfg.seed, size=max(cfg.model.input_size), **keys)


def transform(cfg: Config, training: bool):
    """Sample -> Sample with a float32 image in 0..255 and a mask of the input size (or the training crop's).

    In evaluation "truth" is the mask as it was, at the original size.
    """
    size, augment, resize = cfg.model.input_size, cfg.data.augment, cfg.data.resize
    if not training:
        place = transforms.letterbox(size, resize)
        return lambda sample: place(sample | ({"truth": sample["mask"]} if "mask" in sample else {}))
    ops = [transforms.random_scale_crop(augment.crop or size, augment.scale, resize, size)]
    if augment.flip:
        ops.append(transforms.random_flip())
    if augment.color_jitter:
        ops.append(transforms.color_jitter(*[augment.color_jitter] * 3))
    return transforms.compose(ops)


def encode(cfg: Config, source: Source):
    """Batch of Samples -> (images [N, H, W, 3], {"mask": uint8 [N, H, W], "weights": float32 [N, H, W]})."""
    weights = np.zeros(256, np.float32)
    weights[: len(source.classes)] = _class_weights(cfg.loss.class_weights, source)
    table = tf.constant(weights)
    return lambda batch: (
        batch["image"],
        {"mask": batch["mask"], "weights": tf.gather(table, tf.cast(batch["mask"], tf.int32))},
    )


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


def model(cfg: Config, source: Source):
    """Images [N, H, W, 3] in 0..255 -> logits [N, H, W, C]; with an auxiliary classifier, a dict of two."""
    keys = cfg.model.model_dump(exclude={"backbone", "input_size"})
    return segmenter(cfg.model.backbone, len(source.classes), **keys)


def views(cfg: Config, predictor):
    """The predictor, or one that averages over sizes, mirror images and windows."""
    keys = cfg.views
    if keys.window:
        predictor = tta.sliding_window(predictor, keys.window)
    if keys.flip or keys.scales != [1.0]:
        predictor = tta.several_views(predictor, keys.scales, keys.flip)
    return predictor


def imitation(cfg: Config):
    """fn(teacher's raw outputs, student's) -> [N, H, W]: the divergence of the pixels' softened probabilities."""
    distance = divergence(cfg.distill.temperature)
    return lambda *raws: distance(*(raw[LOGITS] if isinstance(raw, dict) else raw for raw in raws))


task = Task(
    **vars(answers),
    name="segmentation",
    source=source,
    transform=transform,
    encode=encode,
    mix=lambda cfg: None,
    model=model,
    loss=lambda cfg: loss.loss(hard=cfg.loss.hard, dice=cfg.loss.dice, auxiliary=cfg.loss.auxiliary),
    metric=lambda cfg, source: metric.SegmentationMetric(source.classes, cfg.data.resize),
    monitor=("miou", "max"),
    report=report.report,
    deploy=lambda cfg, model: deployable(model, cfg.export.outputs),
    agree=lambda reference, candidate: float((reference["mask"] == candidate["mask"]).mean()),
    views=views,
    distill=imitation,
)
