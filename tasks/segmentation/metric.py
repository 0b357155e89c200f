"""The metrics of a segmentation model, counted over pixels and images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from warnings import warn

import numpy as np

from mobilenet_tf import viz
from mobilenet_tf.data.preprocess import resized_shape
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.task import Prediction, as_text
from mobilenet_tf.training.ranking import TopK
from mobilenet_tf.utils.errors import UserError

BOUNDARY_TOLERANCE = 0.0075  # of the boundary F-score, as a share of the image's diagonal: Csurka et al. 2013
WORST_IMAGES = 12  # on the sheet of the worst images
THUMBNAIL_PIXELS = 360  # the longer side


@dataclass(frozen=True)
class ImageScore:
    """One image with its own mean IoU."""

    id: str
    miou: float
    image: np.ndarray  # uint8 [h, w, 3], a thumbnail
    truth: np.ndarray  # uint8 [H0, W0]
    mask: np.ndarray  # uint8 [H0, W0]


class SegmentationMetric:
    """One confusion matrix over a split, in pixels of the original images; 255 is ignored.

    confusion: int64 [C, C], rows = truth.
    """

    def __init__(self, classes: Sequence[str], resize: str = "letterbox"):
        self.classes, self.resize = list(classes), resize
        size = len(self.classes)
        self.confusion = np.zeros((size, size), np.int64)
        self.count = 0
        self._boundary = np.zeros((size, 2))  # sum of F-scores, number of images
        self._worst = TopK(WORST_IMAGES)  # the lowest mean IoU first

    def update(self, sample: dict, prediction: Prediction) -> None:
        """Adds one sample: "truth" uint8 [≥ H0, ≥ W0] within "original_size" (H0, W0); `mask` uint8 [H0, W0]."""
        rows, columns = np.asarray(sample["original_size"])
        truth, mask = np.asarray(sample["truth"])[:rows, :columns], np.asarray(prediction["mask"])
        size = len(self.classes)
        if mask.shape != truth.shape or mask.max(initial=0) >= size:
            raise ValueError(f"mask must be {truth.shape} of 0..{size - 1}. Received: {mask.shape}, up to {mask.max()}")
        counted = truth != IGNORE
        pairs = truth[counted].astype(np.int64) * size + mask[counted]
        confusion = np.bincount(pairs, minlength=size * size).reshape(size, size)
        self.confusion += confusion
        self.count += 1
        for label, score in boundary_scores(truth, mask).items():
            self._boundary[label] += (score, 1)
        self._keep_worst(sample, confusion, truth, mask)

    def merge(self, other: SegmentationMetric) -> None:
        """Adds the samples of another metric, without its worst images."""
        self.confusion += other.confusion
        self.count += other.count
        self._boundary += other._boundary

    def _keep_worst(self, sample, confusion, truth, mask):
        score = float(np.nanmean(iou(confusion))) if confusion.any() else 1.0
        key = (-score, -self.count)  # among equals the earlier sample stays
        image = np.asarray(sample.get("image", 0))
        if image.ndim != 3 or not self._worst.accepts(key):
            return
        rows, columns = resized_shape(self.resize, image.shape[:2], truth.shape)
        name, thumbnail = as_text(sample.get("id", b"")), viz.thumbnail(image[:rows, :columns], THUMBNAIL_PIXELS)
        self._worst.add(key, ImageScore(name, score, thumbnail, truth.copy(), mask.copy()))

    @property
    def worst(self) -> list[ImageScore]:
        """The images of the lowest mean IoU, the worst first."""
        return self._worst.items()

    def per_class(self) -> list[dict]:
        """One {name, iou, accuracy, boundary_f, pixels} a class; None where a score is undefined."""
        pixels, right = self.confusion.sum(1), self.confusion.diagonal()
        ious = iou(self.confusion)
        return [
            {
                "name": name,
                "iou": None if np.isnan(ious[i]) else float(ious[i]),
                "accuracy": float(right[i] / pixels[i]) if pixels[i] else None,
                "boundary_f": float(self._boundary[i, 0] / self._boundary[i, 1]) if self._boundary[i, 1] else None,
                "pixels": int(pixels[i]),
            }
            for i, name in enumerate(self.classes)
        ]

    def result(self) -> dict[str, float]:
        """miou, frequency_weighted_iou, pixel_accuracy, mean_accuracy, boundary_f, count and iou_CLASS of each class.

        miou: mean over the classes that occur in truth or prediction. Raises UserError where nothing was counted.
        """
        total = self.confusion.sum()
        if not total:
            raise UserError(
                f"an evaluation must have at least one pixel that is not ignored. Received: {self.count} samples"
            )
        for line in self.warnings:
            warn(line, stacklevel=2)
        rows = self.per_class()
        frequency = self.confusion.sum(1) / total

        def mean(key):
            return float(np.mean([row[key] for row in rows if row[key] is not None]))

        return {
            "miou": mean("iou"),
            "frequency_weighted_iou": float(np.nansum(frequency * iou(self.confusion))),
            "pixel_accuracy": float(self.confusion.trace() / total),
            "mean_accuracy": mean("accuracy"),
            "boundary_f": mean("boundary_f"),
            "count": self.count,
        } | {f"iou_{row['name']}": row["iou"] for row in rows if row["iou"] is not None}

    @property
    def warnings(self) -> list[str]:
        """Reasons to doubt the scores, one line each."""
        predicted, present = (np.flatnonzero(self.confusion.sum(axis)) for axis in (0, 1))
        if len(present) == 1:
            name = self.classes[present[0]]
            return [f"all pixels that count are {name!r} in the masks: the scores, mIoU too, say nothing about a model"]
        if len(predicted) == 1 and len(present) > 1:
            name = self.classes[predicted[0]]
            return [f"all pixels are predicted as {name!r}: the model is untrained, or its input is scaled wrongly"]
        return []


def iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union [C] of a confusion matrix; NaN for a class in neither truth nor prediction."""
    right = confusion.diagonal()
    union = confusion.sum(0) + confusion.sum(1) - right
    return np.divide(right, union, out=np.full(len(right), np.nan), where=union > 0)


def boundary_scores(truth: np.ndarray, mask: np.ndarray) -> dict[int, float]:
    """{class: F-score of its boundary} for the classes of the truth uint8 [H, W]; 255 in it is ignored.

    A boundary pixel is right where the other boundary passes within 0.75 % of the diagonal.
    Source: Csurka et al. 2013, "What is a good evaluation measure for semantic segmentation?"
    """
    counted = truth != IGNORE
    radius = max(1, round(BOUNDARY_TOLERANCE * float(np.hypot(*truth.shape))))
    scores = {}
    for label in np.unique(truth[counted]):
        real, predicted = (_outline((m == label) | ~counted) & counted for m in (truth, mask))  # 255 has no boundary
        if not real.any():  # the class fills the image
            continue
        precision = (predicted & _dilate(real, radius)).sum() / max(1, predicted.sum())
        recall = (real & _dilate(predicted, radius)).sum() / real.sum()
        scores[int(label)] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return scores


def _outline(region: np.ndarray) -> np.ndarray:
    """The pixels of a region that have a neighbor (of four) outside; the image's edge is no boundary."""
    inner = np.pad(region, 1, mode="edge")
    return region & ~(inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:])


def _dilate(points: np.ndarray, radius: int) -> np.ndarray:
    """Whether a point lies within `radius` (a disc)."""
    height, width = points.shape
    out = np.zeros_like(points)
    sums = np.cumsum(np.pad(points, ((0, 0), (radius + 1, radius))), 1, dtype=np.int32)
    for dy in range(-radius, radius + 1):
        half = int(np.sqrt(radius**2 - dy**2))
        near = sums[:, radius + half + 1 :][:, :width] > sums[:, radius - half :][:, :width]
        out[max(0, -dy) : height - max(0, dy)] |= near[max(0, dy) : height - max(0, -dy)]
    return out
