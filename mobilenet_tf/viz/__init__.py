"""Plots and images of a run: curves, confusion matrix, bars, precision and recall, ROC, image sheets, annotated images.

Plots use matplotlib's Figure objects (no pyplot, no global state), images Pillow. Every file is written atomically.
No TensorFlow here; and importing this package does not import matplotlib, which takes a second: using a name does.
"""

from importlib import import_module

NAMES = {
    "base": ("COLORS", "INK", "MUTED", "PAPER", "CORRECT", "SKY", "INCORRECT", "shorten"),
    "image_files": ("is_made_here", "save_image"),
    "images": ("Box", "annotate", "draw_boxes", "sheet", "thumbnail"),
    "plots": ("bars", "confused_pairs", "confusion", "costs", "curves", "distributions", "histograms",
              "precision_recall", "roc", "sensitivity"),
}  # fmt: skip
HOMES = {name: module for module, names in NAMES.items() for name in names}
__all__ = sorted(HOMES)  # pyright: ignore[reportUnsupportedDunderAll] - the names come from the table


def __getattr__(name):
    if name in HOMES:
        return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
