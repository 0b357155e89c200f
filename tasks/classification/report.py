"""Plots and tables of a finished evaluation of a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobilenet_tf import viz
from mobilenet_tf.tasks.classification.metric import ClassificationMetric
from mobilenet_tf.utils import files


def report(metric: ClassificationMetric, classes: Sequence[str], folder: str | Path) -> list[Path]:
    """Writes confusion.png, per_class.png, per_class.csv and, where there are mistakes, worst.png and worst.csv."""
    folder = Path(folder)
    rows = metric.per_class()
    scores = {key: [row[key] if row["support"] else None for row in rows] for key in ("f1", "precision", "recall")}
    written = [
        viz.confusion(metric.confusion, classes, folder / "confusion.png"),
        viz.bars(
            scores.pop("f1"),
            classes,
            folder / "per_class.png",
            title="F1 per class (samples)",
            notes=[f"({row['support']})" for row in rows],
            marks=scores,
        ),
        files.write_csv(folder / "per_class.csv", rows),
    ]
    return written + (_worst(metric, classes, folder) if metric.worst else [])


def _worst(metric: ClassificationMetric, classes: Sequence[str], folder: Path) -> list[Path]:
    rows = [
        {"id": m.id, "truth": classes[m.truth], "predicted": classes[m.predicted], "confidence": round(m.confidence, 6)}
        for m in metric.worst
    ]
    drawn = [(m.thumbnail, row) for m, row in zip(metric.worst, rows, strict=True) if m.thumbnail is not None]
    captions = [f"{row['predicted']} {row['confidence']:.0%}\ntruth: {row['truth']}\n{row['id']}" for _, row in drawn]
    table = [files.write_csv(folder / "worst.csv", rows)]
    images = [image for image, _ in drawn]
    return [viz.sheet(images, captions, folder / "worst.png", correct=[False] * len(drawn)), *table] if drawn else table
