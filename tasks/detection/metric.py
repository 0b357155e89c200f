"""The metric of detection: collects detections with the data set's own ids and scores them as COCO and VOC do."""

from __future__ import annotations

import heapq
import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from warnings import warn

import numpy as np

from mobilenet_tf import viz
from mobilenet_tf.task import Prediction, as_text
from mobilenet_tf.tasks.detection import scoring
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.files import replacing

EXAMPLES_PER_KIND = 6  # how many best, worst and random images are kept
THUMBNAIL = 360  # pixels
SIZES = ("AP_small", "AP_medium", "AP_large")


@dataclass(frozen=True)
class Example:
    """An image with its boxes and detections (yxyx within 0..1); `quality` is its own AP at IoU 0.5."""

    id: str
    quality: float
    image: np.ndarray  # uint8 [h, w, 3]
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    prediction: Prediction


class DetectionMetric:
    """COCO's twelve numbers over the images that were seen, and Pascal VOC's mAP where wanted.

    classes: names in label order. ground_truth: annotations in COCO's structure, used as they are; without images in
    it they are rebuilt from the samples.
    max_detections: how many detections of a class in an image count; None: COCO's 100, or as many as an image has
    objects of a class. max_found: how many detections of an image the model gives.
    restore: (boxes of a sample [N, 4], original (height, width)) -> boxes in the original image, for input that was
    padded; show: (input image, original size) -> that image without the padding.
    """

    def __init__(
        self,
        classes: Sequence[str],
        ground_truth: Mapping | None = None,
        *,
        backend: str = "pycocotools",
        voc: bool = False,
        max_detections: int | None = None,
        max_found: int | None = None,
        restore: Callable = lambda boxes, size: boxes,
        show: Callable = lambda image, size: image,
    ):
        self.classes, self.backend, self.voc = list(classes), backend, voc
        self.max_detections, self.max_found = max_detections, max_found
        self.restore, self.show = restore, show
        given = ground_truth or {}
        named = {category["name"]: category["id"] for category in given.get("categories", [])}
        self.category_ids = [named.get(name, label + 1) for label, name in enumerate(self.classes)]
        self.known_images = {str(image["id"]): image for image in given["images"]} if "images" in given else None
        self.annotations = list(given.get("annotations", []))
        self.images: list[dict] = []  # seen, as in COCO's structure
        self.results: list[dict] = []
        self.not_finite = 0
        self.examples: dict[str, list] = {"worst": [], "best": [], "random": []}  # heaps of (order, tie, Example)

    def update(self, sample: dict, prediction: Prediction) -> None:
        """Count one image.

        sample: "id", "original_size" (H, W), "boxes" [N, 4], "labels" [N] (-1 is padding), "crowd" [N], and "image".
        prediction: "boxes" [K, 4] yxyx within 0..1 of the original image, "labels" [K], "scores" [K].
        """
        self.__dict__.pop("scores", None)
        image = self._image(sample)
        size = np.array([image["height"], image["width"]], np.float64)
        self.images.append(image)
        truth = self._truth(sample, size)
        if self.known_images is None:
            self._annotate(image, truth, size)
        prediction = self._finite(prediction)
        labels = np.asarray(prediction["labels"], np.int64)
        for box, label, score in zip(to_xywh(prediction["boxes"], size), labels, prediction["scores"], strict=True):
            self.results.append(
                {
                    "image_id": image["id"],
                    "category_id": self.category_ids[label],
                    "bbox": [round(side, 3) for side in box.tolist()],  # as the results file has them
                    "score": round(float(score), 6),
                }
            )
        self._keep(sample, truth, prediction)

    def merge(self, other: DetectionMetric) -> None:
        """Adds the samples of another metric, without its examples."""
        self.__dict__.pop("scores", None)
        self.images += other.images
        self.results += other.results
        self.not_finite += other.not_finite
        if self.known_images is None:
            first = len(self.annotations) + 1
            self.annotations += [{**entry, "id": number} for number, entry in enumerate(other.annotations, first)]

    def _image(self, sample: dict) -> dict:
        name = as_text(sample["id"])
        if self.known_images is not None:
            if name not in self.known_images:
                raise ValueError(f"id must be one of the annotations' images. Received: {name}")
            return self.known_images[name]
        height, width = (int(side) for side in sample["original_size"])
        return {"id": int(name) if name.isdecimal() and str(int(name)) == name else name,
                "file_name": name, "height": height, "width": width}  # fmt: skip

    def _truth(self, sample: dict, size) -> dict[str, np.ndarray]:
        labels = np.asarray(sample["labels"])
        real = labels >= 0
        crowd = np.asarray(sample.get("crowd", np.zeros(len(labels))), bool)
        boxes = np.asarray(self.restore(np.asarray(sample["boxes"], np.float64)[real], size), np.float64)
        return {"boxes": boxes.reshape(-1, 4), "labels": labels[real], "crowd": crowd[real]}

    def _annotate(self, image: dict, truth: dict, size) -> None:
        for box, label, crowd in zip(to_xywh(truth["boxes"], size), truth["labels"], truth["crowd"], strict=True):
            self.annotations.append(
                {
                    "id": len(self.annotations) + 1,
                    "image_id": image["id"],
                    "category_id": self.category_ids[label],
                    "bbox": box.tolist(),
                    "area": float(box[2] * box[3]),
                    "iscrowd": int(crowd),
                }
            )

    def _finite(self, prediction: Prediction) -> Prediction:
        boxes, scores = np.asarray(prediction["boxes"], np.float64).reshape(-1, 4), np.asarray(prediction["scores"])
        usable = np.isfinite(boxes).all(1) & np.isfinite(scores)
        self.not_finite += int((~usable).sum())
        return {"boxes": boxes[usable], "scores": scores[usable], "labels": np.asarray(prediction["labels"])[usable]}

    def _keep(self, sample: dict, truth: dict, prediction: Prediction) -> None:
        image = np.asarray(sample.get("image", 0))
        if image.ndim != 3 or not len(truth["boxes"]):
            return
        quality = image_ap(truth, prediction)
        name = as_text(sample["id"])
        draw = zlib.crc32(os.fsencode(name)) / 2**32  # the same images every time
        example = None
        for kind, order in (("worst", -quality), ("best", quality), ("random", draw)):
            heap, entry = self.examples[kind], (order, draw, len(self.images))
            if len(heap) == EXAMPLES_PER_KIND and entry <= heap[0][:3]:
                continue
            if example is None:
                shown = viz.thumbnail(self.show(image, sample["original_size"]), THUMBNAIL)
                example = Example(name, quality, shown, **truth, prediction=prediction)
            (heapq.heappush if len(heap) < EXAMPLES_PER_KIND else heapq.heapreplace)(heap, (*entry, example))

    @property
    def ground_truth(self) -> dict:
        """The annotations of the images seen, in COCO's structure with the data set's own ids."""
        seen = {image["id"] for image in self.images}
        names = zip(self.category_ids, self.classes, strict=True)
        return {
            "images": self.images,
            "annotations": [entry for entry in self.annotations if entry["image_id"] in seen],
            "categories": [{"id": number, "name": name} for number, name in names],
        }

    @cached_property
    def scores(self) -> scoring.CocoScores:
        """COCO's scores so far."""
        return scoring.coco_scores(
            self.ground_truth, self.results, backend=self.backend, max_detections=self.counted_detections
        )

    @property
    def counted_detections(self) -> int:
        """How many detections of a class in an image count."""
        return self.max_detections or max(scoring.MAX_DETECTIONS, scoring.most_objects(self.annotations)[0])

    def per_class(self) -> list[dict]:
        """One {name, AP, AP50, AP75, AP_small, AP_medium, AP_large, boxes} a class; None without boxes to find."""
        counts = dict.fromkeys(self.category_ids, 0)
        for entry in self.ground_truth["annotations"]:
            counts[entry["category_id"]] += not entry.get("iscrowd", 0)
        columns = {"AP": self.scores.per_class(), "AP50": self.scores.per_class(0), "AP75": self.scores.per_class(5)}
        columns |= {name: self.scores.per_class(area=name.removeprefix("AP_")) for name in SIZES}
        return [
            {"name": name}
            | {key: None if np.isnan(column[i]) else float(column[i]) for key, column in columns.items()}
            | {"boxes": counts[self.category_ids[i]]}
            for i, name in enumerate(self.classes)
        ]

    def result(self) -> dict[str, float]:
        """COCO's twelve numbers (-1 where there is nothing of that size), VOC's by wish, and the count of images.

        Warns where nothing was detected or detections were not finite. Raises UserError where no image was counted.
        """
        if not self.images:
            raise UserError("an evaluation must have at least one sample. Received: 0 samples")
        if not self.results:
            warn("nothing was detected: the model is untrained, or its input is scaled wrongly", stacklevel=2)
        if self.not_finite:
            warn(f"{self.not_finite} detections hold NaN or infinite numbers: left out", stacklevel=2)
        self._warn_of_crowded_images()
        numbers = dict(self.scores.numbers)
        if self.voc:
            voc = scoring.voc_scores(self.ground_truth, self.results)
            for key, name in (("11_point", "mAP_voc07"), ("area", "mAP_voc12")):
                numbers[name] = float(np.mean(list(voc[key].values()))) if voc[key] else -1.0
        return {**numbers, "count": len(self.images)}

    def _warn_of_crowded_images(self) -> None:
        of_class, of_image = scoring.most_objects(self.annotations)
        counted, found = self.counted_detections, self.max_found
        if of_class > counted:
            warn(
                f"an image has {of_class} objects of a class, of which metric.max_detections lets {counted} be found",
                stacklevel=3,
            )
        elif self.max_detections is None and counted > scoring.MAX_DETECTIONS:
            warn(
                f"an image has {of_class} objects of a class: so many detections count there in place of COCO's "
                f"{scoring.MAX_DETECTIONS}; metric.max_detections sets another number",
                stacklevel=3,
            )
        if found is not None and of_image > found:
            warn(
                f"an image has {of_image} objects, of which detections.max_detections lets {found} be found",
                stacklevel=3,
            )

    def write_results(self, path: Path) -> Path:
        """The detections as COCO's results JSON, with the data set's own image and category ids."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.results), encoding="utf-8")
        return path


def to_xywh(boxes: np.ndarray, size: np.ndarray) -> np.ndarray:
    """yxyx within 0..1 [N, 4] -> x, y, width, height in pixels of a image of `size` (H, W)."""
    y0, x0, y1, x1 = (np.asarray(boxes, np.float64).reshape(-1, 4) * np.tile(size, 2)).T
    return np.stack([x0, y0, x1 - x0, y1 - y0], 1)


def image_ap(truth: dict, prediction: Prediction) -> float:
    """Average precision at IoU 0.5 of one image, all its classes together."""
    entries = [
        {"bbox": box, "category_id": label, "iscrowd": crowd}
        for box, label, crowd in zip(to_xywh(truth["boxes"], np.ones(2)), truth["labels"], truth["crowd"], strict=True)
    ]
    order = np.argsort(-np.asarray(prediction["scores"]), kind="stable")
    boxes = to_xywh(prediction["boxes"], np.ones(2))
    ranked = [{"bbox": boxes[i], "category_id": prediction["labels"][i]} for i in order]
    right = {
        id(result)
        for label in set(truth["labels"].tolist())
        for entry, result in scoring.pairs(
            [e for e in entries if e["category_id"] == label], [r for r in ranked if r["category_id"] == label], 0.5
        )
        if entry is not None and result is not None
    }
    hits = np.array([id(result) in right for result in ranked], bool)
    counted = int((~truth["crowd"]).sum())
    return scoring.area_ap(hits.cumsum(), (~hits).cumsum(), counted) if counted else 1.0
