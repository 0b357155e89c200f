"""The classifier as it is exported."""

from __future__ import annotations

import keras
from keras import layers


def deployable(model: keras.Model, outputs: str) -> keras.Model:
    """Images to "logits" or "softmax", [N, classes]."""
    [raw] = model.outputs
    return keras.Model(model.inputs, layers.Softmax(name="softmax")(raw) if outputs == "softmax" else raw)
