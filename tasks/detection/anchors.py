"""The anchors of a detector by the options of its config, without building it. No TensorFlow here."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from mobilenet_tf.models import specs
from mobilenet_tf.tasks.detection import boxes as box_ops
from mobilenet_tf.utils.errors import UserError

HEADS = ("ssdlite", "ssd", "fpnlite")
FPN_LEVELS = range(3, 8)


def anchors_for(
    backbone: str, *, input_size: tuple[int, int] = (320, 320), head: str = "ssdlite", anchors: Mapping | None = None
) -> np.ndarray:
    """The anchors float32 [A, 4] of the detector with these options, without building it; read only, cached."""
    options = tuple((name, _frozen(value)) for name, value in (anchors or {}).items())
    return _anchors(backbone, tuple(input_size), head, options)


@functools.lru_cache(maxsize=16)
def _anchors(backbone, input_size, head, frozen_options):
    options = dict(frozen_options)
    spec = anchor_spec(backbone, input_size, head, **options)
    anchors = box_ops.anchors(spec, map_sizes(backbone, input_size, head), input_size, options.get("clip", False))
    anchors.setflags(write=False)
    return anchors


def _frozen(value):
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def anchor_spec(
    backbone: str,
    input_size: tuple[int, int],
    head: str = "ssdlite",
    *,
    layout: str | None = None,
    scales: tuple[float, float] = (0.2, 0.95),
    ratios: tuple[float, ...] | None = None,
    interpolated: bool = True,
    max_side: float | None = None,
    anchor_scale: float = 4.0,
    octaves: int = 2,
    boxes: list | None = None,
    clip: bool = False,
) -> box_ops.AnchorSpec:
    """The anchors of a cell for each map of a detector, by the options of a config.

    layout: "ssd", "tf", "fpn" or "custom" (`boxes`); None: that of the head. ratios: None: those of the layout.
    The other options are those of `boxes.ssd_anchors`, `tfod_anchors` and `fpn_anchors`; `clip` concerns `anchors_for`.
    Raises UserError.
    """
    maps = len(map_sizes(backbone, input_size, head))
    given = {} if ratios is None else {"ratios": ratios}
    linear = functools.partial(box_ops.ssd_anchors, maps, scales, interpolated=interpolated, max_side=max_side, **given)
    layouts = {
        "ssd": linear,
        "tf": lambda: box_ops.tfod_anchors(linear(), scales[0]),
        "fpn": lambda: box_ops.fpn_anchors(input_size, FPN_LEVELS, anchor_scale, octaves, **given),
        "custom": lambda: box_ops.custom_anchors(boxes or []),
    }
    layout = layout or ("fpn" if head == "fpnlite" else "ssd")
    if layout not in layouts:
        raise UserError(f"anchors.layout must be one of {', '.join(layouts)}. Received: {layout}")
    spec = layouts[layout]()
    if len(spec.shapes) != maps:
        raise UserError(
            f"anchors must be given for the {maps} maps of {head} at {input_size[0]}x{input_size[1]}. "
            f"Received: {len(spec.shapes)} maps"
        )
    return spec


def map_sizes(backbone: str, input_size: tuple[int, int], head: str = "ssdlite") -> list[tuple[int, int]]:
    """(height, width) of the feature maps of a detector, the finest first. Raises UserError."""
    net = specs.find(backbone)
    if head not in HEADS:
        raise UserError(f"head must be one of {', '.join(HEADS)}. Received: {head}")
    maps = net.map_sizes(input_size)
    s8, s16, s32 = maps[8], maps[16], maps[32]
    if head == "fpnlite":
        s64 = _half(s32)
        return [s8, s16, s32, s64, _half(s64)]
    sizes = [s16, s32]
    while max(sizes[-1]) > 1:
        sizes.append(_half(sizes[-1]))
    return sizes


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return -(-size[0] // 2), -(-size[1] // 2)
