"""One builder: a `Net` table -> a Keras functional model with named endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from mobilenet_tf.models import specs
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.models.specs import Block, Net
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
) -> keras.Model:
    """The model "backbone" from RGB [N, H, W, 3] in 0..255 to a dict of its feature maps.

    "s2", "s4", "s8", "s16": the last map at that stride, before the network goes down.
    "s16_expand":            the expansion of the block from stride 16 to 32, its depthwise input (V2 and V3 only).
    "s32":                   the last map of all: V1 conv_pw_13_relu, V2 out_relu, V3 the activation after conv_1.
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
    maps = endpoints(net.reduced() if reduced_tail else net, x, alpha, output_stride)
    model = with_identity(keras.Model(inputs, maps, name="backbone"), Identity(name, alpha, reduced_tail))
    if weights is not None:
        load_weights(model, weights)
    return model


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


def endpoints(net: Net, x, alpha: float = 1.0, output_stride: int = 32, depth_multiplier: int = 1) -> dict:
    """The feature maps of `net` on a Keras tensor of images in [-1, 1], by the keys that `backbone` documents."""
    if not alpha > 0:
        raise UserError(f"alpha must be above 0. Received: alpha={alpha}")
    if output_stride not in (8, 16, 32):
        raise UserError(f"output_stride must be 32, 16 or 8. Received: output_stride={output_stride}")
    names, maps = net.names, {}
    x = layers.Conv2D(net.stem_width(net.stem, alpha), 3, strides=2, padding="same", use_bias=False, name=names.stem)(x)
    x = _bn_act(net, x, names.stem, net.act)
    reached, rate = 2, 1  # the stride at output_stride=32; the dilation
    for i, block in enumerate(net.blocks, names.start):
        stride = block.stride
        if stride == 2:
            maps[f"s{reached}"] = x
            reached *= 2
        if reached > output_stride:
            stride = 1
        context = BlockContext(net, i, net.width(block.out, alpha), stride, rate, depth_multiplier)
        x, expansion = BUILDERS[type(block)](block, x, context)
        if block.stride == 2 and reached == 32 and expansion is not None:
            maps["s16_expand"] = expansion
        # A block that no longer goes down keeps its own rate; the blocks after it dilate (TF-slim, DeepLab).
        rate *= block.stride // stride
    if net.last and names.last:
        x = layers.Conv2D(net.last(x.shape[-1], alpha), 1, padding="same", use_bias=False, name=names.last)(x)
        x = _bn_act(net, x, names.last, net.act)
    maps["s32"] = x
    return maps


@dataclass(frozen=True)
class BlockContext:
    """Where a block is built: its network and number there, its output channels at this alpha, stride and dilation.

    stride, rate: those after the rule of the output stride.
    """

    net: Net
    number: int
    out: int
    stride: int
    rate: int = 1
    depth_multiplier: int = 1


def _block(block: Block, x, context: BlockContext):
    """(the block's output, its expansion or None)"""
    net, i, stride = context.net, context.number, context.stride
    names, shortcut, expansion = net.names, x, None
    if block.expand:
        name = names.layer(i, "expand")
        x = layers.Conv2D(block.hidden(x.shape[-1]), 1, padding="same", use_bias=False, name=name)(x)
        x = expansion = _bn_act(net, x, name, block.act)

    name = names.layer(i, "depthwise")
    padding = "same"
    if stride == 2 and net.pad_end and not _is_even(x):
        x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=names.layer(i, "depthwise_pad"))(x)
        padding = "valid"
    x = layers.DepthwiseConv2D(
        block.kernel,
        strides=stride,
        padding=padding,
        depth_multiplier=context.depth_multiplier,
        dilation_rate=context.rate,
        use_bias=False,
        name=name,
    )(x)
    x = _bn_act(net, x, name, block.act)
    if block.se:
        x = _squeeze_excite(net, x, i)

    name = names.layer(i, "project")
    x = layers.Conv2D(context.out, 1, padding="same", use_bias=False, name=name)(x)
    x = _bn_act(net, x, name, None if block.linear else block.act)
    if block.linear and stride == block.stride == 1 and shortcut.shape[-1] == context.out:
        x = layers.Add(name=names.layer(i, "add"))([shortcut, x])
    return x, expansion


# kind of block -> fn(block, x, context) -> (the block's output, its expansion or None)
BUILDERS = {Block: _block}


def _is_even(x) -> bool:
    """Whether height and width are known and even: there padding at the end is what "same" does, without a layer.

    On odd sizes the two differ. keras.applications' V2 and V3 compute the padding of "same" by hand, which goes wrong
    where the size is unknown at build time; "same" is right on every size.
    """
    return all(side is not None and side % 2 == 0 for side in x.shape[1:3])


def _squeeze_excite(net: Net, x, i):
    name = net.names.layer(i, "squeeze_excite")
    channels = x.shape[-1]
    y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_avg_pool")(x)
    y = layers.Conv2D(specs.squeezed(channels), 1, padding="same", name=f"{name}_conv")(y)
    y = layers.ReLU(name=f"{name}_relu")(y)
    y = layers.Conv2D(channels, 1, padding="same", name=f"{name}_conv_1")(y)
    y = layers.Activation("hard_sigmoid", name=f"{name}_hard_sigmoid")(y)
    return layers.Multiply(name=f"{name}_mul")([x, y])


def _bn_act(net: Net, x, layer: str, act: str | None):
    """The BatchNormalization and the activation after the convolution named `layer`."""
    x = BatchNormalization(momentum=net.bn_momentum, name=net.names.bn_of(layer))(x)
    return _activation(act, net.names.act_of(layer))(x) if act else x


def _activation(act: str, name: str):
    if act == "relu":
        return layers.ReLU(name=name)
    if act == "relu6":
        return layers.ReLU(6.0, name=name)
    return layers.Activation(act, name=name)


def _dense_top(net: Net, x, alpha, dropout, classes, activation):
    """V2: keras.applications.MobileNetV2."""
    x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if dropout > 0:
        x = layers.Dropout(dropout, name="dropout")(x)
    return layers.Dense(classes, activation=activation, name=net.names.classifier)(x)


def _convolution_top(net: Net, x, alpha, dropout, classes, activation):
    """V1: keras.applications.MobileNet."""
    x = layers.GlobalAveragePooling2D(keepdims=True, name="avg_pool")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Conv2D(classes, 1, padding="same", name=net.names.classifier)(x)
    x = layers.Reshape((classes,), name="reshape_2")(x)
    return layers.Activation(activation, name="predictions")(x)


def _head_top(net: Net, x, alpha, dropout, classes, activation):
    """V3, with a 1x1 convolution between pooling and classifier: keras.applications.MobileNetV3Large."""
    assert net.head is not None and net.names.head is not None  # every network with this top has them
    x = layers.GlobalAveragePooling2D(keepdims=True, name="avg_pool")(x)
    x = layers.Conv2D(specs.min_width(net.head, alpha), 1, padding="same", name=net.names.head)(x)
    x = _activation(net.act, net.names.act_of(net.names.head))(x)
    if dropout > 0:
        x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Conv2D(classes, 1, padding="same", name=net.names.classifier)(x)
    x = layers.Flatten(name="flatten")(x)
    return layers.Activation(activation, name="predictions")(x)


# `Net.top` -> fn(net, last feature map, alpha, dropout, classes, activation) -> scores [N, classes]
TOPS = {"dense": _dense_top, "convolution": _convolution_top, "head": _head_top}
