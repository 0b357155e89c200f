"""What an exported detector ends in. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mobilenet_tf.inference.endings import Ending, Named, Shapes

BACKGROUNDS = {"softmax": [1], "sigmoid": [0]}  # `model.scores` -> logits of an anchor that stand for no class


def class_counts(shapes: Shapes, config: Mapping[str, Any]) -> list[int]:
    """Returns the number of classes of logits [N, A, C], of which the background is class 0 with softmax.

    Without `model.scores` in the config there are two numbers, with and without a background.
    """
    if "class_logits" not in shapes:
        return []
    width = shapes["class_logits"][-1]
    assert width is not None  # a layer of fixed width made them
    return [width - count for count in BACKGROUNDS.get(config.get("model", {}).get("scores"), [0, 1])]


def cleared(outputs: Named) -> Named:
    """Returns detections with zeros behind the last one of an image, where TFLite leaves what was in the memory."""
    count, rows = outputs["num_detections"], outputs["detection_scores"].shape[1]
    real = np.arange(rows) < count[:, None]
    masks = {
        key: real.reshape(real.shape + (1,) * (value.ndim - 2)) for key, value in outputs.items() if value.ndim > 1
    }
    return {key: np.where(masks[key], value, 0) if key in masks else value for key, value in outputs.items()}


ENDINGS = (
    Ending(
        "detections",
        to_raw=cleared,
        is_layer=True,
        class_counts=class_counts,
        has_post_process=True,
        mediapipe_names={
            "detection_boxes": "location",
            "detection_classes": "category",
            "detection_scores": "score",
            "num_detections": "number of detections",
        },
    ),
    Ending("raw", class_counts=class_counts),
)
