"""Boxes [ymin, xmin, ymax, xmax] in 0..1: anchors, overlap, the box coder, non-max suppression.

Imports TensorFlow for tensors alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobilenet_tf.utils.errors import UserError

VARIANCES = (0.1, 0.2)  # of centers and of sizes: SSD's Caffe code; 10, 10, 5, 5 in TF Object Detection
MAX_LOG_SIZE = math.log(1000 / 16)  # a decoded box is at most this much larger than its anchor (torchvision)
EPSILON = 1e-7


# Anchors -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnchorSpec:
    """The anchors of one cell for every feature map, the finest map first.

    shapes: per map, the (height, width) of each anchor as fractions of the input's shorter side.
    """

    shapes: tuple[tuple[tuple[float, float], ...], ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of anchors of a cell, per map."""
        return tuple(len(shapes) for shapes in self.shapes)


def custom_anchors(boxes: Sequence[Sequence[tuple[float, float]]]) -> AnchorSpec:
    """Anchors from a list of (height, width) per map. Raises UserError."""
    if not boxes or not all(boxes) or not all(len(b) == 2 and min(b) > 0 for row in boxes for b in row):
        raise UserError(f"anchors must be lists of (height, width) above 0, one list a map. Received: {boxes}")
    return AnchorSpec(tuple(tuple((float(h), float(w)) for h, w in row) for row in boxes))


def _shapes(pairs: Sequence[Sequence[tuple[float, float]]]) -> AnchorSpec:
    """From (scale, ratio) per map. scale: side of the square of the same area; ratio: width / height."""
    return custom_anchors([[(s / math.sqrt(r), s * math.sqrt(r)) for s, r in row] for row in pairs])


def ssd_anchors(
    maps: int = 6,
    scales: tuple[float, float] = (0.2, 0.95),
    ratios: Sequence[float] = (1, 2, 1 / 2, 3, 1 / 3),
    interpolated: bool = True,
    max_side: float | None = None,
) -> AnchorSpec:
    """SSD's default boxes: scales linear over the maps, and each ratio at its map's scale.

    interpolated: with one more square after the first box, between this scale and the next.
    max_side:     longer sides are cut to it; 1.0 gives torchvision's anchors, in its order.
    Source: arXiv:1512.02325, section 2.2; torchvision/models/detection/anchor_utils.py.
    """
    sizes = [*np.linspace(*scales, maps).tolist(), 1.0]
    pairs = [[(size, ratio) for ratio in ratios] for size in sizes[:-1]]
    if interpolated:
        for row, size, following in zip(pairs, sizes, sizes[1:], strict=False):
            row.insert(1, (math.sqrt(size * following), 1.0))
    most = math.inf if max_side is None else max_side
    return AnchorSpec(tuple(tuple((min(h, most), min(w, most)) for h, w in row) for row in _shapes(pairs).shapes))


def tfod_anchors(spec: AnchorSpec, scale: float = 0.2) -> AnchorSpec:
    """`ssd_anchors` with three boxes on the first map, as TF Object Detection's published SSDLites have them.

    Source: object_detection/anchor_generators/multiple_grid_anchor_generator.py, reduce_boxes_in_lowest_layer.
    """
    return AnchorSpec(_shapes([[(0.1, 1), (scale, 2), (scale, 1 / 2)]]).shapes + spec.shapes[1:])


def fpn_anchors(
    input_size: tuple[int, int],
    levels: Sequence[int] = range(3, 8),
    anchor_scale: float = 4.0,
    octaves: int = 2,
    ratios: Sequence[float] = (1, 2, 1 / 2),
) -> AnchorSpec:
    """RetinaNet's anchors: `anchor_scale` times the level's stride, in `octaves` sizes up to the next level.

    Source: arXiv:1708.02002, section 4; TF Object Detection's multiscale_anchor_generator in its FPNLite configs.
    """
    side = min(input_size)
    sizes = [[anchor_scale * 2 ** (level + i / octaves) / side for i in range(octaves)] for level in levels]
    return _shapes([[(size, ratio) for size in row for ratio in ratios] for row in sizes])


def anchors(
    spec: AnchorSpec, map_sizes: Sequence[tuple[int, int]], input_size: tuple[int, int], clip: bool = False
) -> np.ndarray:
    """float32 [A, 4] in order of maps, rows, columns, anchors of a cell; centerd in the cells.

    map_sizes, input_size: (height, width). clip: cut the anchors at the image's border.
    Raises UserError where the spec has another number of maps.
    """
    if len(spec.shapes) != len(map_sizes):
        raise UserError(f"anchors must be given for {len(map_sizes)} maps. Received: {len(spec.shapes)}")
    side = min(input_size)
    boxes = []
    for shapes, (rows, columns) in zip(spec.shapes, map_sizes, strict=True):
        y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
        centers = np.stack([y, x], -1)[:, :, None]  # [rows, columns, 1, 2]
        half = np.array(shapes) * side / np.array(input_size) / 2  # [anchors of a cell, 2]
        boxes.append(np.concatenate([centers - half, centers + half], -1).reshape(-1, 4))
    all_boxes = np.concatenate(boxes).astype(np.float32)
    return all_boxes.clip(0, 1) if clip else all_boxes


def anchor_recall(boxes: np.ndarray, anchors: np.ndarray, threshold: float = 0.5) -> float:
    """The share of boxes [M, 4] that some anchor [A, 4] overlaps with at least this IoU; NaN without boxes."""
    if not len(boxes):
        return math.nan
    chunks = np.array_split(np.asarray(boxes, np.float32), math.ceil(len(boxes) / 1024))  # bounds the memory
    return sum(int((iou(chunk, anchors).max(-1) >= threshold).sum()) for chunk in chunks) / len(boxes)


# Overlap and coding: NumPy arrays in, NumPy out; tensors in, tensors out --------------------------


def _numpy(x):
    """NumPy, or its twin for tensors."""
    if isinstance(x, np.ndarray):
        return np
    import tensorflow.experimental.numpy as tnp  # pyright: ignore[reportMissingImports] - the stubs lack it

    return tnp


def area(boxes):
    """The areas [...] of boxes [..., 4]; 0 where a side is negative."""
    m = _numpy(boxes)
    return m.maximum(boxes[..., 2] - boxes[..., 0], 0.0) * m.maximum(boxes[..., 3] - boxes[..., 1], 0.0)


def intersection(a, b):
    """The areas that boxes a [..., N, 4] and b [..., M, 4] have in common, [..., N, M]."""
    m = _numpy(a)
    a, b = a[..., :, None, :], b[..., None, :, :]
    height = m.minimum(a[..., 2], b[..., 2]) - m.maximum(a[..., 0], b[..., 0])
    width = m.minimum(a[..., 3], b[..., 3]) - m.maximum(a[..., 1], b[..., 1])
    return m.maximum(height, 0.0) * m.maximum(width, 0.0)


def iou(a, b):
    """The intersection over union of boxes a [..., N, 4] and b [..., M, 4], [..., N, M]."""
    common = intersection(a, b)
    union = area(a)[..., :, None] + area(b)[..., None, :] - common
    return common / _numpy(a).maximum(union, EPSILON)


def _centers(boxes):
    """(centers [..., 2], sizes [..., 2])"""
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def encode(boxes, anchors, variances=VARIANCES):
    """Boxes [..., 4] as (ty, tx, th, tw) [..., 4] from their anchors [..., 4]. Source: arXiv:1512.02325, eq. 2."""
    m = _numpy(boxes)
    center, size = _centers(boxes)
    anchor_center, anchor_size = _centers(anchors)
    shift = (center - anchor_center) / anchor_size / variances[0]
    growth = m.log(m.maximum(size, EPSILON) / anchor_size) / variances[1]
    return m.concatenate([shift, growth], -1)


def decode(codes, anchors, variances=VARIANCES):
    """Boxes [..., 4] from (ty, tx, th, tw) [..., 4] and anchors [..., 4]: the inverse of `encode`."""
    m = _numpy(codes)
    anchor_center, anchor_size = _centers(anchors)
    center = codes[..., :2] * variances[0] * anchor_size + anchor_center
    half = m.exp(m.minimum(codes[..., 2:] * variances[1], MAX_LOG_SIZE)) * anchor_size / 2
    return m.concatenate([center - half, center + half], -1)


# Detections --------------------------------------------------------------------------------------


def nms(
    boxes: np.ndarray,
    scores: np.ndarray,
    *,
    score_threshold: float = 0.01,
    iou_threshold: float = 0.6,
    max_candidates: int = 400,
    max_detections: int = 100,
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy non-max suppression within each class of boxes [K, 4], scores [K, C] -> (rows, classes) of those it keeps.

    A box goes where a better one of its class overlaps it by more than `iou_threshold`. Of each class the
    `max_candidates` best above `score_threshold` take part. Best first, at most `max_detections`.
    """
    kept = np.zeros(0, int)  # as flat indices of `scores`
    seen = np.zeros(scores.shape[1], int)
    for chunk in _best_first(scores.ravel(), score_threshold):
        candidates = np.concatenate([kept, chunk])
        rows, classes = np.divmod(candidates, scores.shape[1])
        new = len(kept)
        same = classes[new:, None] == classes  # [chunk, kept + chunk]
        rank = seen[classes[new:]] + np.tril(same[:, new:], -1).sum(1)
        hit = same & (iou(boxes[rows[new:]], boxes[rows]) > iou_threshold)
        alive = (rank < max_candidates) & ~hit[:, :new].any(1)
        for i in range(len(chunk)):
            if alive[i]:
                alive[i + 1 :] &= ~hit[i + 1 :, new + i]
        kept = np.concatenate([kept, chunk[alive]])
        if len(kept) >= max_detections:
            break
        seen += np.bincount(classes[new:], minlength=len(seen))
    return np.divmod(kept[:max_detections], scores.shape[1])


def _best_first(scores, threshold, first: int = 1024, size: int = 256):
    """Chunks of the indices of the scores above the threshold, best first; sorts all only when the first do not do."""
    left = np.flatnonzero(scores > threshold)
    while len(left):
        block, left = left, left[:0]
        if len(block) > 2 * first:
            parted = block[np.argpartition(-scores[block], first)]
            block, left = parted[:first], parted[first:]
            first = len(left)
        block = block[np.argsort(-scores[block], kind="stable")]
        yield from np.split(block, range(size, len(block), size))


def detections(
    raw: dict[str, np.ndarray],
    anchors: np.ndarray,
    *,
    scores: str = "softmax",
    variances: tuple[float, float] = VARIANCES,
    score_threshold: float = 0.01,
    **suppression,
) -> list[dict[str, np.ndarray]]:
    """Raw outputs -> one {"boxes" [K, 4], "scores" [K], "labels" int32 [K]} an image, best first, cut at its border.

    scores: "softmax", where class 0 of the logits is the background, or "sigmoid", one for each class.
    suppression: the other options of `nms`.
    """
    scores_of = {"softmax": _softmax_scores, "sigmoid": _sigmoid_scores}[scores]
    logits, codes = np.asarray(raw["class_logits"], np.float32), np.asarray(raw["box_regressions"], np.float32)
    per_image = []
    for image_logits, image_codes in zip(logits, codes, strict=True):
        rows, values = scores_of(image_logits, score_threshold)
        values[~np.isfinite(image_codes[rows]).all(-1)] = 0  # a broken box is none
        boxes = decode(image_codes[rows], anchors[rows], variances).clip(0, 1)
        keep, labels = nms(boxes, values, score_threshold=score_threshold, **suppression)
        per_image.append({"boxes": boxes[keep], "scores": values[keep, labels], "labels": labels.astype(np.int32)})
    return per_image


def _softmax_scores(logits, threshold):
    """(anchors that can reach the threshold, their scores [K, C]); a score is below sigmoid(logit - background's)."""
    rows = np.flatnonzero(logits[:, 1:].max(-1) - logits[:, 0] > _logit(threshold))
    logits = logits[rows]
    scores = np.exp(logits - logits.max(-1, keepdims=True, initial=-math.inf))
    return rows, scores[:, 1:] / scores.sum(-1, keepdims=True)


def _sigmoid_scores(logits, threshold):
    rows = np.flatnonzero(logits.max(-1) > _logit(threshold))
    return rows, 1 / (1 + np.exp(-logits[rows]))


def _logit(probability: float) -> float:
    """Just below the logit, so that rounding loses no candidate."""
    return math.log(probability / (1 - probability)) - 1e-3 if probability > 0 else -math.inf
