"""The paper tables: MobileNet V1, V2, V3-Large, V3-Small and the minimalistic V3, as rows of blocks. No TensorFlow.

A new network is one more `Net` in `NETS`: building, costs, pruning, anchors, configs and the identification of weights
follow from its rows. A new kind of block is a dataclass with the interface of `BlockKind`, and a function that builds
it in `builder.BUILDERS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mobilenet_tf.utils.errors import UserError

BN_EPSILON = 1e-3  # of the BatchNormalization of every network and head here; keras.applications, TF Object Detection
SE_RATIO = 0.25  # channels that squeeze-excite squeezes to, as a share: arXiv:1905.02244, section 5.3

Kernel = tuple[int, int, int, int]  # height, width, inputs, outputs (of a depthwise convolution: multiplier 1)


class BlockKind(Protocol):
    """The interface of every kind of block; the rest of the package uses nothing else of a row.

    The layer of an expansion, where there is one, is the part "expand" of `Names.layer`.
    """

    @property
    def out(self) -> int:
        """The channels that it gives at alpha 1."""
        ...

    @property
    def stride(self) -> int:
        """1 or 2."""
        ...

    @property
    def expand(self) -> float | None:
        """The expansion's channels as a multiple of the block's input; None: no expansion."""
        ...

    def kernels(self, channels: int, out: int) -> Iterator[Kernel]:
        """The shapes of its kernels from `channels` to `out` channels, in the order of its layers."""
        ...


@dataclass(frozen=True)
class Block:
    """One row of a paper table: [expansion] -> depthwise -> [squeeze-excite] -> projection [+ shortcut].

    expand: the expansion's channels as a multiple of the block's input; None for a block without expansion.
    linear: the projection has no activation, and a shortcut is added where the shapes allow it (V2, V3).
    """

    out: int
    stride: int
    kernel: int = 3
    expand: float | None = None
    se: bool = False
    act: str = "relu6"
    linear: bool = True

    def hidden(self, channels: int) -> int:
        """The channels of the depthwise convolution of a block with `channels` inputs."""
        return make_divisible(channels * self.expand) if self.expand else channels

    def kernels(self, channels: int, out: int) -> Iterator[Kernel]:
        """The shapes of its kernels from `channels` to `out` channels, in the order of its layers."""
        hidden = self.hidden(channels)
        if self.expand:
            yield (1, 1, channels, hidden)
        yield (self.kernel, self.kernel, hidden, 1)
        if self.se:
            yield from ((1, 1, hidden, squeezed(hidden)), (1, 1, squeezed(hidden), hidden))
        yield (1, 1, hidden, out)


@dataclass(frozen=True)
class Names:
    """How keras.applications names the layers that hold weights, so that its files load.

    first, block: the layers of block 0 and of block i; `parts` renames a part. bn, act: the layers after a convolution.
    last, head: the 1x1 convolutions after the blocks and after the pooling, where a network has them.
    classifier: the last layer with weights. others: names that follow no rule.
    """

    stem: str
    first: str
    block: str
    last: str | None = None
    head: str | None = None
    classifier: str = "predictions"
    bn: str = "{}_bn"
    act: str = "{}_act"
    start: int = 0
    parts: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    def layer(self, i: int, part: str) -> str:
        """The name of a block's layer; part is "expand", "depthwise", "project", "add", ..."""
        return (self.block if i else self.first).format(i=i, part=self.parts.get(part, part))

    def bn_of(self, layer: str) -> str:
        """The name of the BatchNormalization after a convolution."""
        name = self.bn.format(layer)
        return self.others.get(name, name)

    def act_of(self, layer: str) -> str:
        """The name of the activation after a convolution."""
        name = self.act.format(layer)
        return self.others.get(name, name)


@dataclass(frozen=True)
class Net:
    """One network: its table, its width rules and its layer names.

    width, stem_width: (filters, alpha) -> channels of the blocks' outputs and of the stem.
    last:          (input channels, alpha) -> filters of the 1x1 convolution after the blocks; None: no such layer (V1).
    head:          filters of the 1x1 convolution between pooling and classifier at alpha <= 1; None: no such layer.
    top:           what follows the pooling in the classifier: a key of `builder.TOPS`.
    pad_end:       stride-2 depthwise convolutions pad one row and column at the end whatever the size (V1), not "same".
    alphas, sizes: the widths and input sizes with published ImageNet weights.
    input_size:    the default input size of the classifier; None: any.
    reducible:     its paper gives a reduced tail (half the channels from stride 32 on) for detection and segmentation.
    """

    name: str
    title: str
    blocks: tuple[Any, ...]  # of BlockKind
    names: Names
    stem: int
    act: str
    width: Callable[[float, float], int]
    stem_width: Callable[[float, float], int]
    alphas: tuple[float, ...]
    sizes: tuple[int, ...]
    last: Callable[[int, float], int] | None = None
    head: int | None = None
    top: str = "dense"
    pad_end: bool = False
    bn_momentum: float = 0.999
    input_size: int | None = None
    reducible: bool = False

    def down_to(self, stride: int) -> int:
        """The index in `blocks` of the block that goes down to a stride: 4, 8, 16 or 32."""
        reached = 2
        for index, block in enumerate(self.blocks):
            reached *= block.stride
            if reached == stride:
                return index
        raise UserError(f"stride must be one that {self.name} goes down to. Received: stride={stride}")

    def reduced(self, expansion: bool = False) -> Net:
        """The network with half the channels in the blocks from stride 32 on; arXiv:1905.02244, sections 6.3 and 6.4.

        expansion: halve that of the first of these blocks too.
        """
        first = self.down_to(32)
        blocks = [replace(b, out=b.out // 2) if i >= first else b for i, b in enumerate(self.blocks)]
        if expansion:
            blocks[first] = replace(blocks[first], expand=blocks[first].expand / 2)
        return replace(self, blocks=tuple(blocks))

    def kernels(self, alpha: float) -> Iterator[Kernel]:
        """The shapes of all kernels of the backbone, in the order of its layers."""
        channels = self.stem_width(self.stem, alpha)
        yield (3, 3, 3, channels)
        for block in self.blocks:
            out = self.width(block.out, alpha)
            yield from block.kernels(channels, out)
            channels = out
        if self.last:
            yield (1, 1, channels, self.last(channels, alpha))

    def map_sizes(self, input_size: tuple[int, int]) -> dict[int, tuple[int, int]]:
        """{stride: (height, width) of the feature map there} for images of `input_size` (height, width)."""
        sizes = {2: (-(-input_size[0] // 2), -(-input_size[1] // 2))}
        while max(sizes) < 32:
            # With `pad_end` the last row or column of an odd map is lost; "same" rounds up
            height, width = (side // 2 if self.pad_end else -(-side // 2) for side in sizes[max(sizes)])
            sizes[2 * max(sizes)] = (height, width)
        return sizes


# Width rules -------------------------------------------------------------------------------------


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, never more than 10 % below it (TF-slim, mobilenet.py)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def squeezed(channels: int) -> int:
    """The channels between the two convolutions of squeeze-excite."""
    return make_divisible(channels * SE_RATIO)


def _truncate(filters, alpha):
    return int(filters * alpha)


def _round(filters, alpha):
    return make_divisible(filters * alpha)


def _truncate_then_round(filters, alpha):
    return make_divisible(int(filters * alpha))


def _fixed(filters, alpha):
    return filters


def min_width(filters: float, alpha: float) -> int:
    """The width of a layer that grows with alpha > 1 and keeps `filters` channels below it."""
    return make_divisible(filters * max(alpha, 1.0))


def _v2_last(channels, alpha):
    return min_width(1280, alpha)


def _v3_last(channels, alpha):
    return make_divisible(channels * 6)


# Tables ------------------------------------------------------------------------------------------

# arXiv:1704.04861, Table 1: depthwise-separable blocks
# c, s
_V1 = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
]

# arXiv:1801.04381, Table 2: inverted residuals
# t, c, n, s
_V2 = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]

# arXiv:1905.02244, Table 1. t is the paper's "exp size" over the block's input width, as it scales with alpha
# k, t, c, se, act, s
_V3_LARGE = [
    (3, 1, 16, False, "relu", 1),
    (3, 4, 24, False, "relu", 2),
    (3, 3, 24, False, "relu", 1),
    (5, 3, 40, True, "relu", 2),
    (5, 3, 40, True, "relu", 1),
    (5, 3, 40, True, "relu", 1),
    (3, 6, 80, False, "hard_swish", 2),
    (3, 2.5, 80, False, "hard_swish", 1),
    (3, 2.3, 80, False, "hard_swish", 1),
    (3, 2.3, 80, False, "hard_swish", 1),
    (3, 6, 112, True, "hard_swish", 1),
    (3, 6, 112, True, "hard_swish", 1),
    (5, 6, 160, True, "hard_swish", 2),
    (5, 6, 160, True, "hard_swish", 1),
    (5, 6, 160, True, "hard_swish", 1),
]

# arXiv:1905.02244, Table 2
# k, t, c, se, act, s
_V3_SMALL = [
    (3, 1, 16, True, "relu", 2),
    (3, 72 / 16, 24, False, "relu", 2),
    (3, 88 / 24, 24, False, "relu", 1),
    (5, 4, 40, True, "hard_swish", 2),
    (5, 6, 40, True, "hard_swish", 1),
    (5, 6, 40, True, "hard_swish", 1),
    (5, 3, 48, True, "hard_swish", 1),
    (5, 3, 48, True, "hard_swish", 1),
    (5, 6, 96, True, "hard_swish", 2),
    (5, 6, 96, True, "hard_swish", 1),
    (5, 6, 96, True, "hard_swish", 1),
]


def _v2_blocks(rows):
    """Repeats a row n times; only the first of them has the stride. The very first block (t = 1) has no expansion."""
    return tuple(
        Block(out=c, stride=s if i == 0 else 1, expand=None if t == 1 else t) for t, c, n, s in rows for i in range(n)
    )


def _v3_blocks(rows):
    return tuple(
        Block(out=c, stride=s, kernel=k, expand=t if i else None, se=se, act=act)
        for i, (k, t, c, se, act, s) in enumerate(rows)
    )


def _minimalistic(net: Net) -> Net:
    """The same table without 5x5 kernels, squeeze-excite and hard-swish (TF-slim, mobilenet_v3.py)."""
    return replace(
        net,
        name=f"{net.name}_minimalistic",
        title=f"{net.title} minimalistic",
        blocks=tuple(replace(b, kernel=3, se=False, act="relu") for b in net.blocks),
        act="relu",
        alphas=(1.0,),
    )


V1 = Net(
    name="mobilenet_v1",
    title="MobileNetV1",
    blocks=tuple(Block(out=c, stride=s, linear=False) for c, s in _V1),
    names=Names(
        stem="conv1",
        first="",
        block="conv_{part}_{i}",
        classifier="conv_preds",
        act="{}_relu",
        start=1,
        parts={"depthwise": "dw", "project": "pw", "depthwise_pad": "pad"},
    ),
    stem=32,
    act="relu6",
    width=_truncate,
    stem_width=_truncate,
    alphas=(0.25, 0.5, 0.75, 1.0),
    sizes=(128, 160, 192, 224),
    top="convolution",
    pad_end=True,
    bn_momentum=0.99,
    input_size=224,
)

V2 = Net(
    name="mobilenet_v2",
    title="MobileNetV2",
    blocks=_v2_blocks(_V2),
    names=Names(
        stem="Conv1",
        first="expanded_conv_{part}",
        block="block_{i}_{part}",
        last="Conv_1",
        bn="{}_BN",
        act="{}_relu",
        others={"Conv1_BN": "bn_Conv1", "Conv_1_BN": "Conv_1_bn", "Conv_1_relu": "out_relu"},
    ),
    stem=32,
    act="relu6",
    width=_truncate_then_round,
    stem_width=_round,
    alphas=(0.35, 0.5, 0.75, 1.0, 1.3, 1.4),
    sizes=(96, 128, 160, 192, 224),
    last=_v2_last,
    input_size=224,
)

V3_LARGE = Net(
    name="mobilenet_v3_large",
    title="MobileNetV3Large",
    blocks=_v3_blocks(_V3_LARGE),
    names=Names(
        stem="conv",
        first="expanded_conv_{part}",
        block="expanded_conv_{i}_{part}",
        last="conv_1",
        head="conv_2",
        classifier="logits",
    ),
    stem=16,
    act="hard_swish",
    width=_round,
    stem_width=_fixed,
    alphas=(0.75, 1.0),
    sizes=(224,),
    last=_v3_last,
    head=1280,
    top="head",
    reducible=True,
)

# Table 2 prints a squeeze-excite on the last convolution and, in its first version, a 1280 head; the published networks
# (TF-slim, keras.applications) have no such squeeze-excite and a 1024 head.
V3_SMALL = replace(
    V3_LARGE, name="mobilenet_v3_small", title="MobileNetV3Small", blocks=_v3_blocks(_V3_SMALL), head=1024
)

NETS: dict[str, Net] = {
    net.name: net for net in (V1, V2, V3_LARGE, V3_SMALL, _minimalistic(V3_LARGE), _minimalistic(V3_SMALL))
}


def find(name: str) -> Net:
    """The table of a network by name. Raises UserError for an unknown name."""
    if name not in NETS:
        raise UserError(f"The network {unknown_name(name)}. Received: {name}")
    return NETS[name]


def unknown_name(name: str) -> str:
    """The middle of an error message about a name that is not in `NETS`, with the nearest names."""
    near = difflib.get_close_matches(name, NETS, n=3, cutoff=0.6)
    hint = f" (nearest: {', '.join(near)})" if near else ""
    return f"must be one of {', '.join(NETS)}{hint}"
