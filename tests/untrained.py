"""Networks without training whose answers still differ from picture to picture and from place to place."""

import keras
import numpy as np

from mobilenet_tf.models.graph import all_layers
from mobilenet_tf.models.layers import BatchNormalization


def lively(model):
    """Random normalisation and random heads, in place; returns the model."""
    rng = np.random.default_rng(1)
    for layer in all_layers(model):
        if isinstance(layer, BatchNormalization):
            count = layer.gamma.shape[0]
            layer.set_weights([rng.uniform(0.8, 1.3, count), rng.normal(0, 0.3, count), *layer.get_weights()[2:]])
        elif layer.name.startswith(("class", "logits")) and layer.weights:
            layer.set_weights([rng.normal(0, 1, weight.shape) * weight.shape[-1] ** -0.2 for weight in layer.weights])
    return model


def evened(model, pictures):
    """The model with logits of mean 0 and variance 1 over the pictures for each class: each wins somewhere."""
    raw = model(np.asarray(pictures, np.float32), training=False).numpy().reshape(-1, model.outputs[0].shape[-1])
    layer = keras.layers.Normalization(mean=raw.mean(0), variance=raw.var(0), name="evened")
    return keras.Model(model.inputs, layer(model.outputs[0]))


def adjusted(model, pictures):
    """The pictures' statistics in every normalisation, in place: answers spread over them. Returns the model."""
    for layer in all_layers(model):
        if isinstance(layer, BatchNormalization):
            layer.momentum = 0.0
    model(np.asarray(pictures, np.float32), training=True)
    return model
