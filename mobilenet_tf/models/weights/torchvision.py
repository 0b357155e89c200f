"""Converts torchvision's MobileNet checkpoints into Keras models that give the same raw outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras

from mobilenet_tf.models import specs
from mobilenet_tf.models.specs import Net
from mobilenet_tf.models.weights import torchvision_segmentation as segmentation
from mobilenet_tf.models.weights.state_dicts import read
from mobilenet_tf.models.weights.torchvision_converter import CLASSIFIERS, DETECTOR, Converter
from mobilenet_tf.utils.errors import UserError


def from_torchvision(name: str, state: Mapping | str | Path) -> keras.Model:
    """A Keras model from RGB [N, H, W, 3] in 0..255 to torchvision's logits [N, classes]; mean and std are inside.

    name: "mobilenet_v2", "mobilenet_v3_large" or "mobilenet_v3_small"; or the detector "ssdlite320_mobilenet_v3_large",
    which takes 320x320 and gives {"class_logits": [N, 3234, classes with background], "box_regressions": [N, 3234, 4]},
    (ty, tx, th, tw) from the anchors of SSD cut to a side of 1; or the segmenters "deeplabv3_mobilenet_v3_large" and
    "lraspp_mobilenet_v3_large", which give logits [N, H, W, classes].
    state: the state dict (names to numpy arrays or torch tensors) or the path of one, `.pth`, `.safetensors` or `.npz`.
    Any width: all channels are those of the state dict; only strides and activations come from the paper's table.
    torchvision pads both sides alike at stride 2 and uses other epsilons, so these weights belong in this graph alone.
    Raises UserError: another name, unreadable file, missing or surplus tensors, wrong shapes.
    Source: torchvision/models/mobilenetv2.py, mobilenetv3.py, detection/ssdlite.py.
    """
    known = (*CLASSIFIERS, DETECTOR, *segmentation.SEGMENTERS)
    if name not in known:
        raise UserError(f"The torchvision network must be one of {', '.join(known)}. Received: {name}")
    state = read(state)
    if name in segmentation.SEGMENTERS:
        return segmentation.convert(name, state)
    if name == DETECTOR:
        net = specs.V3_LARGE
        return Converter(name, net, _as_classifier(net, state)).detector()
    return Converter(name, specs.NETS[name], state).classifier()


def _as_classifier(net: Net, state: Mapping) -> dict:
    """The state dict with its backbone under a classifier's names: a detector cuts it behind the last expansion."""
    cut = net.down_to(32) + 1  # features.0 is the stem
    moved = {f"0.{i}": f"features.{i}" for i in range(cut)}
    moved |= {f"0.{cut}": f"features.{cut}.block.0", "1.0": f"features.{cut}.block"}
    moved |= {f"1.{i}": f"features.{cut + i}" for i in range(1, len(net.blocks) + 2 - cut)}

    def renamed(key):
        first, second, rest = (*key.removeprefix("backbone.features.").split(".", 2), "", "")[:3]
        return f"{moved[f'{first}.{second}']}.{rest}" if f"{first}.{second}" in moved else key

    return {renamed(key): value for key, value in state.items()}
