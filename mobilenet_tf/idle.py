"""What of a trained network does nothing: depthwise kernels by their weights, channels by their answers to pictures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

EPSILON = 1e-3  # of the batch normalisation of every MobileNet
SILENT = 1e-6  # an activation that never gets farther from 0


def idle_kernels(kernel, gamma, beta, variance) -> dict[str, np.ndarray]:
    """Which kernels of a depthwise convolution and its batch normalisation do nothing, bool [C] for each way.

    zero:     the kernel's norm is under a tenth of the layer's median.
    constant: after normalisation the channel's spread is under a hundredth of the layer's median.
    closed:   the channel lies more than three spreads under 0, where a ReLU lets nothing through.

    Args:
        kernel: [H, W, C]. gamma, beta, variance: [C], the normalisation's scale, shift and moving variance.
    """
    kernel, gamma, beta, variance = map(np.asarray, (kernel, gamma, beta, variance))
    norm = np.sqrt((kernel**2).sum((0, 1)))
    spread = np.abs(gamma) * np.sqrt(variance / (variance + EPSILON))  # standard deviation after normalisation
    return {
        "zero": norm < 0.1 * np.median(norm),
        "constant": spread < 0.01 * np.median(spread),
        "closed": beta < -3 * spread,
    }


def idle_by_layer(model: keras.Model) -> list[dict[str, Any]]:
    """{name, kernels, zero, constant, closed} of each depthwise convolution that a normalisation follows: counts."""
    rows = []
    for layer in model._flatten_layers():
        norm = _next(layer) if isinstance(layer, keras.layers.DepthwiseConv2D) else None
        if norm is None or not hasattr(norm, "moving_variance"):
            continue
        kernel = layer.kernel.numpy()
        kernel = kernel.reshape(*kernel.shape[:2], -1)
        found = idle_kernels(kernel, norm.gamma, norm.beta, norm.moving_variance)
        counts = {way: int(which.sum()) for way, which in found.items()}
        rows.append({"name": layer.name, "kernels": kernel.shape[-1], **counts})
    return rows


def silent_by_layer(model: keras.Model, batches: Iterable[np.ndarray]) -> list[dict[str, Any]]:
    """{name, channels, silent} of each activation: how many of its channels stay at 0 on all the images.

    batches: float32 images [N, H, W, 3] in 0..255.
    """
    layers = [
        (net, [layer for layer in net.layers if isinstance(layer, keras.layers.ReLU | keras.layers.Activation)])
        for net in (model, *(layer for layer in model.layers if isinstance(layer, keras.Model)))
    ]
    layers = [(net, found) for net, found in layers if found and len(net.inputs) == 1]
    largest: dict[str, np.ndarray] = {}
    probes = [(keras.Model(net.inputs, [layer.output for layer in found]), found) for net, found in layers]
    for images in batches:
        for probe, found in probes:
            answers = probe(images, training=False)
            for layer, answer in zip(found, answers if isinstance(answers, list) else [answers], strict=True):
                answer = np.abs(np.asarray(answer, np.float32))
                peak = answer.max(tuple(range(answer.ndim - 1)))  # [C]
                largest[layer.name] = np.maximum(largest.get(layer.name, 0), peak)
    return [
        {"name": name, "channels": len(peak), "silent": int((peak < SILENT).sum())} for name, peak in largest.items()
    ]


def _next(layer):
    """The layer that takes what `layer` gives, where there is one only."""
    nodes = layer._outbound_nodes
    return nodes[0].operation if len(nodes) == 1 else None
