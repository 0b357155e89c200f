"""The paper tables: MobileNet V1, V2, V3-Large, V3-Small and the minimalistic V3, as rows of `Block`. No TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mobilenet_tf.utils.errors import UserError


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


@dataclass(frozen=True)
class Names:
    """How keras.applications names the layers that hold weights, so that its files load.

    first, block: the layers of block 0 and of block i; `parts` renames a part. bn, act: the layers after a convolution.
    others: names that follow no rule.
    """

    stem: str
    first: str
    block: str
    last: str | None = None
    head: str | None = None
    bn: str = "{}_bn"
    act: str = "{}_act"
    start: int = 0
    parts: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)

    def layer(self, i: int, part: str) -> str:
        """The name of a block's layer; part is "expand", "depthwise", "project", "add", ..."""
        return (self.block if i else self.first).format(i=i, part=self.parts.get(part, part))

    def bn_of(self, layer: str) -> str:
        name = self.bn.format(layer)
        return self.others.get(name, name)

    def act_of(self, layer: str) -> str:
        name = self.act.format(layer)
        return self.others.get(name, name)


@dataclass(frozen=True)
class Net:
    """One network: its table, its width rules and its layer names.

    width, stem_width: (filters, alpha) -> channels of the blocks' outputs and of the stem.
    last:          (input channels, alpha) -> filters of the 1x1 convolution after the blocks; None: no such layer (V1).
    head:          filters of the 1x1 convolution between pooling and classifier at alpha <= 1; None: no such layer.
    pad_end:       stride-2 depthwise convolutions pad one row and column at the end whatever the size (V1), not "same".
    alphas, sizes: the widths and input sizes with published ImageNet weights.
    input_size:    the default input size of the classifier; None: any.
    reducible:     its paper gives a reduced tail (half the channels from stride 32 on) for detection and segmentation.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]
    names: Names
    stem: int
    act: str
    width: Callable[[float, float], int]
    stem_width: Callable[[float, float], int]
    alphas: tuple[float, ...]
    sizes: tuple[int, ...]
    last: Callable[[int, float], int] | None = None
    head: int | None = None
    pad_end: bool = False
    bn_momentum: float = 0.999
    input_size: int | None = None
    reducible: bool = False


# Width rules -------------------------------------------------------------------------------------


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, never more than 10 % below it (TF-slim, mobilenet.py)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _truncate(filters, alpha):
    return int(filters * alpha)


def _round(filters, alpha):
    return make_divisible(filters * alpha)


def _truncate_then_round(filters, alpha):
    return make_divisible(int(filters * alpha))


def _fixed(filters, alpha):
    return filters


def never_thinner(filters: float, alpha: float) -> int:
    """The rule for layers that grow with alpha > 1 and keep their width below it."""
    return make_divisible(filters * max(alpha, 1.0))


def _v2_last(channels, alpha):
    return never_thinner(1280, alpha)


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
    ),
    stem=16,
    act="hard_swish",
    width=_round,
    stem_width=_fixed,
    alphas=(0.75, 1.0),
    sizes=(224,),
    last=_v3_last,
    head=1280,
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
        raise UserError(f"The network must be one of {', '.join(NETS)}. Received: {name}")
    return NETS[name]
