"""Plots and tables of a finished evaluation of a segmentation model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mobilenet_tf import viz
from mobilenet_tf.tasks.segmentation.drawing import enlarged, overlay
from mobilenet_tf.utils import files


def report(metric, classes: Sequence[str], folder: str | Path) -> list[Path]:
    """Writes confusion.png (in thousands of pixels), per_class.png, per_class.csv and worst.png into the folder."""
    folder = Path(folder)
    rows = metric.per_class()
    total = max(1, sum(row["pixels"] for row in rows))
    thousands = np.rint(metric.confusion / 1000).astype(np.int64)
    written = [
        viz.confusion(thousands, classes, folder / "confusion.png", unit="thousand pixels"),
        viz.bars(
            [row["iou"] for row in rows],
            classes,
            folder / "per_class.png",
            title="IoU per class (share of the pixels)",
            notes=[f"({row['pixels'] / total:.1%})" for row in rows],
            marks={"accuracy": [row["accuracy"] for row in rows], "boundary F": [row["boundary_f"] for row in rows]},
        ),
        files.write_csv(folder / "per_class.csv", rows),
    ]
    return written + ([_worst(metric, classes, folder / "worst.png")] if metric.worst else [])


def _worst(metric, classes, path):
    """Image, truth and prediction of the worst samples, three in a row."""
    images, captions = [], []
    for scored in metric.worst:
        height, width = scored.image.shape[:2]
        images.append(scored.image)
        for mask in (scored.truth, scored.mask):
            small = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
            images.append(overlay(*enlarged(scored.image, small), classes))
        captions += [f"{scored.id[-40:]}\nmean IoU {scored.miou:.2f}", "truth", "prediction"]
    return viz.sheet(images, captions, path, columns=6)
