"""The model with attributes as it is exported."""

from __future__ import annotations

import keras
from keras import layers


def deployable(model: keras.Model, outputs: str) -> keras.Model:
    """Images to "logits" or "sigmoid", [N, A]."""
    [raw] = model.outputs
    return keras.Model(model.inputs, layers.Activation("sigmoid", name="sigmoid")(raw) if outputs == "sigmoid" else raw)
