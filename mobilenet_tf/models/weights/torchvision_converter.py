"""Carries the tensors of torchvision checkpoints over to Keras layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import layers

from mobilenet_tf.models.layers import BatchNormalization, Conv2D
from mobilenet_tf.models.specs import BN_EPSILON, TORCH_EPSILON, Net
from mobilenet_tf.models.specs import IMAGENET_MEAN as MEAN
from mobilenet_tf.models.specs import IMAGENET_STD as STD
from mobilenet_tf.utils.errors import UserError

# The layers that follow the pooling in the state dict: torchvision/models/mobilenetv2.py, mobilenetv3.py
CLASSIFIERS = {
    "mobilenet_v2": ("classifier.1",),
    "mobilenet_v3_large": ("classifier.0", "classifier.3"),
    "mobilenet_v3_small": ("classifier.0", "classifier.3"),
}

EPSILON = {"mobilenet_v2": TORCH_EPSILON}  # of the backbone; the others have that of keras.applications

DETECTOR, DETECTOR_SIZE = "ssdlite320_mobilenet_v3_large", 320

YXHW = (1, 0, 3, 2)  # torchvision's regressions are (dx, dy, dw, dh)


class Converter:
    """Builds the graph along the state dict and keeps what each layer's weights are to be."""

    def __init__(self, name: str, net: Net, state: Mapping, rates: Mapping[int, int] | None = None):
        self.name = name
        self.net = net
        self.rates = rates or {}  # dilation of the blocks that have one
        self.state = dict(state)
        self.unused = set(self.state)
        self.weights = []  # (layer, its arrays)
        self.maps = {}  # name of a convolution -> its map, after the BatchNormalization and the activation

    def classifier(self) -> keras.Model:
        """Images [N, H, W, 3] in 0..255 to logits [N, classes]."""
        inputs = keras.Input((None, None, 3), name="image")
        x = self._features(normalization()(inputs))
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        *heads, last = CLASSIFIERS[self.name]
        for path in (*heads, last):
            layer, act = (self.net.names.head, self.net.act) if path in heads else (self.net.names.classifier, None)
            if path == last:
                x = layers.Dropout(0.2, name="dropout")(x)
            kernel, bias = self._take(f"{path}.weight", 2), self._take(f"{path}.bias", 1)
            x = self._add(layers.Dense(len(bias), activation=act, name=layer), x, kernel.T, bias)
        return self._finished(keras.Model(inputs, x, name=f"{self.name}_torchvision"))

    def detector(self) -> keras.Model:
        """Images [N, 320, 320, 3] in 0..255 to the dict of "class_logits" and "box_regressions"."""
        inputs = keras.Input((DETECTOR_SIZE, DETECTOR_SIZE, 3), name="image")
        x = self._features(layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(inputs))
        maps = [self.maps[self.net.names.layer(self.net.down_to(32), "expand")], x]
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
        epsilon = epsilon or EPSILON.get(self.net.name, BN_EPSILON)
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


def normalization(mean=MEAN, std=STD) -> layers.Rescaling:
    """The layer that subtracts a mean from images in 0..255 and divides by a standard deviation, both of 0..1."""
    scale: Any = [1 / (255 * s) for s in std]  # one number a channel, which the stubs do not know
    offset: Any = [-m / s for m, s in zip(mean, std, strict=True)]
    return layers.Rescaling(scale, offset, name="rescaling")
