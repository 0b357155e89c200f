"""Pictures of a run: curves, confusion matrix, bars, precision and recall, ROC, sheets of images, annotated images.

Plots use matplotlib's Figure objects (no pyplot, no global state), pictures Pillow. Every file is written atomically.
No TensorFlow here.
"""

from mobilenet_tf.viz.base import (
    COLOURS,
    INK,
    MUTED,
    PAPER,
    RIGHT,
    SKY,
    WRONG,
    save_image,
    shorten,
    write_atomic,
    write_csv,
)
from mobilenet_tf.viz.pictures import Box, annotate, draw_boxes, sheet, thumbnail
from mobilenet_tf.viz.plots import (
    bars,
    confused_pairs,
    confusion,
    curves,
    distributions,
    histograms,
    precision_recall,
    roc,
)

__all__ = [
    "COLOURS",
    "INK",
    "MUTED",
    "PAPER",
    "RIGHT",
    "SKY",
    "WRONG",
    "Box",
    "annotate",
    "bars",
    "confused_pairs",
    "confusion",
    "curves",
    "distributions",
    "draw_boxes",
    "histograms",
    "precision_recall",
    "roc",
    "save_image",
    "sheet",
    "shorten",
    "thumbnail",
    "write_atomic",
    "write_csv",
]
