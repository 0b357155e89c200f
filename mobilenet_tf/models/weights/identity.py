"""Tells which MobileNet a set of kernels belongs to. No TensorFlow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from mobilenet_tf.models import specs

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


def with_identity(model, identity: Identity):
    """The model with its identity as an attribute, so that loading weights need not derive it from the kernels."""
    model.identity = identity
    return model


def identify(shapes: Iterable[tuple]) -> Identity | None:
    """The network whose backbone's kernels [h, w, in, out] are all among `shapes`, or None."""
    present = Counter(shape for shape in shapes if len(shape) == 4)
    known = _known(tuple(specs.NETS))
    fitting = [(sum(kernels.values()), identity) for identity, kernels in known.items() if kernels <= present]
    return max(fitting, key=lambda pair: pair[0])[1] if fitting else None


@cache
def _known(names: tuple[str, ...]) -> dict[Identity, Counter]:
    """The kernels of these networks at the published and other widths; of equal ones the published comes first."""
    nets = [specs.NETS[name] for name in names]
    return {
        Identity(net.name, alpha, reduced): Counter((net.reduced() if reduced else net).kernels(alpha))
        for net in nets
        for alpha in (*reversed(net.alphas), *OTHER_WIDTHS)
        for reduced in ((False, True) if net.reducible else (False,))
    }
