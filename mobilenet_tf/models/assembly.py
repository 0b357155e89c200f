"""Puts a network together from its table: the maps at its strides, and the layers of its classifier."""

from __future__ import annotations

from keras import layers

from mobilenet_tf.models import specs
from mobilenet_tf.models.block_layers import BUILDERS, BlockContext, activation, conv_bn
from mobilenet_tf.models.specs import Net
from mobilenet_tf.utils.errors import UserError


def endpoints(
    net: Net, x, alpha: float = 1.0, output_stride: int = 32, depth_multiplier: int = 1, last: bool = True
) -> dict:
    """The feature maps of `net` on a Keras tensor of images in [-1, 1], by the keys of `builder.backbone`."""
    if not alpha > 0:
        raise UserError(f"alpha must be above 0. Received: alpha={alpha}")
    if output_stride not in (8, 16, 32):
        raise UserError(f"output_stride must be 32, 16 or 8. Received: output_stride={output_stride}")
    names, maps = net.names, {}
    x = conv_bn(net, x, names.stem, net.stem_width(net.stem, alpha), net.stem_kernel, net.act, stride=2)
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
        if net.expansion_map and block.stride == 2 and reached == 32 and expansion is not None:
            maps["s16_expand"] = expansion
        # A block that no longer goes down keeps its own rate; the blocks after it dilate (TF-slim, DeepLab).
        rate *= block.stride // stride
    if last and net.last and names.last:
        x = conv_bn(net, x, names.last, net.last(x.shape[-1], alpha), 1, net.act)
    maps["s32"] = x
    return maps


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
    """V3 and V4, with a 1x1 convolution between pooling and classifier: keras.applications.MobileNetV3Large."""
    x = head(net, layers.GlobalAveragePooling2D(keepdims=True, name="avg_pool")(x), alpha)
    if dropout > 0:
        x = layers.Dropout(dropout, name="dropout")(x)
    x = layers.Conv2D(classes, 1, padding="same", name=net.names.classifier)(x)
    x = layers.Flatten(name="flatten")(x)
    return layers.Activation(activation, name="predictions")(x)


def head(net: Net, x, alpha: float):
    """The 1x1 convolution between pooling and classifier, of a network that has one: [N, 1, 1, C] -> [N, 1, 1, F]."""
    assert net.head is not None and net.names.head is not None
    name, filters = net.names.head, specs.min_width(net.head, alpha)
    if net.head_bn:
        return conv_bn(net, x, name, filters, 1, net.act)
    x = layers.Conv2D(filters, 1, padding="same", name=name)(x)
    return activation(net.act, net.names.act_of(name))(x)


# `Net.top` -> fn(net, last feature map, alpha, dropout, classes, activation) -> scores [N, classes]
TOPS = {"dense": _dense_top, "convolution": _convolution_top, "head": _head_top}
