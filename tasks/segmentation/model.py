"""DeepLabV3, DeepLabV3+ and LR-ASPP on every MobileNet.

The models give logits at the size of the image. All maps grow by bilinear interpolation with half-pixel centers
(PyTorch's align_corners=False), in Keras, TFLite and ONNX alike.
"""

from __future__ import annotations

import keras
from keras import layers

from mobilenet_tf.models import assembly, builder, specs
from mobilenet_tf.models.layers import BatchNormalization, BoundedAveragePooling, Conv2D, ResizeLike
from mobilenet_tf.models.weights import load as load_weights
from mobilenet_tf.models.weights.identity import Identity, with_identity
from mobilenet_tf.tasks.segmentation.inference import LOGITS
from mobilenet_tf.utils.errors import UserError

RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}  # arXiv:1706.05587, section 4; 32 by the same rule
BN_MOMENTUM = 0.99
LOW_LEVEL_FILTERS = 48  # of DeepLabV3+: arXiv:1802.02611, section 4.1
AUXILIARY = "auxiliary"


def segmenter(
    backbone: str,
    classes: int,
    *,
    head: str = "deeplabv3",
    alpha: float = 1.0,
    output_stride: int = 16,
    rates: list[int] | None = None,
    filters: int | None = None,
    separable: bool = False,
    reduced_tail: bool = False,
    last_convolution: bool | None = None,
    pooling: tuple[int, int, int] | None = None,
    dropout: float = 0.1,
    auxiliary: bool = False,
    weights: str | None = None,
) -> keras.Model:
    """Images [N, H, W, 3] of any size in 0..255 to logits [N, H, W, classes].

    With `auxiliary`, to a dict of "logits" and "auxiliary", both of that shape. Rates [] leave a head of a 1x1
    convolution and the image pooling: R-ASPP, and the "no ASPP" of the V2 paper.

    Args:
        head: "deeplabv3" (arXiv:1706.05587), "deeplabv3plus" (arXiv:1802.02611) or "lraspp" (arXiv:1905.02244, 6.4).
        last_convolution: keep the 1x1 convolution after the last block; None: as the network's table says (V3 has it,
            V2 does not).
        pooling: LR-ASPP's window and strides (vertical, horizontal); None: global.
        weights: "imagenet", a path, or None: see `mobilenet_tf.models.weights.load`.

    Raises UserError.
    """
    if head not in HEADS:
        raise UserError(f"head must be one of {', '.join(HEADS)}. Received: head={head}")
    image = keras.Input((None, None, 3), name="image")
    trunk = _backbone(backbone, alpha, output_stride, reduced_tail, last_convolution)
    maps = trunk(image)
    options = {"rates": RATES[output_stride] if rates is None else rates, "filters": filters, "separable": separable}
    x = HEADS[head](maps, classes, pooling=pooling, dropout=dropout, **options)
    outputs = _to_image(x, image, LOGITS)
    if auxiliary:
        outputs = {LOGITS: outputs, AUXILIARY: _to_image(_fcn(maps["s16"], classes, dropout), image, AUXILIARY)}
    model = keras.Model(image, outputs, name=f"{backbone}_{head}")
    if weights:
        _load(model, weights, backbone, alpha, reduced_tail)
    return model


# The parts ---------------------------------------------------------------------------------------


def _backbone(name, alpha, output_stride, reduced_tail, last_convolution) -> keras.Model:
    """The model "backbone", whose map "s32" is that of the last block or of the 1x1 convolution after it."""
    net = specs.find(name)
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 127.5, -1.0, name="rescaling")(image)
    if reduced_tail and not net.last:
        raise UserError(f"reduced_tail must be false for {net.name}. Received: reduced_tail=True")
    # V3 halves the expansion of the first block from stride 32 on too (336 and 144 channels in TF's
    # deeplab/core/feature_extractor.py), which the paper's parameter counts confirm; those of V2 are of the full one
    built = net.reduced(expansion=net.reducible) if reduced_tail else net
    last = "segmentation" in net.last_map if last_convolution is None else last_convolution
    maps = assembly.endpoints(built, x, alpha, output_stride, last=last)
    trunk = keras.Model(image, {key: maps[key] for key in ("s2", "s4", "s8", "s16", "s32")}, name="backbone")
    return with_identity(trunk, Identity(name, alpha, reduced_tail))


def _deeplabv3(maps, classes, *, rates, filters, separable, dropout, pooling):
    x = _aspp(maps["s32"], rates, filters or 256, separable)
    return _classify(layers.Dropout(dropout, name="dropout")(x), classes)


def _deeplabv3plus(maps, classes, *, rates, filters, separable, dropout, pooling):
    filters = filters or 256
    x = layers.Dropout(dropout, name="dropout")(_aspp(maps["s32"], rates, filters, separable))
    low = _conv(maps["s4"], LOW_LEVEL_FILTERS, 1, "low_level")
    x = layers.Concatenate(name="decoder_concat")([ResizeLike(name="decoder_resize")([x, low]), low])
    x = _conv(x, filters, 3, "decoder_0", separable=separable)
    return _classify(_conv(x, filters, 3, "decoder_1", separable=separable), classes)


def _lraspp(maps, classes, *, rates, filters, separable, dropout, pooling):
    high, low, filters = maps["s32"], maps["s8"], filters or 128
    x = _conv(high, filters, 1, "lraspp")
    scale = BoundedAveragePooling(*pooling, name="lraspp_pool")(high) if pooling else _global_pool(high, "lraspp_pool")
    scale = layers.Conv2D(filters, 1, use_bias=False, activation="sigmoid", name="lraspp_scale")(scale)
    if pooling:
        scale = ResizeLike(name="lraspp_scale_resize")([scale, x])
    x = layers.Multiply(name="lraspp_multiply")([x, scale])
    x = ResizeLike(name="lraspp_resize")([x, low])
    return layers.Add(name="lraspp_add")([_classify(x, classes), _classify(low, classes, "logits_low")])


HEADS = {"deeplabv3": _deeplabv3, "deeplabv3plus": _deeplabv3plus, "lraspp": _lraspp}


def _aspp(x, rates, filters, separable):
    """Atrous spatial pyramid pooling; arXiv:1706.05587, figure 5."""
    branches = [_conv(x, filters, 1, "aspp_0")]
    branches += [_conv(x, filters, 3, f"aspp_{i}", rate, separable) for i, rate in enumerate(rates, 1)]
    pooled = _conv(_global_pool(x, "aspp_pool"), filters, 1, "aspp_pooling")
    branches.append(ResizeLike(name="aspp_pooling_resize")([pooled, x]))
    return _conv(layers.Concatenate(name="aspp_concat")(branches), filters, 1, "aspp_project")


def _fcn(x, classes, dropout):
    """A small classifier for the auxiliary loss, as torchvision's FCNHead."""
    x = _conv(x, max(8, x.shape[-1] // 4), 3, "auxiliary_0")
    return _classify(layers.Dropout(dropout, name="auxiliary_dropout")(x), classes, "auxiliary_logits")


def _conv(x, filters, kernel, name, rate=1, separable=False):
    """Convolution, BatchNormalization, ReLU; separable: a depthwise one with the same two, then 1x1."""
    if separable:
        depthwise = f"{name}_depthwise"
        x = layers.DepthwiseConv2D(kernel, padding="same", dilation_rate=rate, use_bias=False, name=depthwise)(x)
        x, kernel, rate = _bn_relu(x, depthwise), 1, 1
    x = Conv2D(filters, kernel, padding="same", dilation_rate=rate, use_bias=False, name=name)(x)
    return _bn_relu(x, name)


def _bn_relu(x, name):
    x = BatchNormalization(momentum=BN_MOMENTUM, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _classify(x, classes, name="logits_small"):
    return layers.Conv2D(classes, 1, dtype="float32", name=name)(x)


def _to_image(x, image, name):
    return ResizeLike(dtype="float32", name=name)([x, image])


def _global_pool(x, name):
    return layers.GlobalAveragePooling2D(keepdims=True, name=name)(x)


def _load(model, weights, backbone, alpha, reduced_tail):
    """Loads what there is: of a network with its full tail, all layers but those of the reduced one."""
    if not reduced_tail or str(weights).endswith(".keras"):
        load_weights(model, weights)
        return
    full = builder.backbone(backbone, alpha, weights=weights)
    for layer in model.get_layer("backbone").layers:
        source = full.get_layer(layer.name).get_weights()
        if [w.shape for w in source] == [tuple(w.shape) for w in layer.weights]:
            layer.set_weights(source)
