"""Detection, wired together."""

from __future__ import annotations

import numpy as np

from mobilenet_tf import transforms
from mobilenet_tf.data import Source
from mobilenet_tf.task import Prediction, Task
from mobilenet_tf.tasks.detection import boxes, data, losses, model, report
from mobilenet_tf.tasks.detection.config import Config
from mobilenet_tf.tasks.detection.metric import DetectionMetric


def source(cfg: Config, split: str) -> Source:
    """The samples of a split: "id", "image" uint8 [H, W, 3], "boxes" float32 [N, 4], "labels" int32, "crowd" bool."""
    keys = cfg.data.model_dump(exclude={"reader", "root", "augment", "resize"})
    return data.read(cfg.data.reader, cfg.data.root, split, seed=cfg.seed, size=max(cfg.model.input_size), **keys)


def transform(cfg: Config, training: bool):
    """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255, and its boxes."""
    size, augment = cfg.model.input_size, cfg.data.augment
    if not training:
        return transforms.resize(size)
    ops = [transforms.resize(size)]
    if augment.flip:
        ops.append(transforms.random_flip())
    return transforms.compose(ops)


def anchors(cfg: Config) -> np.ndarray:
    """The anchors of the model, float32 [A, 4]."""
    keys = cfg.model
    return model.anchors_for(
        keys.backbone, input_size=keys.input_size, head=keys.head, anchors=keys.anchors.model_dump()
    )


def encode(cfg: Config, source: Source):
    """Batch of Samples -> (images [N, H, W, 3], the label and box of every anchor)."""
    prior = anchors(cfg)
    return lambda batch: (
        batch["image"],
        losses.encode_targets(batch, prior, cfg.loss.match_iou, cfg.loss.ignore_iou),
    )


def detector(cfg: Config, source: Source):
    """Images [N, H, W, 3] in 0..255 -> {"class_logits": [N, A, C + 1] or [N, A, C], "box_regressions": [N, A, 4]}."""
    keys = cfg.model.model_dump(exclude={"backbone", "variances"})
    return model.detector(cfg.model.backbone, len(source.classes), **keys)


def loss(cfg: Config):
    """fn(targets, raw) -> float32 [N]."""
    keys = cfg.loss.model_dump(exclude={"match_iou", "ignore_iou"})
    return losses.loss(anchors(cfg), scores=cfg.model.scores, variances=cfg.model.variances, **keys)


def decode(cfg: Config, raw: dict, sizes: np.ndarray) -> list[Prediction]:
    """Raw outputs -> {"boxes" yxyx within 0..1 of the original image, "labels", "scores", "size" (H, W)} an image."""
    keys = cfg.detections.model_dump()
    found = boxes.detections(raw, anchors(cfg), scores=cfg.model.scores, variances=cfg.model.variances, **keys)
    return [{**prediction, "size": np.asarray(size)} for prediction, size in zip(found, sizes, strict=True)]


def metric(cfg: Config, source: Source) -> DetectionMetric:
    """COCO's numbers on the source's own annotations."""
    return DetectionMetric(source.classes, source.ground_truth, backend=cfg.metric.backend, voc=cfg.metric.voc)


def summary(prediction: Prediction, classes) -> dict:
    """How many objects were found; which, with their scores; their boxes xmin ymin xmax ymax in pixels."""
    shown = [i for i, score in enumerate(prediction["scores"]) if score >= report.SHOWN_FROM]
    corners = np.rint(prediction["boxes"] * np.tile(prediction["size"], 2)).astype(int)[:, [1, 0, 3, 2]]
    return {
        "count": len(shown),
        "objects": ", ".join(f"{classes[prediction['labels'][i]]} {prediction['scores'][i]:.2f}" for i in shown),
        "boxes": "; ".join(" ".join(map(str, corners[i])) for i in shown),
    }


def draw(image: np.ndarray, prediction: Prediction, classes) -> np.ndarray:
    """The image (uint8 [H, W, 3]) with the boxes found, their classes and scores."""
    return report.draw(image, prediction, classes)


task = Task(
    name="detection",
    source=source,
    transform=transform,
    encode=encode,
    mix=lambda cfg: None,
    model=detector,
    loss=loss,
    decode=decode,
    metric=metric,
    monitor=("AP", "max"),
    report=report.report,
    summary=summary,
    draw=draw,
)
