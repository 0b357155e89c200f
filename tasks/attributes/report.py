"""Plots and tables of a finished evaluation of attributes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mobilenet_tf import viz
from mobilenet_tf.tasks.attributes.metric import AttributeMetric
from mobilenet_tf.utils import files


def report(metric: AttributeMetric, classes: Sequence[str], folder: str | Path) -> list[Path]:
    """Writes per_attribute.csv, average_precision.png and accuracy.png, each score beside its baseline."""
    folder, rows = Path(folder), metric.per_attribute()
    notes = [f"({row['positives']} of {row['positives'] + row['negatives']})" for row in rows]

    def bars(title, column, marks):
        values = {key: [row[key] for row in rows] for key in (column, *marks.values())}
        points = {name: values[key] for name, key in marks.items()}
        path = folder / f"{title.lower().replace(' ', '_')}.png"
        return viz.bars(values[column], classes, path, title=f"{title} (positives)", notes=notes, marks=points)

    return [
        bars("Average precision", "ap", {"chance": "prior", "F1": "f1", "ROC AUC": "auc"}),
        bars("Accuracy", "accuracy", {"majority": "majority", "balanced accuracy": "balanced_accuracy"}),
        files.write_csv(folder / "per_attribute.csv", rows),
    ]
