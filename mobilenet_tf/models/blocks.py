"""The kinds of block that tables are made of: what each is, and the shapes of its kernels. No TensorFlow.

`block_layers.BUILDERS` has the function that builds each kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

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

    @property
    def carried(self) -> tuple[str, ...] | None:
        """The depthwise parts between "expand" and "project", which have the expansion's channels.

        None: these channels cannot be cut out one by one, as pruning does.
        """
        ...

    def kernels(self, channels: int, out: int) -> Iterator[Kernel]:
        """The shapes of its kernels from `channels` to `out` channels, in the order of its layers."""
        ...


# Width rules -------------------------------------------------------------------------------------


def make_divisible(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, never more than 10 % below it (TF-slim, mobilenet.py)."""
    rounded = nearest(value, divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def nearest(value: float, divisor: int = 8) -> int:
    """The multiple of `divisor` nearest to `value`, halves up, and at least `divisor`."""
    return max(divisor, int(value + divisor / 2) // divisor * divisor)


# Parts -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SqueezeExcite:
    """Scales channels by what their means say: mean -> 1x1 convolution, `act` -> 1x1 convolution, `gate` -> product.

    ratio: the channels in between as a share of those that are scaled or, with `of_input`, of the block's input.
    Source: arXiv:1709.01507; defaults: arXiv:1905.02244, section 5.3.
    """

    ratio: float = 0.25
    of_input: bool = False
    act: str = "relu"
    gate: str = "hard_sigmoid"

    def width(self, channels: int, inputs: int) -> int:
        """The channels in between, for a block with `inputs` that scales `channels`."""
        return round(inputs * self.ratio) if self.of_input else make_divisible(channels * self.ratio)


# Kinds -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A row of the tables of V1 to V3: [expansion] -> depthwise -> [squeeze-excite] -> projection [+ shortcut].

    expand: the expansion's channels as a multiple of the block's input; None for a block without expansion.
    linear: the projection has no activation, and a shortcut is added where the shapes allow it (V2, V3).
    shortcut: False where a table leaves it out although the shapes allow it.
    """

    out: int
    stride: int
    kernel: int = 3
    expand: float | None = None
    se: SqueezeExcite | None = None
    act: str = "relu6"
    linear: bool = True
    shortcut: bool = True
    carried: tuple[str, ...] = ("depthwise",)

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
            squeezed = self.se.width(hidden, channels)
            yield from ((1, 1, hidden, squeezed), (1, 1, squeezed, hidden))
        yield (1, 1, hidden, out)


@dataclass(frozen=True)
class Conv:
    """A full convolution with BatchNormalization and, unless `act` is None, an activation."""

    out: int
    stride: int = 1
    kernel: int = 3
    act: str | None = "relu"
    expand: None = None
    carried: None = None

    def kernels(self, channels: int, out: int) -> Iterator[Kernel]:
        """The shapes of its kernels from `channels` to `out` channels, in the order of its layers."""
        yield (self.kernel, self.kernel, channels, out)


@dataclass(frozen=True)
class Fused:
    """A fused inverted bottleneck: full convolution that expands -> 1x1 projection, linear [+ shortcut].

    group: the expanded channels that the convolution makes of one group of the block's input; None: it has one group.
    Source: arXiv:2003.02838 (MobileNet-EdgeTPU), arXiv:2004.14525, figure 3 (MobileDet).
    """

    out: int
    stride: int
    expand: float
    kernel: int = 3
    act: str = "relu"
    group: int | None = None
    shortcut: bool = True

    @property
    def carried(self) -> tuple[str, ...] | None:
        """Nothing lies between expansion and projection; groups must keep their sizes."""
        return None if self.group else ()

    def hidden(self, channels: int) -> int:
        """The channels between the two convolutions of a block with `channels` inputs."""
        return make_divisible(channels * self.expand)

    def groups(self, channels: int) -> int:
        """The groups of the expansion of a block with `channels` inputs."""
        return max(1, self.hidden(channels) // self.group) if self.group else 1

    def kernels(self, channels: int, out: int) -> Iterator[Kernel]:
        """The shapes of its kernels from `channels` to `out` channels, in the order of its layers."""
        hidden = self.hidden(channels)
        yield (self.kernel, self.kernel, channels // self.groups(channels), hidden)
        yield (1, 1, hidden, out)


@dataclass(frozen=True)
class Tucker:
    """A generalized bottleneck: 1x1 convolution -> full convolution -> 1x1 convolution, linear [+ shortcut].

    squeeze, shrink: the channels after the first as a share of the block's input, and after the second of its output.
    Source: arXiv:2004.14525, figure 3.
    """

    out: int
    squeeze: float
    shrink: float
    stride: int = 1
    kernel: int = 3
    act: str = "relu6"
    shortcut: bool = True
    expand: None = None
    carried: None = None

    def widths(self, channels: int, out: int) -> tuple[int, int]:
        """The channels after the first and the second convolution."""
        return nearest(channels * self.squeeze), nearest(out * self.shrink)

    def kernels(self, channels: int, out: int) -> Iterator[Kernel]:
        """The shapes of its kernels from `channels` to `out` channels, in the order of its layers."""
        first, second = self.widths(channels, out)
        yield from ((1, 1, channels, first), (self.kernel, self.kernel, first, second), (1, 1, second, out))


@dataclass(frozen=True)
class Universal:
    """A universal inverted bottleneck: [depthwise, linear] -> expansion -> [depthwise] -> projection [+ shortcut].

    start, middle: the kernels of the two depthwise convolutions; 0: there is none. The middle one has the stride, and
    without it the first. ExtraDW has both, an inverted bottleneck the middle one, ConvNext the first, FFN none.
    scale: the initial value of a learned scale for each channel of the projection; None: no such scale.
    Source: arXiv:2404.10518, section 3.
    """

    out: int
    start: int
    middle: int
    expand: float
    stride: int = 1
    act: str = "relu"
    scale: float | None = None

    @property
    def carried(self) -> tuple[str, ...]:
        """The middle depthwise convolution, where there is one."""
        return ("depthwise",) if self.middle else ()

    def hidden(self, channels: int) -> int:
        """The channels of the expansion of a block with `channels` inputs."""
        return make_divisible(channels * self.expand)

    def kernels(self, channels: int, out: int) -> Iterator[Kernel]:
        """The shapes of its kernels from `channels` to `out` channels, in the order of its layers."""
        hidden = self.hidden(channels)
        if self.start:
            yield (self.start, self.start, channels, 1)
        yield (1, 1, channels, hidden)
        if self.middle:
            yield (self.middle, self.middle, hidden, 1)
        yield (1, 1, hidden, out)


@dataclass(frozen=True)
class MultiQuery:
    """Multi-query attention: BatchNormalization -> heads with one common key and value -> 1x1 -> scale + shortcut.

    heads, depth: how many queries each pixel has, and the channels of a query, of the keys and of the values.
    shrink: the stride of a depthwise convolution before keys and values, each their own; 1: there is none.
    Source: arXiv:2404.10518, section 3; arXiv:1911.02150.
    """

    out: int
    heads: int
    depth: int
    shrink: int = 1
    scale: float = 1e-5
    stride: int = 1
    expand: None = None
    carried: None = None

    def kernels(self, channels: int, out: int) -> Iterator[Kernel]:
        """The shapes of its kernels from `channels` to `out` channels, in the order of its layers."""
        smaller = [(3, 3, channels, 1)] if self.shrink > 1 else []
        yield from (*smaller, (1, 1, channels, self.heads * self.depth), (1, 1, channels, self.depth))
        yield from (*smaller, (1, 1, channels, self.depth), (1, 1, self.heads * self.depth, out))
