"""Scores of detections against annotations in COCO's structure: COCO's numbers, Pascal VOC's, confusion."""

from __future__ import annotations

import contextlib
import importlib
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.utils.errors import UserError, missing_extra
from mobilenet_tf.utils.text_files import read_json

NAMES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
         "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")  # fmt: skip
MAX_DETECTIONS = 100  # COCO's: so many of a class in an image count
AREAS = ("all", "small", "medium", "large")  # below 32², 32² to 96², above: pixels of the original image
BACKENDS = {"pycocotools": ("pycocotools.coco", "pycocotools.cocoeval"), "hotcoco": ("hotcoco", "hotcoco")}


@dataclass(frozen=True)
class CocoScores:
    """The results of COCO's evaluation.

    numbers: its twelve, by `NAMES`; -1 where there is nothing to find, as COCO has it. Where not 100 detections of a
        class count in an image, AR100 has that number in its name.
    precision: [10 IoU 0.5..0.95, 101 recalls, classes, 4 areas, 3 numbers of detections 1, 10, 100 or another
        largest], -1 likewise.
    recall: [10, classes, 4, 3].
    """

    numbers: dict[str, float]
    precision: np.ndarray
    recall: np.ndarray

    def per_class(self, threshold: int | slice = slice(None), area: str = "all") -> np.ndarray:
        """AP [classes] over the IoU thresholds of these indices (0 is IoU 0.5); NaN for a class without boxes."""
        chosen = self.precision[threshold, ..., AREAS.index(area), -1]
        chosen = chosen.reshape(-1, *chosen.shape[-2:])  # [IoU, recall, class]
        with np.errstate(invalid="ignore"):
            return np.where((chosen > -1).any((0, 1)), chosen.mean((0, 1)), np.nan)


def coco_scores(
    ground_truth: Mapping,
    results: Sequence[dict],
    *,
    images: Iterable | None = None,
    backend: str = "pycocotools",
    max_detections: int = MAX_DETECTIONS,
) -> CocoScores:
    """COCO's box evaluation of `results` (image_id, category_id, bbox, score; ids of the ground truth).

    images: the ids of the images that are scored; None: all of them.
    max_detections: how many detections of a class in an image count, the best ones.
    Raises UserError: a backend that is not installed, results of other images or categories.
    """
    ground_truth, results = _restricted(ground_truth, results, images)
    make, evaluate = _backend(backend)
    with contextlib.redirect_stdout(io.StringIO()):  # these libraries print their progress
        evaluation = evaluate(
            _index(make, ground_truth), _index(make, {**ground_truth, "annotations": _boxes(results)})
        )
        params = evaluation.params
        params.maxDets = [1, 10, max_detections]
        evaluation.params = params  # one of the backends gives a copy
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = (np.asarray(evaluation.eval[key]) for key in ("precision", "recall"))
    return CocoScores(_summary(precision, recall, max_detections), precision, recall)


def _summary(precision: np.ndarray, recall: np.ndarray, max_detections: int) -> dict[str, float]:
    """COCO's twelve numbers. Its own code gives AP -1 where not 100 detections count, and calls all of them AR100."""
    parts = {
        "AP": precision[..., 0, -1], "AP50": precision[0, ..., 0, -1], "AP75": precision[5, ..., 0, -1],
        **{f"AP_{name}": precision[..., i, -1] for i, name in enumerate(AREAS) if i},
        "AR1": recall[..., 0, 0], "AR10": recall[..., 0, 1], f"AR{max_detections}": recall[..., 0, 2],
        **{f"AR_{name}": recall[..., i, -1] for i, name in enumerate(AREAS) if i},
    }  # fmt: skip
    return {name: float(part[part > -1].mean()) if (part > -1).any() else -1.0 for name, part in parts.items()}


def most_objects(annotations: Iterable[dict]) -> tuple[int, int]:
    """The largest numbers of objects in an image: of one class, and of all classes. Crowds do not count."""
    of_class = Counter((entry["image_id"], entry["category_id"]) for entry in annotations if not _difficult(entry))
    of_image: Counter = Counter()
    for (image, _), count in of_class.items():
        of_image[image] += count
    return max(of_class.values(), default=0), max(of_image.values(), default=0)


def score_file(annotations: str | Path, results: str | Path, *, backend: str = "pycocotools") -> dict[str, float]:
    """COCO's twelve numbers of a results file (JSON list) on an annotation file. Raises UserError for other files."""
    from mobilenet_tf.tasks.detection.data.fields import read_fields

    truth, detected = read_fields(Path(annotations)), read_json(results)
    if not isinstance(detected, list):
        raise UserError(f"{results} must be a list of detections. Received: {type(detected).__name__}")
    for index, row in enumerate(detected):
        if not _is_detection(row):
            wanted = "image_id, category_id, bbox (x, y, width, height) and score"
            raise UserError(f"{results}: [{index}] must be a detection with {wanted}. Received: {str(row)[:100]}")
    return coco_scores(truth, detected, backend=backend).numbers


def _is_detection(row: Any) -> bool:
    if not isinstance(row, dict) or not {"image_id", "category_id", "bbox", "score"} <= set(row):
        return False
    box = row["bbox"]
    ids_are_plain = all(type(row[key]) in (int, str) for key in ("image_id", "category_id"))
    if not ids_are_plain or not isinstance(box, list) or len(box) != 4:
        return False
    return all(type(value) in (int, float) and abs(value) < math.inf for value in [*box, row["score"]])


def _restricted(ground_truth, results, images) -> tuple[dict, list[dict]]:
    """Ground truth and results of these images, all ids as numbers in their order; what COCO's code wants filled in."""
    chosen = {image["id"] for image in ground_truth["images"]}
    chosen = chosen if images is None else chosen & set(images)
    label = {category["id"]: i + 1 for i, category in enumerate(ground_truth["categories"])}
    for result in results:
        if result["category_id"] not in label or result["image_id"] not in chosen:
            received = f"image {result['image_id']}, category {result['category_id']}"
            raise UserError(f"detections must be of the images and categories of the annotations. Received: {received}")
    chosen_images = [image for image in ground_truth["images"] if image["id"] in chosen]
    number = {image["id"]: i + 1 for i, image in enumerate(chosen_images)}  # hotcoco takes no other ids than numbers
    annotations = [
        {
            "area": entry["bbox"][2] * entry["bbox"][3],
            "iscrowd": 0,
            **{key: entry[key] for key in ("bbox", "area", "iscrowd") if key in entry},
            "id": i + 1,  # from 1: COCO's code takes a match with id 0 for none
            "image_id": number[entry["image_id"]],
            "category_id": label[entry["category_id"]],
        }
        for i, entry in enumerate(entry for entry in ground_truth["annotations"] if entry["image_id"] in chosen)
    ]
    truth = {
        "info": {},
        "images": [
            {"id": number[image["id"]], **{key: image[key] for key in ("file_name", "height", "width") if key in image}}
            for image in chosen_images
        ],
        "annotations": annotations,
        "categories": [{"id": i, "name": str(i)} for i in label.values()],
    }
    columns = [
        {**result, "image_id": number[result["image_id"]], "category_id": label[result["category_id"]]}
        for result in results
    ]
    return truth, columns


def _boxes(results: Sequence[dict]) -> list[dict]:
    """Results as `loadRes` of COCO's code makes annotations of them; it takes no empty list."""
    return [
        {**result, "area": result["bbox"][2] * result["bbox"][3], "iscrowd": 0, "id": i + 1}
        for i, result in enumerate(results)
    ]


def _index(make: Callable, dataset: dict):
    coco = make()
    coco.dataset = dataset
    coco.createIndex()
    return coco


def _backend(name: str) -> tuple[Callable, Callable]:
    """(the class that indexes annotations, the function that makes an evaluation of two of them)."""
    try:
        index, evaluator = (importlib.import_module(module) for module in BACKENDS[name])
    except ImportError:
        raise missing_extra(name, "coco") from None
    return index.COCO, lambda truth, detected: evaluator.COCOeval(truth, detected, "bbox")


# Pascal VOC, and confusion


def corners(boxes) -> np.ndarray:
    """x, y, width, height [N, 4] -> x0, y0, x1, y1, float64."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU [N, M] of corners [N, 4] and [M, 4]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.prod(np.clip(high - low, 0, None), -1)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], -1) for boxes in (a, b)]
    union = areas[0][:, None] + areas[1][None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def by_image(entries: Iterable[dict]) -> dict:
    """Annotations or results by their image_id."""
    grouped: dict = {}
    for entry in entries:
        grouped.setdefault(entry["image_id"], []).append(entry)
    return grouped


def voc_scores(
    ground_truth: Mapping, results: Sequence[dict], *, images: Iterable | None = None, iou: float = 0.5
) -> dict[str, dict]:
    """Pascal VOC's AP of every class at one IoU: {"11_point": {category id: AP}, "area": {...}}.

    A detection belongs to the box of its class that it overlaps most; a second one of that box is wrong; what falls on
    a difficult box (`difficult`, else `iscrowd`) does not count. Classes without boxes that count are left out.
    Source: Everingham et al. 2010, section 4.2; 11 points until 2009, the area from 2010 on.
    """
    chosen = {image["id"] for image in ground_truth["images"]}
    chosen = chosen if images is None else chosen & set(images)
    truths = {}
    for entry in ground_truth["annotations"]:
        if entry["image_id"] in chosen:
            truths.setdefault(entry["category_id"], []).append(entry)
    results_of = {}
    for result in results:
        results_of.setdefault(result["category_id"], []).append(result)
    scores: dict[str, dict] = {"11_point": {}, "area": {}}
    for category, boxes in truths.items():
        counted = sum(not _difficult(entry) for entry in boxes)
        if counted:
            right, wrong = _voc_matches(boxes, results_of.get(category, []), iou)
            for name, average in (("11_point", eleven_point_ap), ("area", area_ap)):
                scores[name][category] = average(right, wrong, counted)
    return scores


def _difficult(entry: dict) -> bool:
    return bool(entry.get("difficult", entry.get("iscrowd", 0)))


def _voc_matches(boxes: list[dict], results: list[dict], iou: float) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong detections so far, by falling score [K] each."""
    truths = {
        image: (corners([e["bbox"] for e in entries]), entries, set()) for image, entries in by_image(boxes).items()
    }
    right, wrong = np.zeros(len(results)), np.zeros(len(results))
    ranked = sorted(results, key=lambda result: -result["score"])
    for rank, result in enumerate(ranked):
        true_corners, entries, taken = truths.get(result["image_id"], (np.zeros((0, 4)), [], set()))
        shared = overlaps(corners(result["bbox"]), true_corners)[0] if len(true_corners) else np.zeros(1)
        best = int(shared.argmax())
        if shared[best] <= iou or best in taken:
            wrong[rank] = 1
        elif not _difficult(entries[best]):
            right[rank] = 1
            taken.add(best)
    return right.cumsum(), wrong.cumsum()


def _precision_recall(right, wrong, counted):
    precision = right / np.maximum(right + wrong, 1e-12)
    return np.maximum.accumulate(precision[::-1])[::-1], right / counted


def eleven_point_ap(right: np.ndarray, wrong: np.ndarray, counted: int) -> float:
    """Mean of the best precision at recall 0, 0.1, ... 1 and above."""
    precision, recall = _precision_recall(right, wrong, counted)
    reached = [precision[recall >= point - 1e-9] for point in np.linspace(0, 1, 11)]
    return float(np.mean([part[0] if len(part) else 0.0 for part in reached]))


def area_ap(right: np.ndarray, wrong: np.ndarray, counted: int) -> float:
    """Area under the precision's envelope."""
    precision, recall = _precision_recall(right, wrong, counted)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def confusion(
    ground_truth: Mapping, results: Sequence[dict], categories: Sequence, *, score: float, iou: float = 0.5
) -> np.ndarray:
    """The confusion matrix of boxes: int64 [C + 1, C + 1], rows = truth; the last row and column are the background.

    Detections from `score` on go to the box they overlap most, of whatever class, best scores first, each box once.
    Those on crowds and difficult boxes do not count.
    """
    index_of = {category: i for i, category in enumerate(categories)}
    matrix = np.zeros((len(index_of) + 1,) * 2, np.int64)
    results_of = by_image(result for result in results if result["score"] >= score)
    truths = by_image(ground_truth["annotations"])
    for image in truths.keys() | results_of.keys():
        entries = truths.get(image, [])
        ranked = sorted(results_of.get(image, []), key=lambda result: -result["score"])
        for truth, result in pairs(entries, ranked, iou):
            row = len(index_of) if truth is None else index_of[truth["category_id"]]
            column = len(index_of) if result is None else index_of[result["category_id"]]
            matrix[row, column] += 1
    return matrix


def agreement(reference: Mapping, candidate: Mapping, *, score: float, iou: float = 0.5) -> float:
    """How far two predictions of one image find the same: 2 x pairs of one class / all boxes, from `score` on.

    NaN where neither finds anything, which proves nothing.
    """
    sides = []
    for prediction in (reference, candidate):
        y0, x0, y1, x1 = np.asarray(prediction["boxes"], np.float64).reshape(-1, 4).T
        rows = zip(np.stack([x0, y0, x1 - x0, y1 - y0], 1), prediction["labels"], prediction["scores"], strict=True)
        sides.append([{"bbox": box, "label": label, "score": s} for box, label, s in rows if s >= score])
    total = sum(map(len, sides))
    same = 0
    for label in {row["label"] for side in sides for row in side}:
        first, second = ([row for row in side if row["label"] == label] for side in sides)
        same += sum(None not in pair for pair in pairs(first, second, iou))
    return 2 * same / total if total else math.nan


def pairs(entries: Sequence[dict], ranked: Sequence[dict], iou: float) -> list[tuple[dict | None, dict | None]]:
    """(box, its detection) of one image; None for a detection without a box, and for a box without a detection.

    Ignored boxes are in no pair, nor is what lies on them (by the share of the detection, as COCO treats crowds).
    """
    single = [entry for entry in entries if not _difficult(entry)]
    ignored = [entry for entry in entries if _difficult(entry)]
    shared = overlaps(corners([r["bbox"] for r in ranked]), corners([e["bbox"] for e in single]))  # [results, boxes]
    matches, free = [], set(range(len(single)))
    for i, result in enumerate(ranked):
        open_boxes = [j for j in free if shared[i, j] >= iou]
        if open_boxes:
            best = max(open_boxes, key=lambda j: shared[i, j])
            free.remove(best)
            matches.append((single[best], result))
        elif not (ignored and _on_ignored(result, ignored, iou)):
            matches.append((None, result))
    return matches + [(single[j], None) for j in sorted(free)]


def _on_ignored(result: dict, ignored: Sequence[dict], iou: float) -> bool:
    box = corners(result["bbox"])[0]
    box_area = np.prod(box[2:] - box[:2])
    for other in corners([entry["bbox"] for entry in ignored]):
        common = np.prod(np.clip(np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2]), 0, None))
        if box_area > 0 and common / box_area >= iou:
            return True
    return False
