"""A MobileNet with one vector of numbers for each image: backbone, global pooling, the published head, logits."""

from __future__ import annotations

import keras
from keras import layers

from mobilenet_tf.models import assembly, builder, specs
from mobilenet_tf.models.weights import load as load_weights


def pooled(backbone: str, alpha: float, input_size: tuple[int, int], dropout: float):
    """(images [N, H, W, 3] in 0..255, vectors [N, C]), symbolic tensors; "features" names the global pooling.

    V3 and V4 keep the 1x1 convolution between pooling and classifier (V3 paper, section 5.3).
    """
    net = specs.find(backbone)
    image = keras.Input((*input_size, 3), name="image")
    x = builder.backbone(backbone, alpha, (*input_size, 3))(image)["s32"]
    x = layers.GlobalAveragePooling2D(keepdims=net.head is not None, name="features")(x)
    if net.head:
        x = layers.Flatten(name="flatten")(assembly.head(net, x, alpha))
    return image, layers.Dropout(dropout, name="dropout")(x)


def classifier(
    backbone: str,
    outputs: int,
    *,
    alpha: float = 1.0,
    input_size: tuple[int, int] = (224, 224),
    dropout: float = 0.2,
    weights: str | None = None,
) -> keras.Model:
    """A model from images [N, H, W, 3] in 0..255 to logits [N, outputs]: a dense layer behind what `pooled` gives.

    Args:
        weights: "imagenet", a path, or None: see `mobilenet_tf.models.weights.load`.
    """
    image, x = pooled(backbone, alpha, input_size, dropout)
    logits = layers.Dense(outputs, dtype="float32", name="logits")(x)
    model = keras.Model(image, logits, name=f"{backbone}_classifier")
    if weights:
        load_weights(model, weights)
    return model
