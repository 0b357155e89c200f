"""Tells which MobileNet a set of kernels belongs to. No TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from mobilenet_tf.models import specs
from mobilenet_tf.models.specs import Net

SE_RATIO = 0.25
OTHER_WIDTHS = tuple(round(0.05 * i, 2) for i in range(1, 41))


@dataclass(frozen=True)
class Identity:
    """A network and its width."""

    net: str
    alpha: float
    reduced_tail: bool = False

    def __str__(self) -> str:
        tail = " with a reduced tail" if self.reduced_tail else ""
        return f"{specs.NETS[self.net].title} alpha={float(self.alpha)}{tail}"


def identify(shapes: Iterable[tuple]) -> Identity | None:
    """The network whose backbone's kernels [h, w, in, out] are all among `shapes`, or None."""
    present = Counter(shape for shape in shapes if len(shape) == 4)
    fitting = [(sum(kernels.values()), identity) for identity, kernels in _known().items() if kernels <= present]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


@cache
def _known() -> dict[Identity, Counter]:
    """The kernels of every network at the published and other widths; of equal ones the published comes first."""
    return {
        Identity(net.name, alpha, reduced): Counter(_kernels(net, alpha, reduced))
        for net in specs.NETS.values()
        for alpha in (*reversed(net.alphas), *OTHER_WIDTHS)
        for reduced in ((False, True) if net.reducible else (False,))
    }


def _kernels(net: Net, alpha: float, reduced_tail: bool) -> Iterator[tuple]:
    """The kernel shapes of a backbone, as `build.endpoints` builds it."""
    channels, stride = net.stem_width(net.stem, alpha), 2
    yield (3, 3, 3, channels)
    for block in net.blocks:
        stride *= block.stride
        if block.expand:
            hidden = specs.make_divisible(channels * block.expand)
            yield (1, 1, channels, hidden)
            channels = hidden
        yield (block.kernel, block.kernel, channels, 1)
        if block.se:
            squeezed = specs.make_divisible(channels * SE_RATIO)
            yield from ((1, 1, channels, squeezed), (1, 1, squeezed, channels))
        out = net.width(block.out // 2 if reduced_tail and stride == 32 else block.out, alpha)
        yield (1, 1, channels, out)
        channels = out
    if net.last:
        yield (1, 1, channels, net.last(channels, alpha))
