"""Converts torchvision's MobileNet checkpoints into Keras models that give the same logits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np
from keras import layers

from mobilenet_tf import specs
from mobilenet_tf.errors import UserError, missing_extra
from mobilenet_tf.layers import BatchNormalization
from mobilenet_tf.specs import Net

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# The layers that follow the pooling, and epsilon: torchvision/models/mobilenetv2.py, mobilenetv3.py
CLASSIFIERS = {
    "mobilenet_v2": (("classifier.1", "predictions", None),),
    "mobilenet_v3_large": (("classifier.0", "conv_2", "hard_swish"), ("classifier.3", "logits", None)),
    "mobilenet_v3_small": (("classifier.0", "conv_2", "hard_swish"), ("classifier.3", "logits", None)),
}
EPSILON = {"mobilenet_v2": 1e-5, "mobilenet_v3_large": 1e-3, "mobilenet_v3_small": 1e-3}


def from_torchvision(name: str, state: Mapping | str | Path) -> keras.Model:
    """A Keras model from RGB [N, H, W, 3] in 0..255 to torchvision's logits [N, classes]; mean and std are inside.

    name: "mobilenet_v2", "mobilenet_v3_large" or "mobilenet_v3_small".
    state: the state dict (names to numpy arrays or torch tensors) or the path of one, `.pth`, `.safetensors` or `.npz`.
    Any width: all channels are those of the state dict; only strides and activations come from the paper's table.
    torchvision pads both sides alike at stride 2 and uses other epsilons, so these weights belong in this graph alone.
    Raises UserError: another name, unreadable file, missing or surplus tensors, wrong shapes.
    Source: torchvision/models/mobilenetv2.py, mobilenetv3.py.
    """
    if name not in CLASSIFIERS:
        raise UserError(f"The torchvision network must be one of {', '.join(CLASSIFIERS)}. Received: {name}")
    return _Converter(specs.NETS[name], state if isinstance(state, Mapping) else _read(Path(state))).model()


class _Converter:
    """Builds the graph along the state dict and keeps what each layer's weights are to be."""

    def __init__(self, net: Net, state: Mapping):
        self.net = net
        self.state = {k: _array(v) for k, v in state.items() if not k.endswith("num_batches_tracked")}
        self.unused = set(self.state)
        self.weights = []  # (layer, its arrays)

    def model(self) -> keras.Model:
        net, names = self.net, self.net.names
        inputs = keras.Input((None, None, 3), name="image")
        scale, offset = [1 / (255 * s) for s in STD], [-m / s for m, s in zip(MEAN, STD, strict=True)]
        x = layers.Rescaling(scale, offset, name="rescaling")(inputs)
        x = self._conv_bn(x, "features.0.0", names.stem, 2, net.act)
        for i, block in enumerate(net.blocks):
            x = self._block(x, block, i)
        x = self._conv_bn(x, f"features.{len(net.blocks) + 1}.0", names.last, 1, net.act)
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        for i, (path, layer, act) in enumerate(CLASSIFIERS[net.name]):
            if i == len(CLASSIFIERS[net.name]) - 1:
                x = layers.Dropout(0.2, name="dropout")(x)
            kernel, bias = self._take(f"{path}.weight", 2), self._take(f"{path}.bias", 1)
            x = self._add(layers.Dense(len(bias), activation=act, name=layer), x, kernel.T, bias)
        model = keras.Model(inputs, x, name=f"{net.name}_torchvision")
        if self.unused:
            extra = f"{len(self.unused)} tensors more, such as {min(self.unused)}"
            raise UserError(f"The state dict must be that of torchvision's {net.name}. Received: {extra}")
        for layer, arrays in self.weights:
            if [tuple(v.shape) for v in layer.weights] != [a.shape for a in arrays]:
                shapes = f"{[a.shape for a in arrays]} for {layer.name}"
                raise UserError(f"The state dict's shapes must fit together as in {net.name}. Received: {shapes}")
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
            x = self._conv_bn(x, path, names.layer(i, part), stride, act)
            if part == "depthwise" and block.se:
                x = self._squeeze_excite(x, f"{prefix}block.{len(convolutions) - 1}", names.layer(i, "squeeze_excite"))
        if block.stride == 1 and shortcut.shape[-1] == x.shape[-1]:
            x = layers.Add(name=names.layer(i, "add"))([shortcut, x])
        return x

    def _conv_bn(self, x, path, name, stride, act):
        """Convolution, BatchNormalization and activation; torch's padding is the same on both sides."""
        kernel = self._take(f"{path}.weight", 4)  # [out, in / groups, k, k]
        size = kernel.shape[-1]
        padding = "same"
        if stride == 2:
            x = layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
            padding = "valid"
        options = {"strides": stride, "padding": padding, "use_bias": False, "name": name}
        if kernel.shape[1] == 1:
            x = self._add(layers.DepthwiseConv2D(size, **options), x, kernel.transpose(2, 3, 0, 1))
        else:
            x = self._add(layers.Conv2D(kernel.shape[0], size, **options), x, kernel.transpose(2, 3, 1, 0))
        stem, _, last = path.rpartition(".")
        bn = f"{stem}.{int(last) + 1}."
        arrays = [self._take(bn + key, 1) for key in ("weight", "bias", "running_mean", "running_var")]
        names = self.net.names
        norm = BatchNormalization(epsilon=EPSILON[self.net.name], momentum=self.net.bn_momentum, name=names.bn_of(name))
        x = self._add(norm, x, *arrays)
        if act is None:
            return x
        return layers.Activation(act, name=names.act_of(name))(x)

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
        raise UserError(f"The state dict of torchvision's {self.net.name} must hold {key}. Received: {held}")


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
