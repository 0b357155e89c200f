"""Checkpoints of PyTorch as Keras models, with what their architecture says of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from mobilenet_tf.foreign.declaration import Declaration
from mobilenet_tf.foreign.facts import Facts
from mobilenet_tf.foreign.keras_model import facts_of
from mobilenet_tf.models.weights.timm import from_timm
from mobilenet_tf.models.weights.torchvision import from_torchvision
from mobilenet_tf.models.weights.torchvision_converter import CLASSIFIERS
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.file_kinds import SAFETENSORS, TORCH, what_is

SIZE = (224, 224)
DETECTOR = "ssdlite320_mobilenet_v3_large"
DETECTIONS = {"score_threshold": 0.001, "iou_threshold": 0.55, "max_candidates": 300, "max_detections": 300}
# What the config of each says; sizes, anchors and thresholds are torchvision's
SETTINGS: dict[str, dict[str, Any]] = {
    DETECTOR: {
        "model.backbone": "mobilenet_v3_large",
        "model.anchors": {"layout": "ssd", "max_side": 1.0},
        "detections": DETECTIONS,
    },
    "lraspp_mobilenet_v3_large": {"model.backbone": "mobilenet_v3_large", "model.head": "lraspp"},
    "deeplabv3_mobilenet_v3_large": {"model.backbone": "mobilenet_v3_large", "model.head": "deeplabv3"},
}
OF_TORCHVISION = {*CLASSIFIERS, *SETTINGS}
TASKS = {DETECTOR: "detection", "lraspp_mobilenet_v3_large": "segmentation"}
TASKS["deeplabv3_mobilenet_v3_large"] = "segmentation"


def is_checkpoint(path: Path) -> bool:
    """Whether a file holds tensors of PyTorch."""
    return what_is(path).startswith((TORCH, SAFETENSORS))


def build(path: Path, declaration: Declaration) -> tuple[keras.Model, Facts]:
    """The network of a checkpoint, and what its architecture says of it.

    Raises UserError where no architecture is named, or the checkpoint does not hold it.
    """
    name = declaration.architecture
    if name is None:
        raise UserError(
            "--architecture must name the network of the checkpoint, such as mobilenet_v3_large or "
            f"{DETECTOR} of torchvision, or mobilenetv4_conv_small of timm. Received: none for {path}"
        )
    model = from_torchvision(name, path) if name in OF_TORCHVISION else from_timm(name, path)
    task = TASKS.get(name, "classification")
    settings = SETTINGS.get(name) or ({"model.backbone": name} if name in CLASSIFIERS else {})
    facts = replace(facts_of(model, path.name), rescales=True, task=task, settings=settings)
    if task == "classification":
        facts = replace(facts, input_shape=_sized(facts.input_shape, declaration.size or SIZE), ends_in="logits")
    elif task == "segmentation":
        facts = replace(facts, ends_in="logits")
    return model, facts


def _sized(shape: Any, size: tuple[int, int]) -> tuple[int | None, ...]:
    """The shape of the input with the size that networks of torchvision are trained with where any will do."""
    return (shape[0], *(wanted if have is None else have for have, wanted in zip(shape[1:3], size, strict=True)), 3)
