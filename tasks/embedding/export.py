"""The embedding model as it is exported."""

from __future__ import annotations

from typing import cast

import keras

from mobilenet_tf.tasks.embedding.inference import EMBEDDING


def serving_model(model: keras.Model) -> keras.Model:
    """Returns the model from images to the embedding only, float32 [N, D]."""
    return keras.Model(model.inputs, cast(dict, model.output)[EMBEDDING], name=model.name)
