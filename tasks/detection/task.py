"""Detection, wired together."""

from __future__ import annotations

from functools import partial

import numpy as np
from PIL import Image

from mobilenet_tf import transforms
from mobilenet_tf.data import Source
from mobilenet_tf.task import Prediction, Task
from mobilenet_tf.tasks.detection import augment, boxes, data, losses, model, postprocess, report, scoring
from mobilenet_tf.tasks.detection.config import Config
from mobilenet_tf.tasks.detection.metric import DetectionMetric

FILL = {"stretch": "stretch", "pad": "fit"}  # data.resize -> how `transforms` names it


def source(cfg: Config, split: str) -> Source:
    """The samples of a split: "id", "image" uint8 [H, W, 3], "boxes" float32 [N, 4], "labels" int32, "crowd" bool."""
    keys = cfg.data.model_dump(exclude={"reader", "root", "augment", "resize"})
    return data.read(cfg.data.reader, cfg.data.root, split, seed=cfg.seed, size=max(cfg.model.input_size), **keys)


def transform(cfg: Config, training: bool):
    """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255, and its boxes."""
    size, keys, resize = cfg.model.input_size, cfg.data.augment, FILL[cfg.data.resize]
    whole = transforms.place(size, resize) if resize == "fit" else transforms.resize(size)
    if not training:
        return whole
    ops = [whole]
    if keys.scale_crop:
        ops = [transforms.random_scale_crop(size, keys.scale_crop, resize, size)]
    elif keys.zoom_out or keys.iou_crop:
        options = {"zoom_out": keys.zoom_out, "zoom_out_max": keys.zoom_out_max, "iou_crop": keys.iou_crop}
        ops = [augment.random_view(size, **options, pad=resize == "fit")]
    if keys.flip:
        ops.append(transforms.random_flip())
    if keys.vertical_flip:
        ops.append(augment.random_vertical_flip())
    if keys.photometric:
        ops.append(augment.photometric(keys.photometric))
    if keys.mosaic:
        ops.append(augment.mark_mosaic(keys.mosaic))
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


def decode(cfg: Config, raw: dict, sizes: np.ndarray) -> list[Prediction]:
    """Raw outputs -> {"boxes" yxyx within 0..1 of the original image, "labels", "scores", "size" (H, W)} an image.

    raw: the heads, or what a model with decoding inside gives.
    """
    if "detection_boxes" in raw:
        found = postprocess.decode(raw)
    else:
        found = boxes.detections(raw, anchors(cfg), **_decoding(cfg))
    return [
        {**prediction, "boxes": restored(cfg, prediction["boxes"], size), "size": np.asarray(size)}
        for prediction, size in zip(found, sizes, strict=True)
    ]


def deploy(cfg: Config, model):
    """The model as it is exported: its heads, or with decoding and non-max suppression inside."""
    options = _decoding(cfg)
    del options["max_candidates"]  # the runtimes' operation takes them all
    return postprocess.deployable(model, cfg.export.outputs, anchors(cfg), **options)


def _decoding(cfg):
    return {"scores": cfg.model.scores, "variances": cfg.model.variances, **cfg.detections.model_dump()}


def restored(cfg: Config, found: np.ndarray, size) -> np.ndarray:
    """Boxes in the input -> in the original image of `size` (H, W), where the input is padded."""
    if cfg.data.resize == "stretch":
        return found
    return (found / np.tile(_shown(cfg, size) / np.array(cfg.model.input_size), 2)).clip(0, 1)


def shown(cfg: Config, image: np.ndarray, size) -> np.ndarray:
    """The part of the input [H, W, 3] that shows the original image of `size` (H, W), in its shape again."""
    if cfg.data.resize == "pad":
        rows, columns = _shown(cfg, size)
        return image[:rows, :columns]
    height, width = np.asarray(size) * max(cfg.model.input_size) / max(size)
    picture = Image.fromarray(np.rint(image).clip(0, 255).astype(np.uint8))
    return np.asarray(picture.resize((max(1, round(width)), max(1, round(height)))))


def _shown(cfg, size):
    return transforms.shown_size("fit", cfg.model.input_size, np.asarray(size)).numpy()


def metric(cfg: Config, source: Source) -> DetectionMetric:
    """COCO's numbers on the source's own annotations."""
    options = {"backend": cfg.metric.backend, "voc": cfg.metric.voc}
    coordinates = {"restore": partial(restored, cfg), "show": partial(shown, cfg)}
    return DetectionMetric(source.classes, source.ground_truth, **options, **coordinates)


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
    deploy=deploy,
    agree=lambda *pair: scoring.agreement(*pair, score=report.SHOWN_FROM),
    summary=summary,
    draw=draw,
    distill=lambda cfg: losses.imitation(cfg.model.scores, cfg.distill.temperature),
)
