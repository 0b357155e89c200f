"""The training targets of the anchors of a detector, and the loss of its raw outputs against them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from mobilenet_tf.tasks.detection import boxes as box_ops
from mobilenet_tf.tasks.detection.boxes import VARIANCES
from mobilenet_tf.tasks.detection.matching import BACKGROUND, match
from mobilenet_tf.training.distill import binary_divergence, divergence
from mobilenet_tf.utils.errors import UserError

MIN_NEGATIVES = (
    3  # hard negatives of an image, even without boxes; TF Object Detection, ssdlite_mobilenet_v2_coco.config
)


def encode_targets(batch: dict, anchors: np.ndarray, match_iou: float = 0.5, ignore_iou: float | None = None) -> dict:
    """The label and box of every anchor; runs in the graph.

    Args:
        batch: "boxes" float32 [N, T, 4], "labels" int [N, T] (-1 is padding) and perhaps "crowd" bool [N, T].
        anchors: float32 [A, 4].
        match_iou, ignore_iou: see `matching.match`.
    Returns: {"labels": int32 [N, A], or BACKGROUND or IGNORED; "boxes": float32 [N, A, 4], the anchor's own where it
    has no box}.
    """
    matched = match(batch["boxes"], batch["labels"], anchors, batch.get("crowd"), match_iou, ignore_iou)
    positive = matched >= 0
    index = tf.maximum(matched, 0)
    # One row more, for batches without any box
    labels = tf.pad(tf.cast(batch["labels"], tf.int32), [[0, 0], [0, 1]])
    boxes = tf.pad(tf.cast(batch["boxes"], tf.float32), [[0, 0], [0, 1], [0, 0]])
    return {
        "labels": tf.where(positive, tf.gather(labels, index, batch_dims=1), matched),
        "boxes": tf.where(tf.expand_dims(positive, -1), tf.gather(boxes, index, batch_dims=1), anchors),
    }


def loss(
    anchors: np.ndarray,
    *,
    scores: str = "softmax",
    negative_ratio: float = 3.0,
    focal_alpha: float = 0.25,
    focal_gamma: float = 2.0,
    regression: str = "smooth_l1",
    regression_weight: float = 1.0,
    variances: tuple[float, float] = VARIANCES,
) -> Callable[[dict, dict], tf.Tensor]:
    """fn(targets of `encode_targets`, raw outputs of the detector) -> float32 [N]. In float32 in mixed precision too.

    Each image's sum over its anchors is divided by its number of matched anchors, or by 1 where there are none.

    Args:
        scores: "softmax": cross entropy on the matched anchors and the `negative_ratio` times as many others that are
            hardest, at least three; "sigmoid": focal loss on all anchors that are not ignored.
        regression: of the matched anchors: "smooth_l1" on the codes, or "giou" or "ciou" on the decoded boxes.
    Raises UserError. Sources: arXiv:1512.02325, section 2.2; arXiv:1708.02002; arXiv:1902.09630; arXiv:1911.08287.
    """
    if scores not in ("softmax", "sigmoid"):
        raise UserError(f"scores must be softmax or sigmoid. Received: {scores}")
    if regression not in REGRESSION:
        raise UserError(f"regression must be one of {', '.join(REGRESSION)}. Received: {regression}")

    def fn(targets, raw):
        labels, logits = targets["labels"], tf.cast(raw["class_logits"], tf.float32)
        codes = tf.cast(raw["box_regressions"], tf.float32)
        positive = labels >= 0
        if scores == "softmax":
            classification = mined_cross_entropy(labels, logits, negative_ratio)
        else:
            classification = focal(labels, logits, focal_alpha, focal_gamma)
        distance = REGRESSION[regression](targets["boxes"], codes, anchors, variances)
        box = tf.reduce_sum(tf.where(positive, distance, 0.0), -1)
        count = tf.reduce_sum(tf.cast(positive, tf.float32), -1)
        return (classification + regression_weight * box) / tf.maximum(count, 1.0)

    return fn


def distillation_loss(scores: str = "softmax", temperature: float = 1.0) -> Callable[[dict, dict], tf.Tensor]:
    """fn(teacher's raw outputs, student's, on the same anchors) -> float32 [N].

    The divergence of the scores plus the Huber distance of the codes, averaged over the anchors with the teacher's
    probability of an object as weight: background is most of a image and would drown the rest. After Chen et al.
    2017, "Learning Efficient Object Detection Models with Knowledge Distillation".
    """
    distance = {"softmax": divergence, "sigmoid": binary_divergence}[scores](temperature)

    def fn(teacher, student):
        logits = tf.cast(teacher["class_logits"], tf.float32)
        probabilities: Any = tf.nn.softmax(logits) if scores == "softmax" else tf.sigmoid(logits)
        object_ = 1 - probabilities[..., 0] if scores == "softmax" else tf.reduce_max(probabilities, -1)
        error = tf.abs(
            tf.cast(teacher["box_regressions"], tf.float32) - tf.cast(student["box_regressions"], tf.float32)
        )
        each = distance(logits, student["class_logits"]) + tf.reduce_sum(_huber(error), -1)
        return tf.reduce_sum(object_ * each, -1) / tf.maximum(tf.reduce_sum(object_, -1), 1.0)

    return fn


# Classification: labels int32 [N, A] and logits -> sums [N] ---------------------------------------


def mined_cross_entropy(labels, logits, ratio: float = 3.0):
    """Softmax cross entropy of logits [N, A, C + 1] on the positives and `ratio` times as many hard negatives."""
    positive, negative = labels >= 0, labels == BACKGROUND
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels + 1, 0), logits)
    wanted = tf.maximum(ratio * tf.reduce_sum(tf.cast(positive, tf.float32), -1, keepdims=True), MIN_NEGATIVES)
    hardest = tf.sort(tf.where(negative, entropy, 0.0), direction="DESCENDING")
    rank = tf.range(tf.shape(hardest)[1], dtype=tf.float32)
    mined = tf.where(rank < wanted, hardest, 0.0)
    return tf.reduce_sum(tf.where(positive, entropy, 0.0) + mined, -1)


def focal(labels, logits, alpha: float = 0.25, gamma: float = 2.0):
    """Sigmoid focal loss of logits [N, A, C] over all anchors but the ignored. Source: arXiv:1708.02002, eq. 5."""
    truth = tf.one_hot(labels, tf.shape(logits)[-1], True, False)
    wrong = tf.where(truth, -logits, logits)  # the logit of 1 - p_t
    entropy = tf.nn.softplus(wrong)  # -log p_t
    missed = tf.exp(gamma * (wrong - entropy))  # (1 - p_t) ** gamma
    each = tf.reduce_sum(tf.where(truth, alpha, 1 - alpha) * missed * entropy, -1)
    return tf.reduce_sum(tf.where(labels >= BACKGROUND, each, 0.0), -1)


# Regression: true boxes [N, A, 4], codes [N, A, 4] and anchors -> distances [N, A] ------------------


def smooth_l1(truth, codes, anchors, variances=VARIANCES):
    """The sum of the codes' Huber distances, quadratic below 1. Source: arXiv:1504.08083, eq. 3."""
    error = tf.abs(codes - box_ops.encode(truth, anchors, variances))
    return tf.reduce_sum(_huber(error), -1)


def giou(truth, codes, anchors, variances=VARIANCES):
    """1 - generalized IoU. Source: arXiv:1902.09630, algorithm 1."""
    boxes = box_ops.decode(codes, anchors, variances)
    overlap, union = _overlap(truth, boxes)
    hull = box_ops.area(_hull(truth, boxes))
    return 1 - overlap + (hull - union) / tf.maximum(hull, box_ops.EPSILON)


def ciou(truth, codes, anchors, variances=VARIANCES):
    """1 - complete IoU: center distance and aspect count too. Source: arXiv:1911.08287, eq. 6, 8 to 11."""
    boxes = box_ops.decode(codes, anchors, variances)
    overlap, _ = _overlap(truth, boxes)
    hull = _hull(truth, boxes)
    apart = tf.reduce_sum((truth[..., :2] + truth[..., 2:] - boxes[..., :2] - boxes[..., 2:]) ** 2, -1) / 4
    diagonal = tf.reduce_sum((hull[..., 2:] - hull[..., :2]) ** 2, -1)
    aspect = (4 / math.pi**2) * (_angle(truth) - _angle(boxes)) ** 2
    share = tf.stop_gradient(aspect / tf.maximum(1 - overlap + aspect, box_ops.EPSILON))
    return 1 - overlap + apart / tf.maximum(diagonal, box_ops.EPSILON) + share * aspect


REGRESSION = {"smooth_l1": smooth_l1, "giou": giou, "ciou": ciou}


def _huber(error):
    return tf.where(error < 1, 0.5 * error**2, error - 0.5)


def _overlap(a, b) -> tuple[Any, Any]:
    """(IoU, union) of boxes [N, A, 4], pair by pair."""
    inner = tf.concat([tf.maximum(a[..., :2], b[..., :2]), tf.minimum(a[..., 2:], b[..., 2:])], -1)
    common = box_ops.area(inner)
    union = box_ops.area(a) + box_ops.area(b) - common
    return common / tf.maximum(union, box_ops.EPSILON), union


def _hull(a, b) -> Any:  # the stubs know no ellipsis as an index
    return tf.concat([tf.minimum(a[..., :2], b[..., :2]), tf.maximum(a[..., 2:], b[..., 2:])], -1)


def _angle(boxes):
    size: Any = tf.maximum(boxes[..., 2:] - boxes[..., :2], box_ops.EPSILON)
    return tf.atan(size[..., 1] / size[..., 0])
