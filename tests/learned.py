"""Networks that say something: answers that differ between pictures, and where these are beyond rounding."""

import keras
import numpy as np

from mobilenet_tf.inference.spread import spread


def told_apart(model, images, least=0.05):
    """The model, a predictor or a Keras model, whose outputs must differ between the images.

    Comparisons of one that answers alike for all would hold for any other such, and near ties would decide them.
    """
    raw = model(np.asarray(images, np.float32))
    found = spread(keras.tree.map_structure(lambda value: np.asarray(value, np.float32), raw))
    assert found > least, f"outputs hardly differ between pictures: their spread is {found:.3g}"
    return model


def clear(logits, margin):
    """Where the best of the logits [..., classes] leads by more than the margin: bool [...].

    Logits that are off by less than half of it have the same best class there, on any processor.
    """
    best = np.sort(logits, axis=-1)
    return best[..., -1] - best[..., -2] > margin
