"""Matches anchors with ground-truth boxes for training."""

from __future__ import annotations

import tensorflow as tf

from mobilenet_tf.tasks.detection.boxes import area, intersection, iou

BACKGROUND, IGNORED = -1, -2  # the values of `match` for anchors without a box


def match(boxes, labels, anchors, crowd=None, threshold: float = 0.5, ignore: float | None = None):
    """The box of each anchor: its index, int32 [N, A], or BACKGROUND or IGNORED. Runs in the graph.

    An anchor takes the box that it overlaps most, from IoU `threshold` on; and every box keeps its best anchor. Where
    two boxes want the same one, the closer box has it and the other takes the best anchor that is left. Anchors without
    a box are ignored where `threshold` of their area lies in a crowd box, or their best IoU is at least `ignore`.

    Args:
        boxes: float32 [N, T, 4]; boxes without area match nothing.
        labels: int [N, T]; -1 is padding.
        crowd: bool [N, T] or None.
    Source: arXiv:1512.02325, section 2.2.
    """
    # One row of padding more: an image without boxes is then no special case
    boxes = tf.pad(tf.cast(boxes, tf.float32), [[0, 0], [0, 1], [0, 0]])
    present = tf.pad(labels >= 0, [[0, 0], [0, 1]]) & (area(boxes) > 0)
    crowd = tf.zeros_like(present) if crowd is None else tf.pad(tf.cast(crowd, tf.bool), [[0, 0], [0, 1]]) & present
    single = present & ~crowd
    overlap = tf.where(single[..., None], iou(boxes, anchors), -1.0)  # [N, T, A]
    best = tf.reduce_max(overlap, 1)  # [N, A]
    matched = tf.where(best >= threshold, tf.argmax(overlap, 1, tf.int32), BACKGROUND)
    forced = _box_of(_own_anchors(overlap, single), tf.shape(anchors)[0])
    matched = tf.where(forced >= 0, forced, matched)
    inside = intersection(boxes, anchors) >= threshold * area(tf.convert_to_tensor(anchors))
    ignored = tf.reduce_any(inside & crowd[..., None], 1)
    if ignore is not None:
        ignored |= best >= ignore
    return tf.where(ignored & (matched == BACKGROUND), IGNORED, matched)


def _own_anchors(overlap, single):
    """An anchor for each single box, int32 [N, T], no two the same; A where the box is not single.

    In rounds: each box without an anchor asks for the best of those left; the box that overlaps it most has it.
    """
    boxes, anchors = tf.shape(overlap)[1], tf.shape(overlap)[2]
    earlier = tf.range(boxes)[:, None] > tf.range(boxes)  # [T, T]

    def ask(anchor_of):
        left = tf.where(_box_of(anchor_of, anchors)[:, None] >= 0, -1.0, overlap)
        wish, value = tf.argmax(left, -1, tf.int32), tf.reduce_max(left, -1)  # [N, T]
        asking = single & (anchor_of == anchors) & (value >= 0)
        rival = asking[:, None] & (wish[:, :, None] == wish[:, None])  # [N, T, T]
        ahead = (value[:, None] > value[:, :, None]) | (earlier & (value[:, None] == value[:, :, None]))
        return [tf.where(asking & ~tf.reduce_any(rival & ahead, -1), wish, anchor_of)]

    return tf.while_loop(
        lambda anchor_of: tf.reduce_any(single & (anchor_of == anchors)),
        ask,
        [tf.fill(tf.shape(single), anchors)],
        maximum_iterations=tf.minimum(boxes, anchors),
    )[0]


def _box_of(anchor_of, anchors):
    """The box that owns each anchor, int32 [N, A], or -1; `anchor_of`: the anchors of the boxes, [N, T], A for none."""
    rows = tf.broadcast_to(tf.range(tf.shape(anchor_of)[0])[:, None], tf.shape(anchor_of))
    numbers = tf.broadcast_to(tf.range(tf.shape(anchor_of)[1]) + 1, tf.shape(anchor_of))
    shape = [tf.shape(anchor_of)[0], anchors + 1]
    return tf.scatter_nd(tf.stack([rows, anchor_of], -1), numbers, shape)[:, :-1] - 1
