"""Converts timm's MobileNet checkpoints into Keras models that give the same raw outputs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from mobilenet_tf.models import assembly, specs
from mobilenet_tf.models.blocks import Conv, Fused, MultiQuery, Universal
from mobilenet_tf.models.specs import Net
from mobilenet_tf.models.weights.state_dicts import read
from mobilenet_tf.models.weights.torchvision_converter import normalization
from mobilenet_tf.utils.errors import UserError

# timm's name without its width -> the name in `specs.NETS`
NETS = {
    "mobilenetv1": "mobilenet_v1",
    "mobilenetv2": "mobilenet_v2",
    "mobilenetv3_large": "mobilenet_v3_large",
    "mobilenetv3_small": "mobilenet_v3_small",
    "mobilenetv3_large_minimal": "mobilenet_v3_large_minimalistic",
    "mobilenetv3_small_minimal": "mobilenet_v3_small_minimalistic",
    **{f"mobilenetv4_conv_{size}": f"mobilenet_v4_conv_{size}" for size in ("small", "medium", "large")},
    **{f"mobilenetv4_hybrid_{size}": f"mobilenet_v4_hybrid_{size}" for size in ("medium", "large")},
    "mobilenet_edgetpu": "mobilenet_edgetpu_v1",
    **{f"mobilenet_edgetpu_v2_{size}": f"mobilenet_edgetpu_v2_{size}" for size in ("xs", "s", "m", "l")},
    "mnasnet": "mnasnet_b1",
    "mnasnet_small": "mnasnet_small",
    "semnasnet": "mnasnet_a1",
}

# (names of checkpoints, mean, standard deviation) of pixels in 0..1; others have ImageNet's
HALF = (0.5, 0.5, 0.5)
NORMALIZATIONS = (
    (r"tf_.*|mobilenetv1_.*|mobilenetv4_conv_small(_050.*|\.e3600.*)", HALF, HALF),
    (r"mobilenet_edgetpu_v2_m.*|mobilenetv3_large_100\.ra4.*", HALF, HALF),
    (r"mobilenetv3_large_100\.miil.*", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
)

# kind of block -> (part here, timm's convolution, timm's BatchNorm) in a block
PARTS = {
    Conv: (("conv", "conv", "bn1"),),
    Fused: (("expand", "conv_exp", "bn1"), ("project", "conv_pwl", "bn2")),
    Universal: (
        ("start", "dw_start.conv", "dw_start.bn"),
        ("expand", "pw_exp.conv", "pw_exp.bn"),
        ("depthwise", "dw_mid.conv", "dw_mid.bn"),
        ("project", "pw_proj.conv", "pw_proj.bn"),
        ("scale", "layer_scale", None),
    ),
    MultiQuery: (
        ("norm", "norm", None),
        ("query", "attn.query.proj", None),
        ("key_depthwise", "attn.key.down_conv", "attn.key.norm"),
        ("key", "attn.key.proj", None),
        ("value_depthwise", "attn.value.down_conv", "attn.value.norm"),
        ("value", "attn.value.proj", None),
        ("output", "attn.output.proj", None),
        ("scale", "layer_scale", None),
    ),
}
SQUEEZE_EXCITE = (
    ("squeeze_excite_conv", "se.conv_reduce", None),
    ("squeeze_excite_conv_1", "se.conv_expand", None),
)
EXPANDING = (("expand", "conv_pw", "bn1"), ("depthwise", "conv_dw", "bn2"), ("project", "conv_pwl", "bn3"))
PLAIN = (("depthwise", "conv_dw", "bn1"), ("project", "conv_pw", "bn2"))


def from_timm(name: str, state: Mapping | str | Path, *, mean=None, std=None) -> keras.Model:
    """A Keras model from RGB [N, H, W, 3] in 0..255 to timm's logits [N, classes]; mean and std are inside.

    name: timm's, with or without the tag of the weights, such as "mobilenetv4_conv_small.e2400_r224_in1k": V1 to V4
    without anti-aliasing, MNASNet (`mnasnet`, `semnasnet`) and MobileNet-EdgeTPU at any width.
    state: the state dict (names to numpy arrays or torch tensors) or the path of one, `.safetensors`, `.pth` or `.npz`.
    mean, std: of pixels in 0..1, three numbers each; None: those that timm gives for the name.
    timm pads both sides alike at stride 2, and its BatchNorm's epsilon is PyTorch's, so these weights belong in this
    graph alone; its "tf_" networks have the graph of TensorFlow.
    Raises UserError: another name, unreadable file, missing or surplus tensors, wrong shapes.
    Source: timm/models/mobilenetv3.py, efficientnet.py.
    """
    plain = name.removeprefix("timm/")
    net, alpha = _net(plain)
    arrays = read(state)
    classes = len(_taken(arrays, "classifier.bias", plain))
    image = keras.Input((None, None, 3), name="image")
    default_mean, default_std = _normalization(plain)
    x = normalization(mean or default_mean, std or default_std)(image)
    features = assembly.endpoints(net, x, alpha)["s32"]
    logits = assembly.TOPS[net.top](net, features, alpha, 0.2, classes, None)
    model = keras.Model(image, logits, name=plain.replace(".", "_"))
    _assign(model, dict(_sources(net, arrays, plain)), arrays, plain)
    return model


def _net(name: str) -> tuple[Net, float]:
    """The network with the padding, the epsilon and the activations of timm's, and its width."""
    match = re.fullmatch(r"(tf_)?(.+?)(?:_(\d{3}))?", name.split(".")[0])
    if not match or match[2] not in NETS:
        known = ", ".join(NETS)
        raise UserError(f"The timm network must be one of {known}, with its width where it has one. Received: {name}")
    net, alpha = specs.NETS[NETS[match[2]]], int(match[3] or 100) / 100
    if match[1]:
        return net, alpha
    first = net.blocks[0]
    if isinstance(first, Conv):  # timm's has an activation in MobileNet-EdgeTPU too
        first = replace(first, act=net.act)
    return replace(net, blocks=(first, *net.blocks[1:]), padding="symmetric", bn_epsilon=specs.TORCH_EPSILON), alpha


def _normalization(name: str):
    imagenet = specs.IMAGENET_MEAN, specs.IMAGENET_STD
    return next(((mean, std) for names, mean, std in NORMALIZATIONS if re.fullmatch(names, name)), imagenet)


def _sources(net: Net, arrays: Mapping, name: str) -> Iterator[tuple[str, str]]:
    """(name of a layer with weights, prefix of its tensors) for all that the network may have."""
    names = net.names
    rows: list[tuple] = [("", names.stem, "conv_stem", "bn1")]
    numbers = {tuple(map(int, key.split(".")[1:3])) for key in arrays if re.match(r"blocks\.\d+\.\d+\.", key)}
    paths = [f"blocks.{stage}.{index}." for stage, index in sorted(numbers)]
    if len(paths) - len(net.blocks) not in (0, 1):
        raise UserError(f"The state dict of timm's {name} must hold {len(net.blocks)} blocks. Received: {len(paths)}")
    for i, (block, path) in enumerate(zip(net.blocks, paths, strict=False), names.start):
        parts = PARTS.get(type(block)) or (*(EXPANDING if block.expand else PLAIN), *SQUEEZE_EXCITE)
        rows += [(path, names.layer(i, part), conv, bn) for part, conv, bn in parts]
    # The convolution after the blocks is a block of its own where one follows the pooling
    after = (paths[-1], "conv", "bn1") if len(paths) > len(net.blocks) else ("", "conv_head", "bn2")
    rows += [(after[0], names.last, *after[1:])] if names.last else []
    rows += [("", names.head, "conv_head", "norm_head")] if names.head else []
    rows.append(("", names.classifier, "classifier", None))
    for path, layer, conv, bn in rows:
        yield layer, path + conv
        if bn:
            yield names.bn_of(layer), path + bn


def _assign(model: keras.Model, sources: Mapping, arrays: Mapping, name: str) -> None:
    """Gives every layer its tensors, if all are there, fit and are used."""
    values = {layer: _values(layer, sources[layer.name], arrays, name) for layer in model.layers if layer.weights}
    for layer, found in values.items():
        if [tuple(v.shape) for v in layer.weights] != [a.shape for a in found]:
            shapes = f"{[a.shape for a in found]} for {sources[layer.name]}"
            wanted = [tuple(v.shape) for v in layer.weights]
            raise UserError(f"The state dict's shapes must be those of {name}, {wanted}. Received: {shapes}")
    used = {key for layer in values for key in _keys(layer, sources[layer.name])}
    if surplus := sorted(set(arrays) - used):
        extra = f"{len(surplus)} tensors more, such as {surplus[0]}"
        raise UserError(f"The state dict must be that of timm's {name}. Received: {extra}")
    for layer, found in values.items():
        layer.set_weights(found)


def _keys(layer, prefix: str) -> list[str]:
    """The names of the tensors of a layer, in Keras's order."""
    if hasattr(layer, "moving_mean"):
        return [f"{prefix}.{key}" for key in ("weight", "bias", "running_mean", "running_var")]
    return [f"{prefix}.{key}" for key in ("gamma",) if hasattr(layer, "gamma")] or [
        f"{prefix}.{key}" for key in ("weight", "bias")[: len(layer.weights)]
    ]


def _values(layer, prefix: str, arrays: Mapping, name: str) -> list[np.ndarray]:
    """The tensors of a layer as Keras stores them."""
    first, *others = (_taken(arrays, key, name) for key in _keys(layer, prefix))
    if first.ndim == 2:  # a dense layer, which may be a 1x1 convolution here
        first = first.T
    elif first.ndim == 4:
        is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        first = first.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0))
    if first.ndim == 2 and len(layer.weights[0].shape) == 4:
        first = first[None, None]
    return [first, *others]


def _taken(arrays: Mapping, key: str, name: str) -> np.ndarray:
    if key not in arrays:
        held = f"{len(arrays)} tensors, the first {next(iter(arrays), None)}"
        raise UserError(f"The state dict of timm's {name} must hold {key}. Received: {held}")
    return arrays[key]
