"""One builder: a `Net` table -> a Keras functional model with named endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from mobilenet_tf.models import specs
from mobilenet_tf.models.assembly import TOPS, endpoints
from mobilenet_tf.models.specs import Net
from mobilenet_tf.models.weights import load as load_weights
from mobilenet_tf.models.weights.identity import Identity, with_identity
from mobilenet_tf.utils.errors import UserError

MIN_SIZE = 32  # pixels; as in keras.applications


def MobileNetV1(
    input_shape=None,
    alpha=1.0,
    depth_multiplier=1,
    dropout=1e-3,
    include_top=True,
    weights="imagenet",
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name=None,
    output_stride=32,
    include_preprocessing=True,
) -> keras.Model:
    """MobileNet V1 from RGB [N, H, W, 3] in 0..255 to class scores [N, classes]; the arguments of keras.applications.

    See `network` for the arguments.
    Raises UserError. Source: arXiv:1704.04861, Table 1; keras.applications.MobileNet.
    """
    return network(specs.V1, **locals())


def MobileNetV2(
    input_shape=None,
    alpha=1.0,
    include_top=True,
    weights="imagenet",
    input_tensor=None,
    pooling=None,
    classes=1000,
    classifier_activation="softmax",
    name=None,
    output_stride=32,
    include_preprocessing=True,
) -> keras.Model:
    """MobileNet V2 from RGB [N, H, W, 3] in 0..255 to class scores [N, classes]; the arguments of keras.applications.

    See `network` for the arguments.
    Raises UserError. Source: arXiv:1801.04381, Table 2; keras.applications.MobileNetV2.
    """
    return network(specs.V2, **locals())


def MobileNetV3Large(
    input_shape=None,
    alpha=1.0,
    minimalistic=False,
    include_top=True,
    weights="imagenet",
    input_tensor=None,
    classes=1000,
    pooling=None,
    dropout_rate=0.2,
    classifier_activation="softmax",
    include_preprocessing=True,
    name="MobileNetV3Large",
    output_stride=32,
) -> keras.Model:
    """MobileNet V3-Large from RGB [N, H, W, 3] in 0..255 to class scores; the arguments of keras.applications.

    minimalistic: no 5x5 kernels, squeeze-excite or hard-swish. See `network` for the other arguments.
    Raises UserError. Source: arXiv:1905.02244, Table 1; keras.applications.MobileNetV3Large.
    """
    return _v3("mobilenet_v3_large", **locals())


def MobileNetV3Small(
    input_shape=None,
    alpha=1.0,
    minimalistic=False,
    include_top=True,
    weights="imagenet",
    input_tensor=None,
    classes=1000,
    pooling=None,
    dropout_rate=0.2,
    classifier_activation="softmax",
    include_preprocessing=True,
    name="MobileNetV3Small",
    output_stride=32,
) -> keras.Model:
    """MobileNet V3-Small from RGB [N, H, W, 3] in 0..255 to class scores; the arguments of keras.applications.

    minimalistic: no 5x5 kernels, squeeze-excite or hard-swish. See `network` for the other arguments.
    Raises UserError. Source: arXiv:1905.02244, Table 2; keras.applications.MobileNetV3Small.
    """
    return _v3("mobilenet_v3_small", **locals())


def _v3(base, *, minimalistic, dropout_rate, **keywords):
    net = specs.find(f"{base}_minimalistic" if minimalistic else base)
    return network(net, dropout=dropout_rate, **keywords)


def backbone(
    name: str,
    alpha: float = 1.0,
    input_shape=(None, None, 3),
    output_stride: int = 32,
    reduced_tail: bool = False,
    weights: str | None = None,
    last: bool = True,
) -> keras.Model:
    """The model "backbone" from RGB [N, H, W, 3] in 0..255 to a dict of its feature maps.

    "s2", "s4", "s8", "s16": the last map at that stride, before the network goes down.
    "s16_expand":            the expansion of the block from stride 16 to 32, its depthwise input (V2 and V3 only).
    "s32":                   the last map of all: V1 conv_pw_13_relu, V2 out_relu, V3 the activation after conv_1; that
                             of the last block where `last` is false, which leaves out the 1x1 convolution after it.
    The keys name positions in the network, so that heads find them at any output stride; with `output_stride` 16 or 8
    the maps beyond it stay at that stride (their blocks dilate). `reduced_tail` halves the channels of the blocks
    from stride 32 on (V3 only). Raises UserError.
    """
    net = specs.find(name)
    if reduced_tail and not net.reducible:
        raise UserError(
            f"reduced_tail must be false for {name}; only V3 has one. Received: reduced_tail={reduced_tail}"
        )
    inputs, x = _inputs(input_shape, None, True)
    maps = endpoints(net.reduced() if reduced_tail else net, x, alpha, output_stride, last=last)
    model = with_identity(keras.Model(inputs, maps, name="backbone"), Identity(name, alpha, reduced_tail))
    if weights is not None:
        load_weights(model, weights)
    return model


@dataclass(frozen=True)
class Builder:
    """Builds one network of `specs.NETS`: MobileNetV4, MobileDet, MNASNet, MobileNet-EdgeTPU and MobileNet-Multi.

    `mobilenet_tf` has MobileNetV4ConvSmall, ...Medium, ...Large and ...MediumSeg, MobileNetV4HybridMedium and ...Large,
    MobileDetCPU, ...DSP and ...EdgeTPU, MobileNetEdgeTPUV1, MobileNetEdgeTPUV2XS, ...S, ...M and ...L, MNASNetA1, ...B1
    and ...Small, MobileNetMultiMAX, ...AVG, ...MAXSeg and ...AVGSeg. Keras publishes no weights of these networks.
    """

    name: str  # in `specs.NETS`, and in the key model.backbone of configs

    def __call__(
        self,
        input_shape=None,
        alpha=1.0,
        include_top=True,
        weights=None,
        input_tensor=None,
        classes=1000,
        pooling=None,
        dropout=0.2,
        classifier_activation="softmax",
        include_preprocessing=True,
        name=None,
        output_stride=32,
    ) -> keras.Model:
        """The network from RGB [N, H, W, 3] in 0..255 to class scores [N, classes].

        See `network` for the arguments. Raises UserError.
        """
        options = {key: value for key, value in locals().items() if key != "self"}
        return network(specs.find(self.name), **options)


MobileNetV4ConvSmall = Builder("mobilenet_v4_conv_small")
MobileNetV4ConvMedium = Builder("mobilenet_v4_conv_medium")
MobileNetV4ConvLarge = Builder("mobilenet_v4_conv_large")
MobileNetV4ConvMediumSeg = Builder("mobilenet_v4_conv_medium_seg")
MobileNetV4HybridMedium = Builder("mobilenet_v4_hybrid_medium")
MobileNetV4HybridLarge = Builder("mobilenet_v4_hybrid_large")
MobileDetCPU = Builder("mobiledet_cpu")
MobileDetDSP = Builder("mobiledet_dsp")
MobileDetEdgeTPU = Builder("mobiledet_edgetpu")
MobileNetEdgeTPUV1 = Builder("mobilenet_edgetpu_v1")
MobileNetEdgeTPUV2XS = Builder("mobilenet_edgetpu_v2_xs")
MobileNetEdgeTPUV2S = Builder("mobilenet_edgetpu_v2_s")
MobileNetEdgeTPUV2M = Builder("mobilenet_edgetpu_v2_m")
MobileNetEdgeTPUV2L = Builder("mobilenet_edgetpu_v2_l")
MNASNetA1 = Builder("mnasnet_a1")
MNASNetB1 = Builder("mnasnet_b1")
MNASNetSmall = Builder("mnasnet_small")
MobileNetMultiMAX = Builder("mobilenet_multi_max")
MobileNetMultiAVG = Builder("mobilenet_multi_avg")
MobileNetMultiMAXSeg = Builder("mobilenet_multi_max_seg")
MobileNetMultiAVGSeg = Builder("mobilenet_multi_avg_seg")


# The builder -------------------------------------------------------------------------------------


def network(
    net: Net,
    *,
    input_shape=None,
    alpha: float = 1.0,
    depth_multiplier: int = 1,
    dropout: float = 0.0,
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor=None,
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation="softmax",
    name: str | None = None,
    output_stride: int = 32,
    include_preprocessing: bool = True,
) -> keras.Model:
    """A network of a table with its classifier or, without one, its pooled or raw features, from RGB [N, H, W, 3].

    Args:
        input_shape: (height, width, 3); None: the network's default with a classifier, else any size.
        alpha: factor of the widths.
        depth_multiplier: channels that each depthwise convolution makes of one (V1 only).
        dropout: share of the features that the classifier leaves out in training, where it has a dropout.
        include_top: whether there is a classifier.
        weights: "imagenet", a path (see `mobilenet_tf.models.weights.load`) or None.
        input_tensor: a Keras tensor in place of a new input.
        pooling: "avg" or "max" of the features without a classifier; None: the feature map [N, h, w, C].
        classes, classifier_activation: how many scores there are, and their activation; None: logits.
        name: of the model.
        output_stride: 32, 16 or 8; below 32 the last blocks dilate instead of going down.
        include_preprocessing: whether images are in 0..255; False: in [-1, 1].

    Raises UserError.
    """
    if weights == "imagenet" and depth_multiplier != 1:
        raise UserError(f'depth_multiplier must be 1 for weights="imagenet". Received: {depth_multiplier}')
    if include_top and weights == "imagenet" and classes != 1000:
        raise UserError(f'classes must be 1000 for weights="imagenet" with include_top. Received: classes={classes}')
    if pooling not in (None, *POOLINGS):
        raise UserError(f'pooling must be None, "avg" or "max". Received: pooling={pooling!r}')
    if input_shape is None:
        size = net.input_size if include_top else None
        input_shape = (size, size, 3)
    inputs, x = _inputs(input_shape, input_tensor, include_preprocessing)
    size = x.shape[1]
    x = endpoints(net, x, alpha, output_stride, depth_multiplier)["s32"]
    if include_top:
        x = TOPS[net.top](net, x, alpha, dropout, classes, classifier_activation)
    elif pooling:
        x = POOLINGS[pooling](name=f"{pooling}_pool")(x)
    model = keras.Model(inputs, x, name=name or f"{net.name}_{alpha:0.2f}_{size}")
    with_identity(model, Identity(net.name, alpha))
    if weights is not None:
        load_weights(model, weights)
    return model


POOLINGS = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}


def _inputs(input_shape, input_tensor, include_preprocessing) -> tuple[Any, Any]:
    """(the model's inputs, the image in [-1, 1])"""
    x: Any = keras.Input(shape=input_shape, name="image") if input_tensor is None else input_tensor
    shape = tuple(x.shape[1:])
    if len(shape) != 3 or any(side is not None and side < MIN_SIZE for side in shape[:2]):
        raise UserError(f"input_shape must be (height, width, 3) of at least 32x32 pixels. Received: {shape}")
    inputs = [x] if input_tensor is None else keras.utils.get_source_inputs(input_tensor)
    if include_preprocessing:
        x = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(x)
    return inputs[0] if len(inputs) == 1 else inputs, x
