"""The detection task: connects data, model, loss, metric and export."""

from __future__ import annotations

from functools import partial

import numpy as np
from PIL import Image

from mobilenet_tf import task as base
from mobilenet_tf.data import preprocess, transforms
from mobilenet_tf.tasks.detection import augment, data, scoring
from mobilenet_tf.tasks.detection import loss as losses
from mobilenet_tf.tasks.detection.config import Config
from mobilenet_tf.tasks.detection.export import serving_model
from mobilenet_tf.tasks.detection.inference import MIN_DRAWN_SCORE, Inference, anchors, decoding, restored
from mobilenet_tf.tasks.detection.metric import DetectionMetric
from mobilenet_tf.tasks.detection.model import detector
from mobilenet_tf.tasks.detection.report import annotated, report


class Task(Inference, base.Task[Config]):
    """Labeled boxes in an image."""

    name = "detection"

    def source(self, split):
        """The samples of a split: "id", "image" uint8 [H, W, 3], "boxes" float32 [N, 4], "labels" int32, "crowd"."""
        return data.read(self.cfg.data, split, seed=self.cfg.seed, size=max(self.cfg.model.input_size))

    def transform(self, training):
        """Sample -> Sample with a float32 image [H, W, 3] of the input size, in 0..255, and its boxes."""
        size, changes, resize = self.cfg.model.input_size, self.cfg.data.augment, self.cfg.data.resize
        whole = transforms.letterbox(size, resize) if resize == "letterbox" else transforms.resize(size)
        if not training:
            return whole
        ops = [whole]
        if changes.scale_crop:
            ops = [transforms.random_scale_crop(size, changes.scale_crop, resize, size)]
        elif changes.zoom_out or changes.iou_crop:
            options = {"zoom_out": changes.zoom_out, "zoom_out_max": changes.zoom_out_max, "iou_crop": changes.iou_crop}
            ops = [augment.random_view(size, **options, pad=resize == "letterbox")]
        if changes.flip:
            ops.append(transforms.random_flip())
        if changes.vertical_flip:
            ops.append(transforms.random_flip(axis=0))
        if changes.photometric:
            ops.append(augment.photometric(changes.photometric))
        if changes.mosaic:
            ops.append(augment.mark_mosaic(changes.mosaic))
        return transforms.compose(ops)

    def encode(self, source):
        """Batch of samples -> (images [N, H, W, 3], the label and box of every anchor)."""
        prior, options = anchors(self.cfg), self.cfg.loss

        def fn(batch):
            batch = augment.mosaic(batch) if "mosaic" in batch else batch
            return batch["image"], losses.encode_targets(batch, prior, options.match_iou, options.ignore_iou)

        return fn

    def model(self, source):
        """Images [N, H, W, 3] in 0..255 -> {"class_logits": [N, A, C (+ 1)], "box_regressions": [N, A, 4]}."""
        options = self.cfg.model.model_dump(exclude={"backbone", "variances"})
        return detector(self.cfg.model.backbone, len(source.classes), **options)

    def loss(self):
        """fn(targets, raw) -> float32 [N]."""
        model, options = self.cfg.model, self.cfg.loss.model_dump(exclude={"match_iou", "ignore_iou"})
        return losses.loss(anchors(self.cfg), scores=model.scores, variances=model.variances, **options)

    def metric(self, source):
        """COCO's numbers on the source's own annotations."""
        return DetectionMetric(
            source.classes,
            source.ground_truth,
            backend=self.cfg.metric.backend,
            voc=self.cfg.metric.voc,
            max_detections=self.cfg.metric.max_detections,
            max_found=self.cfg.detections.max_detections,
            restore=partial(restored, self.cfg),
            show=partial(shown, self.cfg),
        )

    def report(self, metric, classes, folder):
        return report(metric, classes, folder)

    def annotation(self, sample, classes):
        """The image with its boxes, crowds dashed, and how many there are of each class."""
        return annotated(sample, classes)

    def serving_model(self, model):
        """The model as it is exported: its heads, or with decoding and non-max suppression inside."""
        options = decoding(self.cfg)
        del options["max_candidates"]  # the runtimes' operation takes them all
        return serving_model(model, self.cfg.export.outputs, anchors(self.cfg), **options)

    def agreement(self, reference, candidate):
        """The share of the drawn detections that both models find, with the same label."""
        return scoring.agreement(reference, candidate, score=MIN_DRAWN_SCORE)

    def distillation_loss(self):
        return losses.distillation_loss(self.cfg.model.scores, self.cfg.distill.temperature)


def shown(cfg: Config, image: np.ndarray, size) -> np.ndarray:
    """The part of the input [H, W, 3] that shows the original image of `size` (H, W), in its shape again."""
    if cfg.data.resize == "letterbox":
        rows, columns = preprocess.resized_shape("letterbox", cfg.model.input_size, size)
        return image[:rows, :columns]
    height, width = np.asarray(size) * max(cfg.model.input_size) / max(size)
    resized = Image.fromarray(np.rint(image).clip(0, 255).astype(np.uint8))
    return np.asarray(resized.resize((max(1, round(width)), max(1, round(height)))))


task = Task
