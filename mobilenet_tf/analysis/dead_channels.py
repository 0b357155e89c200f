"""Dead channels of a trained network: depthwise kernels that do nothing, and activations that are always 0."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from mobilenet_tf.models.graph import leaves, only_consumer
from mobilenet_tf.models.specs import BN_EPSILON


def dead_kernels(kernel, gamma, beta, variance) -> dict[str, np.ndarray]:
    """Finds the kernels of a depthwise convolution that do nothing, by the kernel and the BatchNorm after it.

    Args:
        kernel: [H, W, C].
        gamma, beta, variance: [C] each, the scale, shift and moving variance of the BatchNorm.

    Returns:
        A mask, bool [C], for each reason:
        zero: the norm of the kernel is under a tenth of the layer's median.
        constant: the standard deviation of the channel after the BatchNorm is under a hundredth of the layer's median.
        closed: the channel's mean is more than three standard deviations under 0, so a ReLU nearly always gives 0.
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
    """Counts the kernels that do nothing in each depthwise convolution before a BatchNorm.

    Returns a dict {name, kernels, zero, constant, closed} a layer: its name, its number of kernels and how many of them
    do nothing for which reason, see `dead_kernels`.
    """
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
    """Counts the channels of each activation that are 0 on all images.

    Args:
        batches: float32 images [N, H, W, 3] in 0..255.

    Returns:
        A dict {name, channels, dead} a layer: its name, its number of channels and how many of them are always 0.
    """
    probes, names = [], []
    for net in (*(layer for layer in model.layers if isinstance(layer, keras.Model)), model):
        activations = [layer for layer in net.layers if isinstance(layer, keras.layers.ReLU | keras.layers.Activation)]
        if (
            activations and len(net.inputs) == 1 and net.inputs[0].shape[-1] == 3
        ):  # not a head, whose input is a feature map
            names += [layer.name for layer in activations]
            probes.append(keras.Model(net.inputs[0], {layer.name: layer.output for layer in activations}))
    active: dict[str, np.ndarray] = {}  # bool [C]
    for images in batches:
        for probe in probes:
            outputs: Any = probe(images, training=False)
            for name, output in outputs.items():
                output = np.asarray(output)
                is_active = (output != 0).any(tuple(range(output.ndim - 1)))
                active[name] = active.get(name, False) | is_active
    return [{"name": name, "channels": len(active[name]), "dead": int((~active[name]).sum())} for name in names]
