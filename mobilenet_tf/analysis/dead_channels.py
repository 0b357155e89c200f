"""Which parts of a trained network do nothing: depthwise kernels by their weights, channels by their activations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from mobilenet_tf.models.graph import leaves, only_consumer
from mobilenet_tf.models.specs import BN_EPSILON


def dead_kernels(kernel, gamma, beta, variance) -> dict[str, np.ndarray]:
    """The kernels of a depthwise convolution and its BatchNorm that do nothing: a mask, bool [C], for each reason.

    zero:     the norm of the kernel is under a tenth of the layer's median.
    constant: the standard deviation of the channel after the BatchNorm is under a hundredth of the layer's median.
    closed:   the channel lies more than three standard deviations under 0, where a ReLU gives 0.

    Args:
        kernel: [H, W, C].
        gamma, beta, variance: [C] each, the scale, shift and moving variance of the BatchNorm.
    """
    kernel, gamma, beta, variance = map(np.asarray, (kernel, gamma, beta, variance))
    norm = np.sqrt((kernel**2).sum((0, 1)))
    spread = np.abs(gamma) * np.sqrt(variance / (variance + BN_EPSILON))  # standard deviation after the BatchNorm
    return {
        "zero": norm < 0.1 * np.median(norm),
        "constant": spread < 0.01 * np.median(spread),
        "closed": beta < -3 * spread,
    }


def dead_kernels_by_layer(model: keras.Model) -> list[dict[str, Any]]:
    """{name, kernels, zero, constant, closed} of each depthwise convolution before a BatchNorm: its name and counts."""
    rows = []
    for layer in leaves(model):
        norm = only_consumer(layer) if isinstance(layer, keras.layers.DepthwiseConv2D) else None
        if norm is None or not hasattr(norm, "moving_variance"):
            continue
        kernel = layer.kernel.numpy()
        kernel = kernel.reshape(*kernel.shape[:2], -1)
        dead = dead_kernels(kernel, norm.gamma, norm.beta, norm.moving_variance)
        counts = {reason: int(which.sum()) for reason, which in dead.items()}
        rows.append({"name": layer.name, "kernels": kernel.shape[-1], **counts})
    return rows


def dead_channels_by_layer(model: keras.Model, batches: Iterable[np.ndarray]) -> list[dict[str, Any]]:
    """{name, channels, dead} of each activation: how many of its channels stay at 0 on all the images.

    batches: float32 images [N, H, W, 3] in 0..255.
    """
    probes, names = [], []
    for net in (*(layer for layer in model.layers if isinstance(layer, keras.Model)), model):
        found = [layer for layer in net.layers if isinstance(layer, keras.layers.ReLU | keras.layers.Activation)]
        if found and len(net.inputs) == 1 and net.inputs[0].shape[-1] == 3:  # not a head that is fed with maps
            names += [layer.name for layer in found]
            probes.append(keras.Model(net.inputs[0], {layer.name: layer.output for layer in found}))
    active: dict[str, np.ndarray] = {}  # bool [C]
    for images in batches:
        for probe in probes:
            for name, answer in probe(images, training=False).items():
                answer = np.asarray(answer)
                now = (answer != 0).any(tuple(range(answer.ndim - 1)))
                active[name] = active.get(name, False) | now
    return [{"name": name, "channels": len(active[name]), "dead": int((~active[name]).sum())} for name in names]
