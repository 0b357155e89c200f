"""The tables of all MobileNets, as rows of blocks. No TensorFlow.

A new network is one more `Net` in `NETS`: building, costs, pruning, anchors, configs and the identification of weights
follow from its rows. A new kind of block is a dataclass in `blocks` with the interface of `BlockKind`, and a function
that builds it in `block_layers.BUILDERS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from mobilenet_tf.models import tables
from mobilenet_tf.models.blocks import (
    Block,
    Conv,
    Fused,
    Kernel,
    SqueezeExcite,
    Universal,
    make_divisible,
    nearest,
)
from mobilenet_tf.utils.errors import UserError

BN_EPSILON = 1e-3  # of the BatchNormalization of heads and, unless a table says another, of networks; Keras, TF OD
TORCH_EPSILON = 1e-5  # torch.nn.BatchNorm2d's own
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of pixels in 0..1; PyTorch's networks


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
    last:          (input channels, alpha) -> filters of the 1x1 convolution after the blocks; None: no such layer.
    head:          filters of the 1x1 convolution between pooling and classifier at alpha <= 1; None: no such layer.
    head_bn:       that convolution has a BatchNormalization and no bias (V4), not a bias (V3).
    top:           what follows the pooling in the classifier: a key of `assembly.TOPS`.
    padding:       of convolutions at stride 2. "same": TensorFlow's; "end": depthwise ones pad one row and column at
                   the end whatever the size (V1); "symmetric": half the kernel on all sides, PyTorch's.
    alphas:        the widths with published ImageNet weights.
    sizes:         the input sizes of those that Keras publishes; none where it publishes none.
    input_size:    the default input size of the classifier; None: any.
    reducible:     its paper gives a reduced tail (half the channels from stride 32 on) for detection and segmentation.
    expansion_map: SSDLite's first map is the expansion of the block that goes down to stride 32 (V2, V3).
    last_map:      the tasks whose map at stride 32 is that after `last`; others take that of the last block.
    """

    name: str
    title: str
    blocks: tuple[Any, ...]  # of blocks.BlockKind
    names: Names
    stem: int
    act: str
    width: Callable[[float, float], int]
    stem_width: Callable[[float, float], int]
    alphas: tuple[float, ...] = (1.0,)
    sizes: tuple[int, ...] = ()
    stem_kernel: int = 3
    last: Callable[[int, float], int] | None = None
    head: int | None = None
    head_bn: bool = False
    top: str = "dense"
    padding: str = "same"
    bn_momentum: float = 0.999
    bn_epsilon: float = BN_EPSILON
    input_size: int | None = None
    reducible: bool = False
    expansion_map: bool = True
    last_map: tuple[str, ...] = ("detection", "segmentation")

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
        yield (self.stem_kernel, self.stem_kernel, 3, channels)
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
            # With padding at the end the last row or column of an odd map is lost; the others round up
            height, width = (side // 2 if self.padding == "end" else -(-side // 2) for side in sizes[max(sizes)])
            sizes[2 * max(sizes)] = (height, width)
        return sizes


# Width rules -------------------------------------------------------------------------------------


def _truncate(filters, alpha):
    return int(filters * alpha)


def _round(filters, alpha):
    return make_divisible(filters * alpha)


def _truncate_then_round(filters, alpha):
    return make_divisible(int(filters * alpha))


def _round_freely(filters, alpha):
    """Without the bound of 10 %: MobileDet."""
    return nearest(filters * alpha)


def _fixed(filters, alpha):
    return filters


def min_width(filters: float, alpha: float) -> int:
    """The width of a layer that grows with alpha > 1 and keeps `filters` channels below it."""
    return make_divisible(filters * max(alpha, 1.0))


def _v2_last(channels, alpha):
    return min_width(1280, alpha)


def _v3_last(channels, alpha):
    return make_divisible(channels * 6)


def _fixed_last(filters: int):
    return lambda channels, alpha: filters


def _scaled_last(filters: int):
    return lambda channels, alpha: make_divisible(filters * alpha)


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
        Block(out=c, stride=s, kernel=k, expand=t if i else None, se=SqueezeExcite() if se else None, act=act)
        for i, (k, t, c, se, act, s) in enumerate(rows)
    )


def _minimalistic(net: Net) -> Net:
    """The same table without 5x5 kernels, squeeze-excite and hard-swish (TF-slim, mobilenet_v3.py)."""
    return replace(
        net,
        name=f"{net.name}_minimalistic",
        title=f"{net.title} minimalistic",
        blocks=tuple(replace(b, kernel=3, se=None, act="relu") for b in net.blocks),
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
    padding="end",
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
    last_map=("detection",),
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

# Networks with the names of layers of this package, and the maps for dense heads that the Model Garden marks: those of
# the blocks, not the wider ones of the expansion and of the convolution after the blocks
_NAMES = Names(stem="stem", first="block_{i}_{part}", block="block_{i}_{part}")
_OWN = {"names": _NAMES, "act": "relu", "width": _round, "bn_momentum": 0.99, "expansion_map": False, "last_map": ()}
_LAST = {"names": replace(_NAMES, last="last")}  # with a 1x1 convolution after the blocks
_HEAD = {  # and with one between pooling and classifier, both normalized
    "names": replace(_NAMES, last="last", head="head", classifier="logits"),
    "head": 1280,
    "head_bn": True,
    "top": "head",
}
_SEG = {"last_map": ("detection", "segmentation")}  # the siblings that are made for dense heads


def _blocks(rows: tuple, act: str, scale: float | None = None) -> tuple:
    """Rows with another activation and, in `Universal` blocks, a learned scale of the channels."""
    rows = tuple(replace(row, act=act) if getattr(row, "act", None) else row for row in rows)
    return tuple(replace(row, scale=scale) if isinstance(row, Universal) else row for row in rows)


def _v4(name: str, title: str, rows: tuple, stem: int, size: int, **options) -> Net:
    """arXiv:2404.10518. Below alpha 1 the stem keeps its width, as in timm."""
    act = options.get("act", "relu")
    blocks = _blocks(rows, act, 1e-5 if "hybrid" in name else None)
    given = {"stem_width": min_width, "last": _scaled_last(960), "bn_momentum": 0.997, "input_size": size}
    return Net(
        name=f"mobilenet_v4_{name}",
        title=f"MobileNetV4{title}",
        blocks=blocks,
        stem=stem,
        **_OWN | _HEAD | given | options,
    )


def _other(name: str, title: str, rows: tuple, stem: int, **options) -> Net:
    act = options.get("act", "relu")
    given = {"stem_width": options.get("width", _round), "input_size": 224}
    return Net(name=name, title=title, blocks=_blocks(rows, act), stem=stem, **_OWN | given | options)


def _edgetpu_v2(size: str, stem: int, kernel: int, group: int, channels: tuple[int, ...], last: int) -> Net:
    """timm's table of MobileNet-EdgeTPU v2, whose stages all sizes share; the Model Garden's is no longer published."""
    c0, c1, c2, c3, c4, c5, c6 = channels
    rows = (
        Conv(c0, 1, 1),
        *(Fused(c1, 2, 8), Fused(c1, 1, 4, group=group)),
        *(Fused(c2, 2, 8), Fused(c2, 1, 4, group=group), Fused(c2, 1, 4), Fused(c2, 1, 4, group=group)),
        *(Fused(c3, 2, 8), *[Block(c3, 1, 3, 4)] * 3),
        *(Block(c4, 1, 3, 8), *[Block(c4, 1, 3, 4)] * 3),
        *(Block(c5, 2, 3, 8), *[Block(c5, 1, 3, 4)] * 3),
        Block(c6, 1, 3, 8),
    )
    options = {"stem_kernel": kernel, "last": _fixed_last(last)} | _LAST
    return _other(f"mobilenet_edgetpu_v2_{size}", f"MobileNetEdgeTPUV2{size.upper()}", rows, stem, **options)


V4_CONV_SMALL = _v4("conv_small", "ConvSmall", tables.V4_CONV_SMALL, 32, 224, bn_momentum=0.95, alphas=(0.5, 1.0))

_MNAS = _LAST | {"last": _fixed_last(1280)}
_MULTI = _HEAD | {"last": _scaled_last(960)}
_MULTI_SEG = _HEAD | {"last": _scaled_last(448)} | _SEG
_DET = {"width": _round_freely, "bn_epsilon": 0.01, "input_size": 320}

NETS: dict[str, Net] = {
    net.name: net
    for net in (
        V1,
        V2,
        V3_LARGE,
        V3_SMALL,
        _minimalistic(V3_LARGE),
        _minimalistic(V3_SMALL),
        V4_CONV_SMALL,
        _v4("conv_medium", "ConvMedium", tables.V4_CONV_MEDIUM, 32, 256),
        _v4("conv_large", "ConvLarge", tables.V4_CONV_LARGE, 24, 384),
        _v4("conv_medium_seg", "ConvMediumSeg", tables.V4_CONV_MEDIUM_SEG, 32, 256, last=_scaled_last(448), **_SEG),
        _v4("hybrid_medium", "HybridMedium", tables.V4_HYBRID_MEDIUM, 32, 256),
        _v4("hybrid_large", "HybridLarge", tables.V4_HYBRID_LARGE, 24, 384, act="gelu"),
        _other("mobiledet_cpu", "MobileDetCPU", tables.DET_CPU, 16, act="hard_swish", **_DET),
        _other("mobiledet_dsp", "MobileDetDSP", tables.DET_DSP, 32, act="relu6", **_DET),
        _other("mobiledet_edgetpu", "MobileDetEdgeTPU", tables.DET_EDGETPU, 32, act="relu6", **_DET),
        _other("mobilenet_edgetpu_v1", "MobileNetEdgeTPUV1", tables.EDGETPU_V1, 32, last=_fixed_last(1280), **_LAST),
        _edgetpu_v2("xs", 32, 3, 64, (16, 32, 48, 96, 144, 160, 192), 1280),
        _edgetpu_v2("s", 64, 5, 64, (24, 48, 64, 128, 160, 192, 256), 1280),
        _edgetpu_v2("m", 64, 5, 64, (32, 64, 80, 160, 192, 240, 320), 1344),
        _edgetpu_v2("l", 64, 7, 128, (32, 64, 96, 192, 240, 256, 384), 1408),
        _other("mnasnet_a1", "MNASNetA1", tables.MNAS_A1, 32, alphas=(0.75, 1.0), **_MNAS),
        _other("mnasnet_b1", "MNASNetB1", tables.MNAS_B1, 32, alphas=(0.5, 0.75, 1.0, 1.3), **_MNAS),
        _other("mnasnet_small", "MNASNetSmall", tables.MNAS_SMALL, 8, **_MNAS),
        _other("mobilenet_multi_max", "MobileNetMultiMAX", tables.MULTI_MAX, 32, **_MULTI),
        _other("mobilenet_multi_avg", "MobileNetMultiAVG", tables.MULTI_AVG, 32, **_MULTI),
        _other("mobilenet_multi_max_seg", "MobileNetMultiMAXSeg", tables.MULTI_MAX_SEG, 32, **_MULTI_SEG),
        _other("mobilenet_multi_avg_seg", "MobileNetMultiAVGSeg", tables.MULTI_AVG_SEG, 32, **_MULTI_SEG),
    )
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
