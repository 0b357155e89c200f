"""The embedding model as it is exported."""

from __future__ import annotations

import keras

from mobilenet_tf.tasks.embedding.inference import EMBEDDING


def deployable(model: keras.Model) -> keras.Model:
    """The embedder as it is exported: images to the embedding [N, D] alone."""
    return keras.Model(model.inputs, model.output[EMBEDDING], name=model.name)
