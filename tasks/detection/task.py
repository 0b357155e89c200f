"""Detection, wired together."""

from __future__ import annotations

from functools import partial

import numpy as np
from PIL import Image

from mobilenet_tf.data import preprocess, transforms
from mobilenet_tf.data.source import Source
from mobilenet_tf.task import Task
from mobilenet_tf.tasks.detection import augment, data, export, model, report, scoring
from mobilenet_tf.tasks.detection import loss as losses
from mobilenet_tf.tasks.detection.config import Config
from mobilenet_tf.tasks.detection.inference import SHOWN_FROM, anchors, answers, decoding, restored
from mobilenet_tf.tasks.detection.metric import DetectionMetric


def source(cfg: Config, split: str) -> Source:
    """The samples of a split: "id", "image" uint8 [H, W, 3], "boxes" float32 [N, 4], "labels" int32, "crowd" bool."""
    keys = cfg.data.model_dump(exclude={"reader", "root", "augment", "resize"})
    return data.read(cfg.data.reader, cfg.data.root, split, seed=cfg.seed, size=max(cfg.model.input_size), **keys)


def transform(cfg: Config, training: bool):
    """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255, and its boxes."""
    size, keys, resize = cfg.model.input_size, cfg.data.augment, cfg.data.resize
    whole = transforms.letterbox(size, resize) if resize == "letterbox" else transforms.resize(size)
    if not training:
        return whole
    ops = [whole]
    if keys.scale_crop:
        ops = [transforms.random_scale_crop(size, keys.scale_crop, resize, size)]
    elif keys.zoom_out or keys.iou_crop:
        options = {"zoom_out": keys.zoom_out, "zoom_out_max": keys.zoom_out_max, "iou_crop": keys.iou_crop}
        ops = [augment.random_view(size, **options, pad=resize == "letterbox")]
    if keys.flip:
        ops.append(transforms.random_flip())
    if keys.vertical_flip:
        ops.append(transforms.random_flip(axis=0))
    if keys.photometric:
        ops.append(augment.photometric(keys.photometric))
    if keys.mosaic:
        ops.append(augment.mark_mosaic(keys.mosaic))
    return transforms.compose(ops)


def encode(cfg: Config, source: Source):
    """Batch of Samples -> (images [N, H, W, 3], the label and box of every anchor)."""
    prior = anchors(cfg)

    def fn(batch):
        batch = augment.mosaic(batch) if "mosaic" in batch else batch
        return batch["image"], losses.encode_targets(batch, prior, cfg.loss.match_iou, cfg.loss.ignore_iou)

    return fn


def detector(cfg: Config, source: Source):
    """Images [N, H, W, 3] in 0..255 -> {"class_logits": [N, A, C + 1] or [N, A, C], "box_regressions": [N, A, 4]}."""
    keys = cfg.model.model_dump(exclude={"backbone", "variances"})
    return model.detector(cfg.model.backbone, len(source.classes), **keys)


def loss(cfg: Config):
    """fn(targets, raw) -> float32 [N]."""
    keys = cfg.loss.model_dump(exclude={"match_iou", "ignore_iou"})
    return losses.loss(anchors(cfg), scores=cfg.model.scores, variances=cfg.model.variances, **keys)


def deploy(cfg: Config, model):
    """The model as it is exported: its heads, or with decoding and non-max suppression inside."""
    options = decoding(cfg)
    del options["max_candidates"]  # the runtimes' operation takes them all
    return export.deployable(model, cfg.export.outputs, anchors(cfg), **options)


def shown(cfg: Config, image: np.ndarray, size) -> np.ndarray:
    """The part of the input [H, W, 3] that shows the original image of `size` (H, W), in its shape again."""
    if cfg.data.resize == "letterbox":
        rows, columns = preprocess.resized_shape("letterbox", cfg.model.input_size, size)
        return image[:rows, :columns]
    height, width = np.asarray(size) * max(cfg.model.input_size) / max(size)
    picture = Image.fromarray(np.rint(image).clip(0, 255).astype(np.uint8))
    return np.asarray(picture.resize((max(1, round(width)), max(1, round(height)))))


def metric(cfg: Config, source: Source) -> DetectionMetric:
    """COCO's numbers on the source's own annotations."""
    options = {"backend": cfg.metric.backend, "voc": cfg.metric.voc}
    coordinates = {"restore": partial(restored, cfg), "show": partial(shown, cfg)}
    return DetectionMetric(source.classes, source.ground_truth, **options, **coordinates)


task = Task(
    **vars(answers),
    name="detection",
    source=source,
    transform=transform,
    encode=encode,
    mix=lambda cfg: None,
    model=detector,
    loss=loss,
    metric=metric,
    monitor=("AP", "max"),
    report=report.report,
    deploy=deploy,
    agree=lambda *pair: scoring.agreement(*pair, score=SHOWN_FROM),
    distill=lambda cfg: losses.imitation(cfg.model.scores, cfg.distill.temperature),
)
