"""Structured pruning: cuts out the expansion channels that matter least, which leaves a smaller dense network.

A channel is removed from the expansion, its BatchNorm, the depthwise convolution and its BatchNorm where there is one,
the squeeze-and-excite and the projection. No mask and no sparse kernel remains, so every format can be exported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mobilenet_tf.analysis.cost import Cost, cost
from mobilenet_tf.models import graph, specs
from mobilenet_tf.models.graph import leaves
from mobilenet_tf.utils.errors import UserError

CHANNEL_MULTIPLE = 8  # widths are rounded up to a multiple of it, for which kernels are fastest


@dataclass(frozen=True)
class Expansion:
    """The layers that one block's expansion channels run through."""

    expand: keras.layers.Layer  # its filters are the channels
    depthwise: tuple[keras.layers.Layer, ...]  # the depthwise convolutions that the channels run through, if any
    norms: tuple[keras.layers.Layer, ...]  # the BatchNorms after the expansion and after these
    project: keras.layers.Layer  # its inputs are the channels
    squeeze: keras.layers.Layer | None  # squeeze-and-excite: inputs
    excite: keras.layers.Layer | None  # ... and filters

    @property
    def width(self) -> int:
        """The number of channels."""
        return self.expand.filters

    @property
    def convolutions(self) -> list[keras.layers.Layer]:
        """The layers whose multiply-adds grow with the channels."""
        return [layer for layer in (self.expand, *self.depthwise, self.squeeze, self.excite, self.project) if layer]


@dataclass(frozen=True)
class PruningResult:
    """The smaller model, the numbers of channels of each block before and after, and the costs before and after."""

    model: keras.Model
    widths: dict[str, tuple[int, int]]  # name of the expansion -> (before, after)
    before: Cost
    after: Cost

    def to_dict(self) -> dict:
        """Returns everything except the model, as plain types for JSON."""
        sums = {
            when: {"mult_adds": cost.mult_adds, "parameters": cost.parameters}
            for when, cost in (("before", self.before), ("after", self.after))
        }
        return sums | {"widths": {name: list(pair) for name, pair in self.widths.items()}}


def prune(
    model: keras.Model,
    backbone: str,
    flops_reduction: float,
    *,
    criterion: str = "l1",
    input_size: tuple[int, int] | None = None,
) -> PruningResult:
    """Removes expansion channels of a trained network until the multiply-adds of the whole model are down by a share.

    The channels of all blocks compete: each score is divided by the mean score of its block. An expansion that a head
    takes as its input (the first map of SSDLite) stays whole. The result needs fine-tuning.

    Args:
        model: a network with the nested layer "backbone", built from the table `backbone` of `specs.NETS`.
        flops_reduction: the share of the multiply-adds to cut, between 0 and 1.
        criterion: how a channel is scored. "batch_norm": by the absolute scale of its last BatchNorm, mostly the one
            after the depthwise convolution (Liu et al. 2017); "l1": by that times the sum of the absolute weights of
            the channel in the projection (Li et al. 2017, who sum a filter's own weights).
        input_size: height, width of the images for which multiply-adds are counted; needed where the model takes any.

    Raises:
        UserError: the network has no expansions, or they are too few for the reduction.
    """
    if criterion not in SCORES:
        raise UserError(f"criterion must be one of {', '.join(SCORES)}. Received: criterion={criterion}")
    if not 0 < flops_reduction < 1:
        raise UserError(
            "flops_reduction must lie between 0 and 1, a share of the mult-adds. "
            f"Received: flops_reduction={flops_reduction}"
        )
    expansions = _expansions(model, specs.find(backbone))
    if not expansions:
        raise UserError(f"pruning needs a network with expansions, such as MobileNetV2 to V4. Received: {backbone}")
    scores = {e.expand.name: SCORES[criterion](e) for e in expansions}
    relative = {name: values / max(values.mean(), 1e-12) for name, values in scores.items()}
    whole = cost(model, input_size)
    per_channel = _mult_adds_per_channel(whole, expansions)

    def saved(threshold: float) -> float:
        """Returns the share of the multiply-adds that is saved when blocks keep the channels above a threshold."""
        cut = sum(per_channel[name] * (len(s) - _width(s, threshold)) for name, s in relative.items())
        return cut / whole.mult_adds

    low, high = 0.0, max(values.max() for values in relative.values()) + 1.0
    if saved(high) < flops_reduction:
        raise UserError(
            f"flops_reduction must be at most {saved(high):.2f} for this network's expansions. "
            f"Received: flops_reduction={flops_reduction}"
        )
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if saved(middle) >= flops_reduction else (middle, high)
    kept = {name: _best(values, _width(values, high)) for name, values in relative.items()}
    result = _resized(model, expansions, kept)
    _copy_weights(model, result, expansions, kept)
    widths = {name: (len(relative[name]), len(channels)) for name, channels in kept.items()}
    return PruningResult(result, widths, whole, cost(result, input_size))


def _mult_adds_per_channel(whole: Cost, expansions: list[Expansion]) -> dict[str, float]:
    mult_adds = {row.name: row.mult_adds for row in whole.rows}
    return {e.expand.name: sum(mult_adds[layer.name] for layer in e.convolutions) / e.width for e in expansions}


def _batch_norm(expansion: Expansion) -> np.ndarray:
    return np.abs(np.asarray(expansion.norms[-1].gamma))


def _l1(expansion: Expansion) -> np.ndarray:
    return _batch_norm(expansion) * np.abs(np.asarray(expansion.project.kernel)).sum((0, 1, 3))


SCORES: dict[str, Callable[[Expansion], np.ndarray]] = {"l1": _l1, "batch_norm": _batch_norm}


def _expansions(model: keras.Model, net: specs.Net) -> list[Expansion]:
    backbone = model.get_layer("backbone")
    layers, names, expansions = {layer.name: layer for layer in backbone.layers}, net.names, []
    read_outside = _layers_read_outside(model, backbone)
    for i, block in enumerate(net.blocks, names.start):
        expand = names.layer(i, "expand")
        if not block.expand or block.carried is None or names.act_of(expand) in read_outside:
            continue
        depthwise = [names.layer(i, part) for part in block.carried]
        squeeze = names.layer(i, "squeeze_excite")
        expansions.append(
            Expansion(
                expand=layers[expand],
                depthwise=tuple(layers[name] for name in depthwise),
                norms=tuple(layers[names.bn_of(name)] for name in (expand, *depthwise)),
                project=layers[names.layer(i, "project")],
                squeeze=layers.get(f"{squeeze}_conv"),
                excite=layers.get(f"{squeeze}_conv_1"),
            )
        )
    return expansions


def _layers_read_outside(model: keras.Model, backbone: keras.Model) -> set[str]:
    """Returns the names of the backbone's layers whose outputs a layer outside the backbone reads."""
    maps = keras.tree.flatten(backbone.output)
    producers = map(graph.producer, graph.consumed_tensors(model))
    return {graph.producer(maps[index])[0].name for layer, index in producers if layer is backbone}


def _width(scores: np.ndarray, threshold: float) -> int:
    """Returns how many channels to keep: those that reach the threshold, rounded up to a multiple."""
    over = int((scores >= threshold).sum())
    return min(len(scores), max(CHANNEL_MULTIPLE, -(-over // CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE))


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of the `count` largest scores, in ascending order."""
    return np.sort(np.argsort(-scores, kind="stable")[:count])


def _resized(model: keras.Model, expansions: list[Expansion], kept: dict[str, np.ndarray]) -> keras.Model:
    """Returns the same network with new weights, whose expansions have as many channels as are kept."""
    config: Any = _without_shapes(model.get_config())
    [backbone] = (entry["config"] for entry in config["layers"] if entry["config"]["name"] == "backbone")
    entries = {entry["config"]["name"]: entry["config"] for entry in backbone["layers"]}
    for e in expansions:
        for layer in (e.expand, e.excite):
            if layer:
                entries[layer.name]["filters"] = len(kept[e.expand.name])
    return type(model).from_config(config)


def _without_shapes(config):
    """Returns a config without the input shapes of built layers, which follow from the new widths."""
    if isinstance(config, dict):
        return {key: _without_shapes(value) for key, value in config.items() if key != "build_config"}
    return [_without_shapes(value) for value in config] if isinstance(config, list) else config


def _copy_weights(old: keras.Model, new: keras.Model, expansions: list[Expansion], kept: dict[str, np.ndarray]) -> None:
    cuts: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for e in expansions:
        channels = kept[e.expand.name]
        inputs, filters = _along(-2, channels, e.width), _along(-1, channels, e.width)
        cuts |= {layer.name: filters for layer in (e.expand, *e.norms, e.excite) if layer}
        cuts |= {layer.name: inputs for layer in (*e.depthwise, e.project, e.squeeze) if layer}
    for source, target in zip(leaves(old), leaves(new), strict=True):
        cut = cuts.get(source.name, lambda values: values)
        target.set_weights([cut(values) for values in source.get_weights()])


def _along(axis: int, channels: np.ndarray, width: int) -> Callable[[np.ndarray], np.ndarray]:
    def cut(values):
        """Takes channels out of a kernel or a vector over them; the bias of the squeeze is over others and stays."""
        is_over_channels = values.ndim > 1 or (axis == -1 and len(values) == width)
        return np.take(values, channels, axis if values.ndim > 1 else -1) if is_over_channels else values

    return cut


def table(pruned: PruningResult):
    """Returns a `rich.table.Table` of the channels of each block and of the cost, before and after."""
    from rich.table import Table

    rows = [(name, *pair) for name, pair in pruned.widths.items()]
    for key, label in (("mult_adds", "multiply-adds"), ("parameters", "parameters")):
        rows.append((label, getattr(pruned.before, key), getattr(pruned.after, key)))
    result = Table("", *("before", "after", "left"))
    for name, before, after in rows:
        result.add_row(name, f"{before:,}", f"{after:,}", f"{after / before:.0%}")
    return result
