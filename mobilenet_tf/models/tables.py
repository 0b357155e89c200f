"""The blocks of MobileNetV4, MobileDet, MNASNet, MobileNet-EdgeTPU and MobileNet-Multi. No TensorFlow.

The rows are those of the TensorFlow Model Garden (official/vision/modeling/backbones) and, where it has no such
network, of timm. Positional arguments are in this order:

    Conv(channels, stride, kernel)
    Block(channels, stride, kernel, expansion)
    Fused(channels, stride, expansion, kernel)
    Tucker(channels, share of the input, share of the output)
    Universal(channels, first depthwise kernel, middle one, expansion, stride)
    MultiQuery(channels, heads, channels of a query, stride of keys and values)

The blocks have their kinds' default activations; `specs` replaces these where a network has another.
"""

from __future__ import annotations

from mobilenet_tf.models.blocks import Block, BlockKind, Conv, Fused, MultiQuery, SqueezeExcite, Tucker, Universal

_INPUT_SE = SqueezeExcite(of_input=True, gate="sigmoid")
_SWISH_SE = SqueezeExcite(act="hard_swish", gate="sigmoid")

# arXiv:2404.10518: MobileNetV4-Conv-Small
V4_CONV_SMALL: tuple[BlockKind, ...] = (
    Conv(32, 2),
    Conv(32, 1, 1),
    Conv(96, 2),
    Conv(64, 1, 1),
    Universal(96, 5, 5, 3, 2),
    *[Universal(96, 0, 3, 2)] * 4,
    Universal(96, 3, 0, 4),
    Universal(128, 3, 3, 6, 2),
    Universal(128, 5, 5, 4),
    Universal(128, 0, 5, 4),
    Universal(128, 0, 5, 3),
    *[Universal(128, 0, 3, 4)] * 2,
)

# arXiv:2404.10518: MobileNetV4-Conv-Medium
V4_CONV_MEDIUM: tuple[BlockKind, ...] = (
    Fused(48, 2, 4),
    Universal(80, 3, 5, 4, 2),
    Universal(80, 3, 3, 2),
    Universal(160, 3, 5, 6, 2),
    *[Universal(160, 3, 3, 4)] * 2,
    Universal(160, 3, 5, 4),
    Universal(160, 3, 3, 4),
    Universal(160, 3, 0, 4),
    Universal(160, 0, 0, 2),
    Universal(160, 3, 0, 4),
    Universal(256, 5, 5, 6, 2),
    Universal(256, 5, 5, 4),
    *[Universal(256, 3, 5, 4)] * 2,
    Universal(256, 0, 0, 4),
    Universal(256, 3, 0, 4),
    Universal(256, 3, 5, 2),
    Universal(256, 5, 5, 4),
    *[Universal(256, 0, 0, 4)] * 2,
    Universal(256, 5, 0, 2),
)

# arXiv:2404.10518: MobileNetV4-Conv-Medium-Seg for dense heads; Model Garden only
V4_CONV_MEDIUM_SEG: tuple[BlockKind, ...] = (
    Fused(48, 2, 4),
    Universal(80, 3, 5, 4, 2),
    Universal(80, 3, 3, 2),
    Universal(160, 3, 5, 6, 2),
    *[Universal(160, 3, 3, 4)] * 2,
    Universal(160, 3, 5, 4),
    Universal(160, 3, 3, 4),
    *[Universal(160, 3, 0, 4)] * 2,
    Universal(256, 5, 5, 6, 2),
    Universal(128, 5, 5, 4),
    *[Universal(128, 3, 5, 4)] * 2,
    Universal(128, 3, 0, 4),
    Universal(128, 3, 5, 2),
    Universal(128, 5, 5, 4),
    Universal(128, 5, 0, 2),
)

# arXiv:2404.10518: MobileNetV4-Conv-Large
V4_CONV_LARGE: tuple[BlockKind, ...] = (
    Fused(48, 2, 4),
    Universal(96, 3, 5, 4, 2),
    Universal(96, 3, 3, 4),
    Universal(192, 3, 5, 4, 2),
    *[Universal(192, 3, 3, 4)] * 3,
    Universal(192, 3, 5, 4),
    *[Universal(192, 5, 3, 4)] * 5,
    Universal(192, 3, 0, 4),
    Universal(512, 5, 5, 4, 2),
    *[Universal(512, 5, 5, 4)] * 3,
    Universal(512, 5, 0, 4),
    Universal(512, 5, 3, 4),
    *[Universal(512, 5, 0, 4)] * 2,
    Universal(512, 5, 3, 4),
    Universal(512, 5, 5, 4),
    *[Universal(512, 5, 0, 4)] * 3,
)

# arXiv:2404.10518: MobileNetV4-Hybrid-Medium
V4_HYBRID_MEDIUM: tuple[BlockKind, ...] = (
    Fused(48, 2, 4),
    Universal(80, 3, 5, 4, 2),
    Universal(80, 3, 3, 2),
    Universal(160, 3, 5, 6, 2),
    Universal(160, 0, 0, 2),
    Universal(160, 3, 3, 4),
    Universal(160, 3, 5, 4),
    MultiQuery(160, 4, 64, 2),
    Universal(160, 3, 3, 4),
    MultiQuery(160, 4, 64, 2),
    Universal(160, 3, 0, 4),
    MultiQuery(160, 4, 64, 2),
    Universal(160, 3, 3, 4),
    MultiQuery(160, 4, 64, 2),
    Universal(160, 3, 0, 4),
    Universal(256, 5, 5, 6, 2),
    Universal(256, 5, 5, 4),
    *[Universal(256, 3, 5, 4)] * 2,
    Universal(256, 0, 0, 2),
    Universal(256, 3, 5, 2),
    Universal(256, 0, 0, 2),
    Universal(256, 0, 0, 4),
    MultiQuery(256, 4, 64),
    Universal(256, 3, 0, 4),
    MultiQuery(256, 4, 64),
    Universal(256, 5, 5, 4),
    MultiQuery(256, 4, 64),
    Universal(256, 5, 0, 4),
    MultiQuery(256, 4, 64),
    Universal(256, 5, 0, 4),
)

# arXiv:2404.10518: MobileNetV4-Hybrid-Large
V4_HYBRID_LARGE: tuple[BlockKind, ...] = (
    Fused(48, 2, 4),
    Universal(96, 3, 5, 4, 2),
    Universal(96, 3, 3, 4),
    Universal(192, 3, 5, 4, 2),
    *[Universal(192, 3, 3, 4)] * 3,
    Universal(192, 3, 5, 4),
    *[Universal(192, 5, 3, 4)] * 2,
    MultiQuery(192, 8, 48, 2),
    Universal(192, 5, 3, 4),
    MultiQuery(192, 8, 48, 2),
    Universal(192, 5, 3, 4),
    MultiQuery(192, 8, 48, 2),
    Universal(192, 5, 3, 4),
    MultiQuery(192, 8, 48, 2),
    Universal(192, 3, 0, 4),
    Universal(512, 5, 5, 4, 2),
    *[Universal(512, 5, 5, 4)] * 3,
    Universal(512, 5, 0, 4),
    Universal(512, 5, 3, 4),
    *[Universal(512, 5, 0, 4)] * 2,
    Universal(512, 5, 3, 4),
    Universal(512, 5, 5, 4),
    MultiQuery(512, 8, 64),
    Universal(512, 5, 0, 4),
    MultiQuery(512, 8, 64),
    Universal(512, 5, 0, 4),
    MultiQuery(512, 8, 64),
    Universal(512, 5, 0, 4),
    MultiQuery(512, 8, 64),
    Universal(512, 5, 0, 4),
)

# arXiv:2004.14525: MobileDet-CPU
DET_CPU: tuple[BlockKind, ...] = (
    Block(8, 1, 3, se=_SWISH_SE),
    Block(16, 2, 3, 4, se=_SWISH_SE),
    Block(32, 2, 3, 8, se=_SWISH_SE),
    *[Block(32, 1, 3, 4, se=_SWISH_SE)] * 3,
    Block(72, 2, 5, 8, se=_SWISH_SE),
    Block(72, 1, 3, 8, se=_SWISH_SE),
    Block(72, 1, 5, 4, se=_SWISH_SE),
    Block(72, 1, 3, 4, se=_SWISH_SE),
    Block(72, 1, 3, 8, se=_SWISH_SE, shortcut=False),
    *[Block(72, 1, 3, 8, se=_SWISH_SE)] * 3,
    Block(104, 2, 5, 8, se=_SWISH_SE),
    *[Block(104, 1, 5, 4, se=_SWISH_SE)] * 2,
    Block(104, 1, 3, 4, se=_SWISH_SE),
    Block(144, 1, 3, 8, se=_SWISH_SE),
)

# arXiv:2004.14525: MobileDet-DSP
DET_DSP: tuple[BlockKind, ...] = (
    Block(24, 1, 3),
    Fused(32, 2, 4),
    Fused(32, 1, 4),
    Block(32, 1, 3, 4),
    Tucker(32, 0.25, 0.75),
    Fused(64, 2, 8),
    Block(64, 1, 3, 4),
    *[Fused(64, 1, 4)] * 2,
    Fused(120, 2, 8),
    Block(120, 1, 3, 4),
    *[Block(120, 1, 3, 8)] * 2,
    Fused(144, 1, 8),
    *[Block(144, 1, 3, 8)] * 3,
    Block(160, 2, 3, 4),
    Block(160, 1, 3, 4),
    Fused(160, 1, 4, shortcut=False),
    Tucker(160, 0.75, 0.75),
    Block(240, 1, 3, 8),
)

# arXiv:2004.14525: MobileDet-EdgeTPU
DET_EDGETPU: tuple[BlockKind, ...] = (
    Tucker(16, 0.25, 0.75),
    Fused(16, 2, 8),
    Fused(16, 1, 4),
    Fused(16, 1, 8),
    Fused(16, 1, 4),
    Fused(40, 2, 8, 5),
    *[Fused(40, 1, 4)] * 3,
    Block(72, 2, 3, 8),
    Block(72, 1, 3, 8),
    *[Fused(72, 1, 4)] * 2,
    *[Block(96, 1, 5, 8)] * 2,
    *[Block(96, 1, 3, 8)] * 2,
    Block(120, 2, 5, 8),
    Block(120, 1, 3, 8),
    Block(120, 1, 5, 4),
    Block(120, 1, 3, 8),
    Block(384, 1, 5, 8),
)

# arXiv:1807.11626: MNASNet-A1
MNAS_A1: tuple[BlockKind, ...] = (
    Block(16, 1, 3),
    Block(24, 2, 3, 6),
    Block(24, 1, 3, 6),
    Block(40, 2, 5, 3, se=_INPUT_SE),
    *[Block(40, 1, 5, 3, se=_INPUT_SE)] * 2,
    Block(80, 2, 3, 6),
    *[Block(80, 1, 3, 6)] * 3,
    *[Block(112, 1, 3, 6, se=_INPUT_SE)] * 2,
    Block(160, 2, 5, 6, se=_INPUT_SE),
    *[Block(160, 1, 5, 6, se=_INPUT_SE)] * 2,
    Block(320, 1, 3, 6),
)

# arXiv:1807.11626: MNASNet-B1
MNAS_B1: tuple[BlockKind, ...] = (
    Block(16, 1, 3),
    Block(24, 2, 3, 3),
    *[Block(24, 1, 3, 3)] * 2,
    Block(40, 2, 5, 3),
    *[Block(40, 1, 5, 3)] * 2,
    Block(80, 2, 5, 6),
    *[Block(80, 1, 5, 6)] * 2,
    *[Block(96, 1, 3, 6)] * 2,
    Block(192, 2, 5, 6),
    *[Block(192, 1, 5, 6)] * 3,
    Block(320, 1, 3, 6),
)

# arXiv:1807.11626: MNASNet-small
MNAS_SMALL: tuple[BlockKind, ...] = (
    Block(8, 1, 3),
    Block(16, 2, 3, 3),
    Block(16, 2, 3, 6),
    Block(16, 1, 3, 6),
    Block(32, 2, 5, 6, se=_INPUT_SE),
    *[Block(32, 1, 5, 6, se=_INPUT_SE)] * 3,
    *[Block(32, 1, 3, 6, se=_INPUT_SE)] * 3,
    Block(88, 2, 5, 6, se=_INPUT_SE),
    *[Block(88, 1, 5, 6, se=_INPUT_SE)] * 2,
    Block(144, 1, 3, 6),
)

# MobileNet-EdgeTPU v1
EDGETPU_V1: tuple[BlockKind, ...] = (
    Conv(16, 1, 1, act=None),
    Fused(32, 2, 8),
    *[Fused(32, 1, 4)] * 3,
    Fused(48, 2, 8),
    *[Fused(48, 1, 4)] * 3,
    Block(96, 2, 3, 8),
    *[Block(96, 1, 3, 4)] * 3,
    Block(96, 1, 3, 8, shortcut=False),
    *[Block(96, 1, 3, 4)] * 3,
    Block(160, 2, 5, 8),
    *[Block(160, 1, 5, 4)] * 3,
    Block(192, 1, 3, 8),
)

# arXiv:2008.08178: MobileNet-Multi-MAX
MULTI_MAX: tuple[BlockKind, ...] = (
    Block(32, 2, 3, 3),
    Block(64, 2, 5, 6),
    *[Block(64, 1, 3, 2)] * 2,
    Block(128, 2, 5, 6),
    Block(128, 1, 3, 4),
    *[Block(128, 1, 3, 3)] * 2,
    Block(128, 1, 3, 6),
    Block(128, 1, 3, 3),
    Block(160, 2, 3, 6),
    Block(160, 1, 5, 4),
    Block(160, 1, 3, 5),
    Block(160, 1, 5, 4),
)

# arXiv:2008.08178: MobileNet-Multi-AVG
MULTI_AVG: tuple[BlockKind, ...] = (
    Block(32, 2, 3, 3),
    Block(32, 1, 3, 2),
    Block(64, 2, 5, 5),
    Block(64, 1, 3, 3),
    Block(64, 1, 3, 2),
    Block(64, 1, 3, 3),
    Block(128, 2, 5, 6),
    *[Block(128, 1, 3, 3)] * 3,
    Block(160, 1, 3, 6),
    Block(160, 1, 3, 4),
    Block(192, 2, 3, 6),
    *[Block(192, 1, 5, 4)] * 3,
)

# arXiv:2008.08178: MobileNet-Multi-AVG-Seg, for dense heads; Model Garden only
MULTI_AVG_SEG: tuple[BlockKind, ...] = (
    Block(32, 2, 3, 3),
    Block(32, 1, 3, 2),
    Block(64, 2, 5, 5),
    Block(64, 1, 3, 3),
    Block(64, 1, 3, 2),
    Block(64, 1, 3, 3),
    Block(128, 2, 5, 6),
    *[Block(128, 1, 3, 3)] * 3,
    Block(160, 1, 3, 6),
    Block(160, 1, 3, 4),
    Block(192, 2, 3, 6),
    Block(96, 1, 5, 2),
    *[Block(96, 1, 5, 4)] * 2,
)

# arXiv:2008.08178: MobileNet-Multi-MAX-Seg, for dense heads; Model Garden only
MULTI_MAX_SEG: tuple[BlockKind, ...] = (
    Block(32, 2, 3, 3),
    Block(64, 2, 5, 6),
    *[Block(64, 1, 3, 2)] * 2,
    Block(128, 2, 5, 6),
    Block(128, 1, 3, 4),
    *[Block(128, 1, 3, 3)] * 2,
    Block(128, 1, 3, 6),
    Block(128, 1, 3, 3),
    Block(160, 2, 3, 6),
    Block(96, 1, 5, 2),
    Block(96, 1, 3, 4),
    Block(96, 1, 5, 10 / 3),
)
