"""Statistics of BatchNormalization that belong to a network's weights, however short its training was.

The moving averages of training lag behind the weights: by a few hundred steps at the usual momentum, and by more where
the weights are a moving average themselves. After a short run, a network then gives nearly the same output for every
image, though its training loss has fallen. Estimating the statistics again, on training images, costs a few forward
passes.
Source: Wu and Johnson, "Rethinking Batch in BatchNorm", arXiv:2105.07576, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import keras
import numpy as np
import tensorflow as tf

from mobilenet_tf.inference.spread import spread
from mobilenet_tf.models.graph import leaves
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.utils.progress import track

MAX_BYTES = 2**28  # of stored images: of large ones, a few have enough pixels
MIN_SPREAD = 0.2  # of the outputs in inference, as a share of their spread in training


class Statistics:
    """Estimates the statistics of some of a model's BatchNormalization layers on batches of images.

    Args:
        model: images or features, [N, ...], to outputs. Its weights may change between the calls.
        layers: those whose statistics are estimated; the others normalize as in inference, and so does dropout.
    """

    def __init__(self, model: keras.Model, layers: Sequence[BatchNormalization]):
        self.model, self.layers = model, list(dict.fromkeys(layers))

        signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)]

        @tf.function(input_signature=signature, jit_compile=False, autograph=False)
        def observe(images):
            """([(mean, variance)] of each layer, outputs) with the statistics of this batch."""
            seen = {layer: [] for layer in self.layers}
            for layer in self.layers:
                layer.observer = seen[layer].append
            try:
                outputs = self.model(images, training=False)
            finally:
                for layer in self.layers:
                    layer.observer = None
            return list(seen.values()), outputs

        self._observe = observe

    def update(self, batches: Iterable) -> None:
        """Gives each layer the mean and the variance over all images of the batches. Does nothing without batches."""
        count, sums = 0, None
        for images in batches:
            moments, _ = self._observe(np.float32(images))
            size = len(images)
            new = [_mean_and_square(calls) for calls in moments]
            old = sums or [(0.0, 0.0)] * len(new)
            sums = [(m + size * mean, s + size * square) for (m, s), (mean, square) in zip(old, new, strict=True)]
            count += size
        for layer, (mean, square) in zip(self.layers, sums or [], strict=bool(sums)):
            mean, square = mean / count, square / count
            assert layer.moving_mean is not None and layer.moving_variance is not None  # the layer is built
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(np.maximum(square - mean**2, 0.0))

    def fit(self, images, predictor: Callable) -> bool:
        """Whether the outputs of `predictor`, the model in inference, differ between images about as in training."""
        in_training = tf.nest.map_structure(np.asarray, self._observe(np.float32(images))[1])
        return spread(predictor(images)) >= MIN_SPREAD * spread(in_training)


def first_batches(batches: Iterable, total: int) -> list[np.ndarray]:
    """The first batches as arrays; at least one, and not more than `MAX_BYTES` of them.

    Images [N, H, W, 3] in 0..255 are stored as uint8, features as they are. `total` is how many batches there are.
    """
    arrays, size = [], 0
    for batch in track(batches, "images for BatchNormalization", total):
        array = np.asarray(batch)
        arrays.append(np.rint(array).astype(np.uint8) if array.ndim == 4 and array.shape[-1] == 3 else array)
        size += arrays[-1].nbytes
        if size > MAX_BYTES:
            break
    return arrays


def trained_layers(network: keras.Model, twin: keras.Model) -> list[BatchNormalization]:
    """The layers of `twin` that correspond to the BatchNormalization layers of `network` that are trained."""
    pairs = zip(leaves(network), leaves(twin), strict=True)
    return [other for layer, other in pairs if isinstance(layer, BatchNormalization) and layer.trainable]


def _mean_and_square(calls: list) -> tuple[np.ndarray, np.ndarray]:
    """The mean, and the mean square, of a layer's inputs over its calls in one batch."""
    calls = [(np.asarray(mean, np.float64), np.asarray(variance, np.float64)) for mean, variance in calls]
    return np.mean([mean for mean, _ in calls], 0), np.mean([variance + mean**2 for mean, variance in calls], 0)
