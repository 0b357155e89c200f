"""Plots and tables of a finished evaluation of a segmentation model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mobilenet_tf import viz
from mobilenet_tf.task import drawable
from mobilenet_tf.tasks.segmentation.drawing import enlarged, overlay
from mobilenet_tf.utils import files

MAX_NAMED_CLASSES = 4  # of an image, in words


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


def annotated(sample: Mapping[str, Any], classes: Sequence[str]) -> tuple[np.ndarray, str]:
    """The image of a preprocessed sample under its mask, and the largest classes with their shares of the pixels."""
    image, mask = enlarged(drawable(sample["image"]), np.asarray(sample["mask"], np.uint8))
    pixels = np.bincount(mask.ravel(), minlength=256)[: len(classes)]
    largest = [i for i in np.argsort(-pixels, kind="stable")[:MAX_NAMED_CLASSES] if pixels[i]]
    shares = [f"{classes[i]} {pixels[i] / pixels.sum():.0%}" for i in largest]
    return overlay(image, mask, classes), ", ".join(shares) or "nothing that counts"


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
