"""MobileNets that end in a unit vector: backbone, global pooling, the published head, a dense layer."""

from __future__ import annotations

import keras
from keras import layers

from mobilenet_tf.models.heads import pooled
from mobilenet_tf.models.layers import BatchNormalization, Cosines, UnitLength
from mobilenet_tf.models.weights import load as load_weights
from mobilenet_tf.tasks.embedding.inference import EMBEDDING

COSINES = "cosines"


def embedder(
    backbone: str,
    identities: int | None,
    *,
    alpha: float = 1.0,
    input_size: tuple[int, int] = (224, 224),
    dimension: int = 128,
    batch_norm: bool = True,
    dropout: float = 0.0,
    weights: str | None = None,
) -> keras.Model:
    """Images [N, H, W, 3] in 0..255 to {"embedding": unit vectors [N, dimension]}.

    With `identities`, also to "cosines" [N, identities]: those with a learned center of each, for the losses that need
    them; `serving_model` drops them.

    Args:
        weights: "imagenet", a path, or None: see `mobilenet_tf.models.weights.load`.
    """
    image, x = pooled(backbone, alpha, input_size, dropout)
    x = layers.Dense(dimension, use_bias=not batch_norm, name="projection")(x)
    if batch_norm:
        x = BatchNormalization(name="projection_bn")(x)
    embedding = UnitLength(dtype="float32", name=EMBEDDING)(x)
    outputs = {EMBEDDING: embedding}
    if identities:
        outputs[COSINES] = Cosines(identities, dtype="float32", name=COSINES)(embedding)
    model = keras.Model(image, outputs, name=f"{backbone}_embedder")
    if weights:
        load_weights(model, weights)
    return model
