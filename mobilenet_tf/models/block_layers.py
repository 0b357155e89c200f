"""The Keras layers of each kind of block, of the stem and of what follows the blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import layers

from mobilenet_tf.models.blocks import Block, Conv, Fused, MultiQuery, SqueezeExcite, Tucker, Universal
from mobilenet_tf.models.layers import (
    AttentionLogits,
    AttentionValues,
    BatchNormalization,
    Conv2D,
    LayerScale,
)
from mobilenet_tf.models.specs import Net


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

    def name(self, part: str) -> str:
        """The name of a layer of the block."""
        return self.net.names.layer(self.number, part)

    def conv(
        self, x, part: str, filters: int, act: str | None = None, kernel: int = 1, stride: int = 1, groups: int = 1
    ):
        """A full convolution, dilated where its kernel is larger than 1x1, its BatchNormalization and activation."""
        rate = self.rate if kernel > 1 else 1
        return conv_bn(self.net, x, self.name(part), filters, kernel, act, stride=stride, rate=rate, groups=groups)

    def depthwise(self, x, part: str, kernel: int, act: str | None = None, stride: int = 1, rate: int | None = None):
        """A depthwise convolution, its BatchNormalization and activation."""
        net, name = self.net, self.name(part)
        if stride == 2:
            x, padding = padded(net, x, kernel, self.name(f"{part}_pad"), at_end=net.padding == "end")
        else:
            padding = "same"
        x = layers.DepthwiseConv2D(
            kernel,
            strides=stride,
            padding=padding,
            depth_multiplier=self.depth_multiplier,
            dilation_rate=self.rate if rate is None else rate,
            use_bias=False,
            name=name,
        )(x)
        return bn_act(net, x, name, act)

    def shortcut(self, before, x, block: Any):
        """x plus the block's input, where neither stride nor channels differ."""
        if block.stride == self.stride == 1 and before.shape[-1] == x.shape[-1]:
            return layers.Add(name=self.name("add"))([before, x])
        return x


# The kinds ---------------------------------------------------------------------------------------


def _block(block: Block, x, context: BlockContext):
    before, expansion = x, None
    if block.expand:
        x = expansion = context.conv(x, "expand", block.hidden(x.shape[-1]), block.act)
    x = context.depthwise(x, "depthwise", block.kernel, block.act, context.stride)
    if block.se:
        x = _squeeze_excite(x, block.se, context.name("squeeze_excite"), before.shape[-1])
    x = context.conv(x, "project", context.out, None if block.linear else block.act)
    return (context.shortcut(before, x, block) if block.linear and block.shortcut else x), expansion


def _conv(block: Conv, x, context: BlockContext):
    return context.conv(x, "conv", context.out, block.act, block.kernel, stride=context.stride), None


def _fused(block: Fused, x, context: BlockContext):
    channels = x.shape[-1]
    hidden, groups = block.hidden(channels), block.groups(channels)
    y = context.conv(x, "expand", hidden, block.act, block.kernel, stride=context.stride, groups=groups)
    y = context.conv(y, "project", context.out)
    return (context.shortcut(x, y, block) if block.shortcut else y), None


def _tucker(block: Tucker, x, context: BlockContext):
    first, second = block.widths(x.shape[-1], context.out)
    y = context.conv(x, "squeeze", first, block.act)
    y = context.conv(y, "conv", second, block.act, block.kernel, stride=context.stride)
    y = context.conv(y, "project", context.out)
    return (context.shortcut(x, y, block) if block.shortcut else y), None


def _universal(block: Universal, x, context: BlockContext):
    y = x
    if block.start:
        y = context.depthwise(y, "start", block.start, stride=1 if block.middle else context.stride)
    y = expansion = context.conv(y, "expand", block.hidden(x.shape[-1]), block.act)
    if block.middle:
        y = context.depthwise(y, "depthwise", block.middle, block.act, context.stride)
    y = context.conv(y, "project", context.out)
    if block.scale is not None:
        y = LayerScale(block.scale, name=context.name("scale"))(y)
    return context.shortcut(x, y, block), expansion


def _multi_query(block: MultiQuery, x, context: BlockContext):
    """Every pixel of x [N, H, W, C] asks `heads` queries of all pixels of the map that keys and values are made of."""

    def projection(y, part, channels):
        return layers.Conv2D(channels, 1, use_bias=False, name=context.name(part))(y)

    y = BatchNormalization(**bn_options(context.net), name=context.name("norm"))(x)
    queries = projection(y, "query", block.heads * block.depth)
    queries = layers.Rescaling(block.depth**-0.5, name=context.name("query_scale"))(queries)
    keys, values = (_shrunk(y, block, part, context) for part in ("key", "value"))
    keys, values = projection(keys, "key", block.depth), projection(values, "value", block.depth)
    shares = AttentionLogits(name=context.name("attention"))([queries, keys])
    shares = layers.Softmax(name=context.name("attention_softmax"))(shares)
    y = AttentionValues(name=context.name("attention_values"))([shares, values, queries])
    y = projection(y, "output", context.out)
    y = LayerScale(block.scale, name=context.name("scale"))(y)
    return context.shortcut(x, y, block), None


def _shrunk(x, block: MultiQuery, part: str, context: BlockContext):
    return context.depthwise(x, f"{part}_depthwise", 3, stride=block.shrink, rate=1) if block.shrink > 1 else x


# kind of block -> fn(block, x, context) -> (the block's output, its expansion or None)
BUILDERS = {
    Block: _block,
    Conv: _conv,
    Fused: _fused,
    Tucker: _tucker,
    Universal: _universal,
    MultiQuery: _multi_query,
}


# Parts -------------------------------------------------------------------------------------------


def conv_bn(
    net: Net,
    x,
    name: str,
    filters: int,
    kernel: int,
    act: str | None,
    *,
    stride: int = 1,
    rate: int = 1,
    groups: int = 1,
):
    """A full convolution without bias, its BatchNormalization and activation; the stem is one of them."""
    if stride == 2:
        x, padding = padded(net, x, kernel, f"{name}_pad")
    else:
        padding = "same"
    kind = Conv2D if rate > 1 else layers.Conv2D
    options = {"strides": stride, "padding": padding, "dilation_rate": rate, "groups": groups}
    x = kind(filters, kernel, use_bias=False, name=name, **options)(x)
    return bn_act(net, x, name, act)


def padded(net: Net, x, kernel: int, name: str, at_end: bool = False) -> tuple[Any, str]:
    """(the map with the network's padding for a convolution of stride 2, the padding that is left to do)."""
    if net.padding == "symmetric" and kernel > 1:
        return layers.ZeroPadding2D(kernel // 2, name=name)(x), "valid"
    if at_end and not _is_even(x):
        return layers.ZeroPadding2D(((0, 1), (0, 1)), name=name)(x), "valid"
    return x, "same"


def _is_even(x) -> bool:
    """Whether height and width are known and even: there padding at the end is what "same" does, without a layer.

    On odd sizes the two differ. keras.applications' V2 and V3 compute the padding of "same" by hand, which goes wrong
    where the size is unknown at build time; "same" is right on every size.
    """
    return all(side is not None and side % 2 == 0 for side in x.shape[1:3])


def _squeeze_excite(x, se: SqueezeExcite, name: str, inputs: int):
    channels = x.shape[-1]
    y = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_avg_pool")(x)
    y = layers.Conv2D(se.width(channels, inputs), 1, padding="same", name=f"{name}_conv")(y)
    y = activation(se.act, f"{name}_{se.act}")(y)
    y = layers.Conv2D(channels, 1, padding="same", name=f"{name}_conv_1")(y)
    y = activation(se.gate, f"{name}_{se.gate}")(y)
    return layers.Multiply(name=f"{name}_mul")([x, y])


def bn_act(net: Net, x, layer: str, act: str | None):
    """The BatchNormalization and the activation after the convolution named `layer`."""
    x = BatchNormalization(**bn_options(net), name=net.names.bn_of(layer))(x)
    return activation(act, net.names.act_of(layer))(x) if act else x


def bn_options(net: Net) -> dict[str, float]:
    """The numbers of the network's BatchNormalization."""
    return {"momentum": net.bn_momentum, "epsilon": net.bn_epsilon}


def activation(act: str, name: str) -> layers.Layer:
    """The layer of an activation by its name."""
    if act == "relu":
        return layers.ReLU(name=name)
    if act == "relu6":
        return layers.ReLU(6.0, name=name)
    return layers.Activation(act, name=name)
