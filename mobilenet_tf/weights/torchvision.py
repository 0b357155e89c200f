"""Converts torchvision's MobileNet checkpoints into Keras models that give the same raw outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import layers

from mobilenet_tf import specs
from mobilenet_tf.errors import UserError, missing_extra
from mobilenet_tf.layers import BatchNormalization, Conv2D
from mobilenet_tf.specs import Net

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The layers that follow the pooling, and epsilon: torchvision/models/mobilenetv2.py, mobilenetv3.py
CLASSIFIERS = {
    "mobilenet_v2": (("classifier.1", "predictions", None),),
    "mobilenet_v3_large": (("classifier.0", "conv_2", "hard_swish"), ("classifier.3", "logits", None)),
    "mobilenet_v3_small": (("classifier.0", "conv_2", "hard_swish"), ("classifier.3", "logits", None)),
}
EPSILON = {"mobilenet_v2": 1e-5, "mobilenet_v3_large": 1e-3, "mobilenet_v3_small": 1e-3}
DETECTOR, DETECTOR_SIZE = "ssdlite320_mobilenet_v3_large", 320
YXHW = (1, 0, 3, 2)  # torchvision's regressions are (dx, dy, dw, dh)


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
    from mobilenet_tf.weights import torchvision_segmentation as segmentation  # builds on this module

    known = (*CLASSIFIERS, DETECTOR, *segmentation.SEGMENTERS)
    if name not in known:
        raise UserError(f"The torchvision network must be one of {', '.join(known)}. Received: {name}")
    state = state if isinstance(state, Mapping) else _read(Path(state))
    if name in segmentation.SEGMENTERS:
        return segmentation.convert(name, state)
    if name == DETECTOR:
        net = specs.V3_LARGE
        return Converter(name, net, _as_classifier(net, state)).detector()
    return Converter(name, specs.NETS[name], state).classifier()


def _down_to_32(net: Net) -> int:
    """The block from stride 16 to 32."""
    return max(i for i, block in enumerate(net.blocks) if block.stride == 2)


def _as_classifier(net: Net, state: Mapping) -> dict:
    """The state dict with its backbone under a classifier's names: a detector cuts it behind the last expansion."""
    cut = _down_to_32(net) + 1  # features.0 is the stem
    moved = {f"0.{i}": f"features.{i}" for i in range(cut)}
    moved |= {f"0.{cut}": f"features.{cut}.block.0", "1.0": f"features.{cut}.block"}
    moved |= {f"1.{i}": f"features.{cut + i}" for i in range(1, len(net.blocks) + 2 - cut)}

    def renamed(key):
        first, second, rest = (*key.removeprefix("backbone.features.").split(".", 2), "", "")[:3]
        return f"{moved[f'{first}.{second}']}.{rest}" if f"{first}.{second}" in moved else key

    return {renamed(key): value for key, value in state.items()}


class Converter:
    """Builds the graph along the state dict and keeps what each layer's weights are to be."""

    def __init__(self, name: str, net: Net, state: Mapping, rates: Mapping[int, int] | None = None):
        self.name = name
        self.net = net
        self.rates = rates or {}  # dilation of the blocks that have one
        self.state = {k: _array(v) for k, v in state.items() if not k.endswith("num_batches_tracked")}
        self.unused = set(self.state)
        self.weights = []  # (layer, its arrays)
        self.maps = {}  # name of a convolution -> its map, after the BatchNormalization and the activation

    def classifier(self) -> keras.Model:
        inputs = keras.Input((None, None, 3), name="image")
        scale, offset = [1 / (255 * s) for s in STD], [-m / s for m, s in zip(MEAN, STD, strict=True)]
        x = self._features(layers.Rescaling(scale, offset, name="rescaling")(inputs))
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        for i, (path, layer, act) in enumerate(CLASSIFIERS[self.name]):
            if i == len(CLASSIFIERS[self.name]) - 1:
                x = layers.Dropout(0.2, name="dropout")(x)
            kernel, bias = self._take(f"{path}.weight", 2), self._take(f"{path}.bias", 1)
            x = self._add(layers.Dense(len(bias), activation=act, name=layer), x, kernel.T, bias)
        return self._finished(keras.Model(inputs, x, name=f"{self.name}_torchvision"))

    def detector(self) -> keras.Model:
        inputs = keras.Input((DETECTOR_SIZE, DETECTOR_SIZE, 3), name="image")
        x = self._features(layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(inputs))
        maps = [self.maps[self.net.names.layer(_down_to_32(self.net), "expand")], x]
        while min(x.shape[1:3]) > 1:
            i = len(maps) - 2
            for j, (part, stride) in enumerate((("reduce", 1), ("depthwise", 2), ("project", 1))):
                x = self._conv_bn(x, f"backbone.extra.{i}.{j}.0", f"extra_{i}_{part}", stride, "relu6")
            maps.append(x)
        # The anchors of a cell, from the four regressions of each
        count = len(self._take("head.regression_head.module_list.0.1.bias", 1)) // 4
        outputs = {
            "class_logits": self._head(maps, "classification_head", "class", count),
            "box_regressions": self._head(maps, "regression_head", "box", count, YXHW),
        }
        return self._finished(keras.Model(inputs, outputs, name=f"{self.name}_torchvision"))

    def _head(self, maps, path, name, count, order=None):
        """[N, A, width] of all maps' depthwise-separable predictions; `order` permutes the width."""
        rows = []
        for i, x in enumerate(maps):
            block = f"head.{path}.module_list.{i}"
            x = self._conv_bn(x, f"{block}.0.0", f"{name}_{i}_depthwise", 1, "relu6")
            kernel, bias = self._take(f"{block}.1.weight", 4), self._take(f"{block}.1.bias", 1)
            width = len(bias) // count
            if order:
                channels = np.arange(len(bias)).reshape(-1, width)[:, order].ravel()
                kernel, bias = kernel[channels], bias[channels]
            layer = layers.Conv2D(len(bias), 1, name=f"{name}_{i}")
            x = self._add(layer, x, kernel.transpose(2, 3, 1, 0), bias)
            rows.append(layers.Reshape((-1, width), name=f"{name}_{i}_rows")(x))
        return layers.Concatenate(axis=1, name="class_logits" if name == "class" else "box_regressions")(rows)

    def _features(self, x):
        net, names = self.net, self.net.names
        x = self._conv_bn(x, "features.0.0", names.stem, 2, net.act)
        for i, block in enumerate(net.blocks):
            x = self._block(x, block, i)
        return self._conv_bn(x, f"features.{len(net.blocks) + 1}.0", names.last, 1, net.act)

    def _finished(self, model: keras.Model) -> keras.Model:
        """The model with its weights, if they are all used and fit."""
        if self.unused:
            extra = f"{len(self.unused)} tensors more, such as {min(self.unused)}"
            raise UserError(f"The state dict must be that of torchvision's {self.name}. Received: {extra}")
        for layer, arrays in self.weights:
            if [tuple(v.shape) for v in layer.weights] != [a.shape for a in arrays]:
                shapes = f"{[a.shape for a in arrays]} for {layer.name}"
                raise UserError(f"The state dict's shapes must fit together as in {self.name}. Received: {shapes}")
            layer.set_weights(arrays)
        return model

    def _block(self, x, block, i):
        names, shortcut, prefix = self.net.names, x, f"features.{i + 1}."
        # V2: conv.0.0, conv.1.0, conv.2; V3: block.0.0, block.1.0, ..., with the squeeze-excite in between
        convolutions = sorted(
            k.removesuffix(".weight")
            for k, v in self.state.items()
            if k.startswith(prefix) and k.endswith(".weight") and v.ndim == 4 and ".fc" not in k
        )
        parts = ("expand", "depthwise", "project")[3 - len(convolutions) :]
        if len(convolutions) not in (2, 3):
            self._missing(prefix + "*.weight")
        for path, part in zip(convolutions, parts, strict=True):
            stride = block.stride if part == "depthwise" else 1
            act = None if part == "project" else block.act
            rate = self.rates.get(i, 1) if part == "depthwise" else 1
            x = self._conv_bn(x, path, names.layer(i, part), stride, act, rate)
            if part == "depthwise" and block.se:
                x = self._squeeze_excite(x, f"{prefix}block.{len(convolutions) - 1}", names.layer(i, "squeeze_excite"))
        if block.stride == 1 and shortcut.shape[-1] == x.shape[-1]:
            x = layers.Add(name=names.layer(i, "add"))([shortcut, x])
        return x

    def _conv_bn(self, x, path, name, stride, act, rate=1, epsilon=None):
        """Convolution, BatchNormalization and activation; torch's padding is the same on both sides."""
        kernel = self._take(f"{path}.weight", 4)  # [out, in / groups, k, k]
        size = kernel.shape[-1]
        padding = "same"
        if stride == 2:
            x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
            padding = "valid"
        options = {"strides": stride, "dilation_rate": rate, "padding": padding, "use_bias": False, "name": name}
        if kernel.shape[1] == 1:
            x = self._add(layers.DepthwiseConv2D(size, **options), x, kernel.transpose(2, 3, 0, 1))
        else:
            x = self._add(Conv2D(kernel.shape[0], size, **options), x, kernel.transpose(2, 3, 1, 0))
        stem, _, last = path.rpartition(".")
        bn = f"{stem}.{int(last) + 1}."
        arrays = [self._take(bn + key, 1) for key in ("weight", "bias", "running_mean", "running_var")]
        names = self.net.names
        epsilon = epsilon or EPSILON[self.net.name]
        norm = BatchNormalization(epsilon=epsilon, momentum=self.net.bn_momentum, name=names.bn_of(name))
        x = self._add(norm, x, *arrays)
        self.maps[name] = layers.Activation(act, name=names.act_of(name))(x) if act else x
        return self.maps[name]

    def _squeeze_excite(self, x, path, name):
        y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_avg_pool")(x)
        for key, part, act in (("fc1", "conv", "relu"), ("fc2", "conv_1", "hard_sigmoid")):
            kernel, bias = self._take(f"{path}.{key}.weight", 4), self._take(f"{path}.{key}.bias", 1)
            layer = layers.Conv2D(len(bias), 1, activation=act, name=f"{name}_{part}")
            y = self._add(layer, y, kernel.transpose(2, 3, 1, 0), bias)
        return layers.Multiply(name=f"{name}_mul")([x, y])

    def _add(self, layer, x, *arrays):
        self.weights.append((layer, arrays))
        return layer(x)

    def _take(self, key: str, rank: int) -> np.ndarray:
        array = self.state.get(key)
        if array is None or array.ndim != rank:
            self._missing(key)
        self.unused.discard(key)
        return array

    def _missing(self, key: str):
        held = f"{len(self.state)} tensors, the first {next(iter(self.state), None)}"
        raise UserError(f"The state dict of torchvision's {self.name} must hold {key}. Received: {held}")


def _array(value) -> np.ndarray:
    if hasattr(value, "detach"):  # a torch tensor, of any float type and device
        value = value.detach().cpu().float().numpy()
    return np.asarray(value, np.float32)


def _read(path: Path) -> Mapping:
    """The state dict in a file."""
    readers = {".pth": _read_torch, ".pt": _read_torch, ".safetensors": _read_safetensors, ".npz": _read_npz}
    if path.suffix not in readers or not path.is_file():
        raise UserError(f"The state dict must be a .pth, .safetensors or .npz file that exists. Received: {path}")
    try:
        state = readers[path.suffix](path)
    except UserError:
        raise
    except Exception as error:  # each reader has its own exceptions for damaged files
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"The state dict must be readable as plain tensors ({reason}). Received: {path}") from error
    if not isinstance(state, Mapping):
        raise UserError(f"The state dict must be a mapping of names to tensors. Received: {type(state)} in {path}")
    return state


def _read_torch(path):
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", "torch") from error
    return torch.load(path, map_location="cpu", weights_only=True)


def _read_safetensors(path):
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise missing_extra("safetensors", "torch") from error
    return load_file(path)


def _read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        return dict(file)
