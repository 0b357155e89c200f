"""An image with its similarity to the first one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mobilenet_tf import viz
from mobilenet_tf.task import Prediction


def draw(image: np.ndarray, prediction: Prediction, classes: Sequence[str]) -> np.ndarray:
    """The image (uint8 [H, W, 3]) over its similarity to the first image and whether both show one identity."""
    lines: list[str | tuple[str, float]] = [("similarity", max(0.0, prediction["similarity"]))]
    if "same" in prediction:
        sign, verdict = ("≥", "same") if prediction["same"] else ("<", "different")
        lines.append(f"{verdict}: {prediction['similarity']:.3f} {sign} {prediction['threshold']:.3f}")
    return viz.annotate(image, lines)
