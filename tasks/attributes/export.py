"""The attribute model as it is exported: its endings are those of `Export` in the config."""

from __future__ import annotations

import keras
from keras import layers


def serving_model(model: keras.Model, outputs: str) -> keras.Model:
    """Returns the model from images to "logits" or "sigmoid", float32 [N, A]."""
    [raw] = model.outputs
    return keras.Model(model.inputs, layers.Activation("sigmoid", name="sigmoid")(raw) if outputs == "sigmoid" else raw)
