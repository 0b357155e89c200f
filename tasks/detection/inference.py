"""What goes into a detector, and what comes out of it for an image. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobilenet_tf import task as base
from mobilenet_tf import viz
from mobilenet_tf.data import preprocess
from mobilenet_tf.task import AS_USUAL, Prediction, Selection, as_number
from mobilenet_tf.tasks.detection import boxes
from mobilenet_tf.tasks.detection.anchors import anchors_for
from mobilenet_tf.tasks.detection.config import Config

OUTPUTS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")  # with decoding inside
MIN_DRAWN_SCORE = 0.3  # with a lower score they are not drawn or listed, unless asked, nor in the confusion matrix
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def anchors(cfg: Config) -> np.ndarray:
    """The anchors of the model, float32 [A, 4]."""
    model = cfg.model
    return anchors_for(model.backbone, input_size=model.input_size, head=model.head, anchors=model.anchors.model_dump())


def decoding(cfg: Config) -> dict:
    """How raw outputs become detections: the options of `boxes.detections`."""
    return {"scores": cfg.model.scores, "variances": cfg.model.variances, **cfg.detections.model_dump()}


def decode(cfg: Config, raw: dict, sizes: np.ndarray) -> list[Prediction]:
    """Raw outputs -> {"boxes" yxyx within 0..1 of the original image, "labels", "scores", "size" (H, W)} an image.

    raw: the heads, or what a model with decoding inside gives.
    """
    predictions = decoded(raw) if OUTPUTS[0] in raw else boxes.detections(raw, anchors(cfg), **decoding(cfg))
    return [
        {**prediction, "boxes": restored(cfg, prediction["boxes"], size), "size": np.asarray(size)}
        for prediction, size in zip(predictions, sizes, strict=True)
    ]


def decoded(raw: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What a model of "detections" gives -> one {"boxes" [K, 4], "scores" [K], "labels" int32 [K]} an image."""
    per_image = []
    for corners, classes, scores, count in zip(*(raw[name] for name in OUTPUTS), strict=True):
        real = slice(0, int(count))
        labels = np.rint(classes[real]).astype(np.int32)
        per_image.append({"boxes": corners[real].clip(0, 1), "scores": scores[real], "labels": labels})
    return per_image


def restored(cfg: Config, input_boxes: np.ndarray, size) -> np.ndarray:
    """Boxes in the input -> in the original image of `size` (H, W), where the input is padded."""
    if cfg.data.resize == "stretch":
        return input_boxes
    shown = preprocess.resized_shape("letterbox", cfg.model.input_size, size)
    return (input_boxes / np.tile(np.array(shown) / np.array(cfg.model.input_size), 2)).clip(0, 1)


def selected(prediction: Prediction, selection: Selection) -> list[int]:
    """The indices of the objects that are listed and drawn, the highest score first."""
    scores = np.asarray(prediction["scores"], np.float32)
    lowest = np.float32(MIN_DRAWN_SCORE if selection.min_score is None else selection.min_score)
    return [i for i in map(int, np.argsort(-scores, kind="stable")) if scores[i] >= lowest][: selection.top]


def pixel_boxes(prediction: Prediction) -> np.ndarray:
    """The boxes as float32 [K, 4]: xmin, ymin, xmax, ymax in pixels of the original image."""
    height, width = prediction["size"]
    boxes = np.asarray(prediction["boxes"]).reshape(-1, 4)[:, [1, 0, 3, 2]]
    return (boxes * np.array([width, height, width, height], np.float32)).astype(np.float32)


def to_row(prediction: Prediction, classes: Sequence[str], selection: Selection = AS_USUAL) -> dict:
    """How many objects were found; which, with their scores; their boxes xmin ymin xmax ymax in pixels."""
    shown = selected(prediction, selection)
    corners = np.rint(prediction["boxes"] * np.tile(prediction["size"], 2)).astype(int)[:, [1, 0, 3, 2]]
    return {
        "count": len(shown),
        "objects": ", ".join(f"{classes[prediction['labels'][i]]} {prediction['scores'][i]:.2f}" for i in shown),
        "boxes": "; ".join(" ".join(map(str, corners[i])) for i in shown),
    }


def to_dict(prediction: Prediction, classes: Sequence[str], selection: Selection = AS_USUAL) -> dict:
    """The objects with their labels, scores and corners in pixels of the original image, to a thousandth."""
    boxes, labels, scores = pixel_boxes(prediction), prediction["labels"], prediction["scores"]
    return {
        "objects": [
            {"label": classes[labels[i]], "score": as_number(scores[i])}
            | {name: round(float(value), 3) for name, value in zip(CORNERS, boxes[i], strict=True)}
            for i in selected(prediction, selection)
        ]
    }


def draw(
    image: np.ndarray,
    prediction: Prediction,
    classes: Sequence[str],
    selection: Selection = AS_USUAL,
) -> np.ndarray:
    """The image (uint8 [H, W, 3]) with the detections, from a score of 0.3 on unless another is asked for."""
    return viz.draw_boxes(image, boxes_to_draw(prediction, classes, selection))


def boxes_to_draw(
    prediction: Prediction,
    classes: Sequence[str],
    selection: Selection = AS_USUAL,
) -> list[viz.Box]:
    """The detections that are drawn, with their classes and scores."""
    boxes, labels, scores = prediction["boxes"], prediction["labels"], prediction["scores"]
    return [
        viz.Box(boxes[i], f"{classes[labels[i]]} {scores[i]:.2f}", viz.COLORS[labels[i] % len(viz.COLORS)])
        for i in selected(prediction, selection)
    ]


@dataclass(frozen=True)
class Detections:
    """The objects in an image, the highest score first."""

    boxes: np.ndarray  # float32 [K, 4]: xmin, ymin, xmax, ymax in pixels of the image
    scores: np.ndarray  # float32 [K]
    labels: np.ndarray  # int32 [K], indices into `names`
    names: list[str]  # of the classes


class Inference(base.Inference[Config]):
    """Images in, labeled boxes out."""

    options = ("min_score", "top", "coco")

    def preprocess(self, image):
        return preprocess.letterbox(image, self.cfg.model.input_size, self.cfg.data.resize)

    def decode(self, raw, sizes):
        return decode(self.cfg, raw, sizes)

    def to_row(self, prediction, classes):
        return to_row(prediction, classes, self.selection)

    def to_dict(self, prediction, classes):
        return to_dict(prediction, classes, self.selection)

    def to_result(self, prediction, classes):
        scores, labels = np.asarray(prediction["scores"], np.float32), np.asarray(prediction["labels"], np.int32)
        return Detections(pixel_boxes(prediction), scores, labels, list(classes))

    def draw(self, image, prediction, classes):
        return draw(image, prediction, classes, self.selection)
