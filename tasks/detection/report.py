"""The plots and tables of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf import viz
from mobilenet_tf.task import drawable
from mobilenet_tf.tasks.detection import scoring
from mobilenet_tf.tasks.detection.inference import MIN_DRAWN_SCORE, boxes_to_draw
from mobilenet_tf.tasks.detection.metric import DetectionMetric, Example
from mobilenet_tf.utils import files

MAX_CURVES = 12  # classes whose precision and recall are drawn
TRUTH_COLOR = "#FFFFFF"


def report(metric: DetectionMetric, classes: Sequence[str], folder: str | Path) -> list[Path]:
    """Write precision_recall.png, per_class.png and .csv, confusion.png, examples.png and detections.json.

    detections.json holds the results in COCO's format, with the data set's own ids.
    """
    folder = Path(folder)
    rows = metric.per_class()
    written = [
        _curves(metric, rows, folder / "precision_recall.png"),
        viz.bars(
            [row["AP"] for row in rows],
            classes,
            folder / "per_class.png",
            title="AP per class (boxes)",
            notes=[f"({row['boxes']})" for row in rows],
            marks={"AP50": [row["AP50"] for row in rows], "AP75": [row["AP75"] for row in rows]},
        ),
        files.write_csv(folder / "per_class.csv", rows),
        viz.confusion(
            scoring.confusion(metric.ground_truth, metric.results, metric.category_ids, score=MIN_DRAWN_SCORE),
            [*classes, "background"],
            folder / "confusion.png",
        ),
        metric.write_results(folder / "detections.json"),
    ]
    return written + _examples(metric, classes, folder / "examples.png")


def annotated(sample: Mapping[str, Any], classes: Sequence[str]) -> tuple[np.ndarray, str]:
    """The image of a preprocessed sample with its boxes, crowds dashed, and how many there are of each class."""
    labels = np.asarray(sample["labels"])
    real = labels >= 0  # the others are padding
    crowd = np.asarray(sample.get("crowd", np.zeros(len(labels))), bool)
    shown = [
        viz.Box(box, classes[label], viz.COLORS[label % len(viz.COLORS)], dashed=bool(ignored))
        for box, label, ignored in zip(np.asarray(sample["boxes"])[real], labels[real], crowd[real], strict=True)
    ]
    return viz.draw_boxes(drawable(sample["image"]), shown), _counted(labels[real & ~crowd], classes) or "nothing"


def _curves(metric: DetectionMetric, rows: list[dict], path: Path) -> Path:
    """Precision over recall at IoU 0.5 of all classes together, and of those with the most boxes."""
    precision = metric.scores.precision[0, :, :, 0, -1]  # [101, classes]
    precision = np.where(precision > -1, precision, np.nan)
    present = np.flatnonzero(np.isfinite(precision).all(0))
    lines = {"all classes": precision[:, present].mean(1)} if len(present) else {}
    most = sorted(present, key=lambda label: -rows[label]["boxes"])[:MAX_CURVES]
    lines |= {metric.classes[label]: precision[:, label] for label in most} if len(present) > 1 else {}
    return viz.precision_recall(lines, path, "Precision and recall at IoU 0.5, with AP50")


def _examples(metric: DetectionMetric, classes: Sequence[str], path: Path) -> list[Path]:
    """The best, the worst and some other images: truth in white, detections in color."""
    images, captions = [], []
    for kind in ("best", "worst", "random"):
        for *_, example in sorted(metric.examples[kind], key=lambda entry: entry[:3], reverse=True):
            images.append(
                viz.draw_boxes(example.image, [*boxes_to_draw(example.prediction, classes), *_truth(example)])
            )
            captions.append(f"{kind}: AP50 {example.quality:.2f}\n{_names(example, classes)}\n{example.id}")
    return [viz.sheet(images, captions, path, columns=6, cell=340)] if images else []


def _truth(example: Example) -> list[viz.Box]:
    return [
        viz.Box(box, color=TRUTH_COLOR, dashed=bool(crowd))
        for box, crowd in zip(example.boxes, example.crowd, strict=True)
    ]


def _names(example: Example, classes: Sequence[str]) -> str:
    return _counted(example.labels[~example.crowd], classes)


def _counted(labels: np.ndarray, classes: Sequence[str]) -> str:
    found, counts = np.unique(labels, return_counts=True)
    return ", ".join(f"{count} {classes[label]}" for label, count in zip(found, counts, strict=True))
