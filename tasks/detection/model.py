"""SSDLite, plain SSD and FPNLite detectors: backbone endpoints -> feature maps -> class logits and box regressions."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

from mobilenet_tf.models import builder, specs
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.models.weights import load as load_weights
from mobilenet_tf.tasks.detection.anchors import FPN_LEVELS, anchor_spec, map_sizes
from mobilenet_tf.utils.errors import UserError

# Channels at alpha 1 of the maps behind the backbone, and of all maps after those; TF Object Detection
EXTRA_CHANNELS, DEEPER_CHANNELS = (512, 256, 256, 128), 128
MIN_CHANNELS = 16  # of these maps at any alpha; TF Object Detection's min_depth
PRIOR_PROBABILITY = 0.01  # probability of an object at the start, for the focal loss: arXiv:1708.02002, section 3.3
# BatchNorm momentum of the heads: TF Object Detection's ssdlite_mobilenet_v3 configs and torchvision; its fpnlite ones
BN_MOMENTUM = {"ssdlite": 0.97, "ssd": 0.97, "fpnlite": 0.997}
# Kernels of the heads: TF Object Detection's configs; plain SSD as in Caffe and torchvision
KERNEL_INITIALIZERS = {
    "ssdlite": functools.partial(keras.initializers.TruncatedNormal, stddev=0.03),
    "ssd": keras.initializers.GlorotUniform,
    "fpnlite": functools.partial(keras.initializers.RandomNormal, stddev=0.01),
}


def detector(
    backbone: str,
    classes: int,
    *,
    alpha: float = 1.0,
    input_size: tuple[int, int] = (320, 320),
    head: str = "ssdlite",
    reduced_tail: bool = False,
    scores: str = "softmax",
    anchors: Mapping | None = None,
    fpn_channels: int = 128,
    fpn_layers: int = 4,
    weights: str | None = None,
) -> keras.Model:
    """Images [N, H, W, 3] in 0..255 to {"class_logits": [N, A, C + 1] or [N, A, C], "box_regressions": [N, A, 4]}.

    The A anchors are those of `anchors_for`; the regressions are `boxes.encode`'s (ty, tx, th, tw).

    Args:
        head: "ssdlite", separable heads and extra maps down to 1x1; "ssd", the same with full 3x3 convolutions;
            "fpnlite", a feature pyramid of levels 3 to 7 and heads that all levels share.
        reduced_tail: V3: half the channels from stride 32 on (V3 paper, section 6.2).
        scores: "softmax": class 0 is the background; "sigmoid": no background, biased to a prior of 0.01.
        anchors: options of `anchor_spec`.
        fpn_channels, fpn_layers: width of the pyramid and its heads, and how many convolutions these have.
        weights: of the backbone: "imagenet", a path, or None, see `mobilenet_tf.models.weights.load`.
    Raises UserError. Sources: arXiv:1801.04381, section 6.2; arXiv:1905.02244, section 6.2; arXiv:1512.02325.
    """
    if scores not in ("softmax", "sigmoid"):
        raise UserError(f"scores must be softmax or sigmoid. Received: {scores}")
    spec = anchor_spec(backbone, input_size, head, **(anchors or {}))
    image = keras.Input((*input_size, 3), name="image")
    last = "detection" in specs.find(backbone).last_map
    endpoints = builder.backbone(backbone, alpha, (*input_size, 3), reduced_tail=reduced_tail, last=last)(image)
    width = classes + (scores == "softmax")
    prior = keras.initializers.Constant(
        0.0 if scores == "softmax" else -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
    )
    outputs = {"class": (width, prior), "box": (4, "zeros")}
    if head == "fpnlite":
        raw = _fpn_heads(_pyramid(endpoints, fpn_channels), spec.counts, outputs, fpn_channels, fpn_layers)
    else:
        maps = _ssd_maps(endpoints, map_sizes(backbone, input_size, head), alpha, head)
        raw = {name: _ssd_heads(maps, spec.counts, name, width, bias, head) for name, (width, bias) in outputs.items()}
    # float32 in mixed precision too
    joined = {
        name: layers.Concatenate(axis=1, dtype="float32", name=name)(raw[key])
        for key, name in (("class", "class_logits"), ("box", "box_regressions"))
    }
    model = keras.Model(image, joined, name=f"{backbone}_{head}")
    if weights:
        load_weights(model, weights)
    return model


# SSD and SSDLite ---------------------------------------------------------------------------------


def _ssd_maps(endpoints, sizes, alpha, head):
    """The first map at stride 16, where it is widest; the backbone's last; and as many more as `sizes` has."""
    x = endpoints["s32"]
    maps = [endpoints.get("s16_expand", endpoints["s16"]), x]
    for i in range(len(sizes) - 2):
        depth = EXTRA_CHANNELS[i] if i < len(EXTRA_CHANNELS) else DEEPER_CHANNELS
        depth = max(MIN_CHANNELS, specs.make_divisible(depth * alpha))
        x = _conv(x, max(MIN_CHANNELS, depth // 2), 1, f"extra_{i}_reduce", head)
        if head == "ssdlite":
            x = _depthwise(x, f"extra_{i}_depthwise", head, strides=2)
            x = _conv(x, depth, 1, f"extra_{i}_project", head)
        else:
            x = _conv(x, depth, 3, f"extra_{i}_conv", head, strides=2)
        maps.append(x)
    return maps


def _ssd_heads(maps, counts, name, width, bias, head):
    """One output for every map: [N, cells * count, width] each."""
    outputs = []
    for i, (x, count) in enumerate(zip(maps, counts, strict=True)):
        kernel = 3
        if head == "ssdlite":
            x, kernel = _depthwise(x, f"{name}_{i}_depthwise", head), 1
        predict = layers.Conv2D(
            count * width,
            kernel,
            padding="same",
            kernel_initializer=KERNEL_INITIALIZERS[head](),
            bias_initializer=bias,
            name=f"{name}_{i}",
        )
        outputs.append(layers.Reshape((-1, width), name=f"{name}_{i}_rows")(predict(x)))
    return outputs


def _conv(x, filters, kernel, name, head, strides=1):
    options = {"padding": "same", "use_bias": False, "kernel_initializer": KERNEL_INITIALIZERS[head]()}
    x = layers.Conv2D(filters, kernel, strides=strides, name=name, **options)(x)
    return _bn_relu(x, name, head)


def _depthwise(x, name, head, strides=1):
    options = {"padding": "same", "use_bias": False, "depthwise_initializer": KERNEL_INITIALIZERS[head]()}
    x = layers.DepthwiseConv2D(3, strides=strides, name=name, **options)(x)
    return _bn_relu(x, name, head)


def _bn_relu(x, name, head):
    x = BatchNormalization(momentum=BN_MOMENTUM[head], name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


# FPNLite -----------------------------------------------------------------------------------------


def _pyramid(endpoints, channels):
    """The maps P3 to P7: top-down from stride 32 to 8, and two more below.

    Source: TF Object Detection, ssd_mobilenet_v2_fpn_keras_feature_extractor.py, feature_map_generators.py.
    """
    maps = []
    for level, name in ((5, "s32"), (4, "s16"), (3, "s8")):
        lateral = layers.Conv2D(
            channels, 1, kernel_initializer=KERNEL_INITIALIZERS["fpnlite"](), name=f"lateral_{level}"
        )
        x = lateral(endpoints[name])
        if maps:
            x = layers.Add(name=f"merge_{level}")([_double(maps[0], x.shape[1:3], level), x])
            x = _bn_relu(_separable(f"smooth_{level}", channels)(x), f"smooth_{level}", "fpnlite")
        maps.insert(0, x)
    for level in FPN_LEVELS[3:]:
        name = f"down_{level}"
        maps.append(_bn_relu(_separable(name, channels, strides=2)(maps[-1]), name, "fpnlite"))
    return maps


def _double(x, size, level):
    """A map twice as fine, of the given size: on odd sizes a row and a column less, or more (V1).

    No keras.layers.Resizing here: called without `training`, it turns on training for all layers after it.
    """
    x = layers.UpSampling2D(2, interpolation="nearest", name=f"up_{level}")(x)
    surplus = [have - want for have, want in zip(x.shape[1:3], size, strict=True)]
    if max(surplus) > 0:
        x = layers.Cropping2D([(0, max(0, n)) for n in surplus], name=f"up_{level}_crop")(x)
    if min(surplus) < 0:
        x = layers.ZeroPadding2D([(0, max(0, -n)) for n in surplus], name=f"up_{level}_pad")(x)
    return x


def _fpn_heads(maps, counts, outputs, channels, depth):
    """Like `_ssd_heads`, by output: one tower for all levels and outputs, with BatchNorm of its own for each level.

    Source: TF Object Detection, WeightSharedConvolutionalBoxPredictor with share_prediction_tower.
    """
    if len(set(counts)) > 1:
        raise UserError(f"anchors of fpnlite must be as many on each map: its heads are shared. Received: {counts}")
    tower = [_separable(f"tower_{i}", channels) for i in range(depth)]
    predict = {
        name: _separable(name, counts[0] * width, bias_initializer=bias) for name, (width, bias) in outputs.items()
    }
    raw = {name: [] for name in outputs}
    for level, x in zip(FPN_LEVELS, maps, strict=True):
        for i, layer in enumerate(tower):
            x = _bn_relu(layer(x), f"tower_{i}_level_{level}", "fpnlite")
        for name, (width, _) in outputs.items():
            raw[name].append(layers.Reshape((-1, width), name=f"{name}_{level}_rows")(predict[name](x)))
    return raw


def _separable(name, filters, strides=1, bias_initializer: Any = None):
    """A depthwise and a 1x1 convolution with nothing in between, as a function that shares them between its calls."""
    initializer = KERNEL_INITIALIZERS["fpnlite"]
    depthwise = layers.DepthwiseConv2D(
        3,
        strides=strides,
        padding="same",
        use_bias=False,
        depthwise_initializer=initializer(),
        name=f"{name}_depthwise",
    )
    pointwise = layers.Conv2D(
        filters,
        1,
        use_bias=bias_initializer is not None,
        kernel_initializer=initializer(),
        bias_initializer=bias_initializer,
        name=name,
    )
    return lambda x: pointwise(depthwise(x))
