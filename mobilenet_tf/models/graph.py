"""What this package reads of Keras networks beside their public interface: all such access is here."""

from __future__ import annotations

from collections.abc import Iterable

import keras


def leaves(layer) -> Iterable[keras.layers.Layer]:
    """All layers of a model that hold no others, nested models included, in topological order."""
    for child in getattr(layer, "layers", []):
        yield from leaves(child) if getattr(child, "layers", None) else (child,)
