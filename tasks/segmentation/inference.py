"""The inputs and the predictions of a segmentation model. No TensorFlow here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobilenet_tf import task as base
from mobilenet_tf.data import preprocess
from mobilenet_tf.data.coco_objects import compressed
from mobilenet_tf.task import AS_USUAL, Prediction, Selection, as_number
from mobilenet_tf.tasks.segmentation.config import Config
from mobilenet_tf.tasks.segmentation.drawing import draw

LOGITS = "logits"  # the raw output's name, where there is another beside it


def decode(raw, sizes: np.ndarray, resize: str) -> list[Prediction]:
    """Raw outputs -> one {"mask": uint8 [H0, W0]} an image, at the original size.

    Logits [N, H, W, C] lose their padding, grow or shrink bilinearly to the original size, and the largest wins; of a
    class map [N, H, W] the nearest pixel is taken.

    Args:
        sizes: int [N, 2], the original (height, width).
        resize: how the images came to the input size (the config's `data.resize`).
    """
    raw = np.asarray(raw[LOGITS] if isinstance(raw, dict) else raw)
    predictions = []
    for scores, size in zip(raw, np.asarray(sizes), strict=True):
        rows, columns = preprocess.resized_shape(resize, scores.shape[:2], size)
        scores = scores[:rows, :columns]
        predictions.append({"mask": _enlarge(scores, size) if scores.ndim == 3 else _nearest(scores, size)})
    return predictions


def _enlarge(logits, size) -> np.ndarray:
    bands = [logits] if logits.shape[:2] == tuple(size) else preprocess.bands(logits, size)
    return np.concatenate([band.argmax(-1).astype(np.uint8) for band in bands])


def _nearest(mask, size) -> np.ndarray:
    rows, columns = (((np.arange(n) + 0.5) * have / n).astype(int) for n, have in zip(size, mask.shape, strict=True))
    return mask[rows][:, columns].astype(np.uint8)


def to_row(prediction: Prediction, classes: Sequence[str], selection: Selection = AS_USUAL) -> dict:
    """The largest class with its share of the pixels and, as text, all classes that cover 0.1 % or more."""
    shares = np.bincount(prediction["mask"].ravel(), minlength=len(classes)) / prediction["mask"].size
    order = [i for i in np.argsort(-shares, kind="stable") if shares[i] >= 0.001][: selection.top]
    return {
        "label": classes[order[0]],
        "share": round(float(shares[order[0]]), 4),
        "classes": ", ".join(f"{classes[i]} {shares[i]:.3f}" for i in order),
    }


def to_dict(prediction: Prediction, classes: Sequence[str], selection: Selection = AS_USUAL) -> dict:
    """The largest class with its share of the pixels, and all classes that occur, with their values in the mask."""
    mask = prediction["mask"]
    pixels = np.bincount(mask.ravel(), minlength=len(classes))
    listed = [
        {"label": classes[i], "share": as_number(pixels[i] / mask.size), "pixels": int(pixels[i]), "value": i}
        | ({"rle": compressed(mask == i)} if selection.masks else {})
        for i in [i for i in map(int, np.argsort(-pixels, kind="stable")) if pixels[i]][: selection.top]
    ]
    return {key: listed[0][key] for key in ("label", "share")} | {"classes": listed}


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of an image."""

    mask: np.ndarray  # uint8 [H, W], indices into `names`
    names: list[str]  # of the classes


class Inference(base.Inference[Config]):
    """Images in, class masks out."""

    options = ("top", "masks")

    def preprocess(self, image):
        return preprocess.letterbox(image, self.cfg.model.input_size, self.cfg.data.resize)

    def decode(self, raw, sizes):
        return decode(raw, sizes, self.cfg.data.resize)

    def to_row(self, prediction, classes):
        return to_row(prediction, classes, self.selection)

    def to_dict(self, prediction, classes):
        return to_dict(prediction, classes, self.selection)

    def to_result(self, prediction, classes):
        return Segmentation(prediction["mask"], list(classes))

    def draw(self, image, prediction, classes):
        return draw(image, prediction, classes)
