"""Anchors, overlap, box coder, matching and non-max suppression against plain loops, pycocotools and hand counts."""

import math
import sys

import numpy as np
import pytest
import tensorflow as tf
from pycocotools import mask as coco_mask

from mobilenet_tf.tasks.detection import boxes as box_ops
from mobilenet_tf.tasks.detection.matching import BACKGROUND, IGNORED, match
from mobilenet_tf.utils.errors import UserError

MAPS = [(20, 20), (10, 10), (5, 5), (3, 3), (2, 2), (1, 1)]  # of 320 x 320


def random_boxes(*shape, seed=0, smallest=0.02, largest=0.7):
    rng = np.random.default_rng(seed)
    center, size = rng.uniform(0, 1, (*shape, 2)), rng.uniform(smallest, largest, (*shape, 2))
    return np.concatenate([center - size / 2, center + size / 2], -1).astype("float32")


def sides(boxes):
    return boxes[:, 2:] - boxes[:, :2]


# Anchors -----------------------------------------------------------------------------------------


def test_ssd_anchors_are_those_of_the_paper():
    anchors = box_ops.anchors(box_ops.ssd_anchors(6), MAPS, (320, 320))
    assert anchors.shape == (3234, 4) and anchors.dtype == np.float32
    extra, root = math.sqrt(0.2 * 0.35), math.sqrt(3)
    hand = [
        (0.2, 0.2),
        (extra, extra),
        (0.2 / math.sqrt(2), 0.2 * math.sqrt(2)),
        (0.2 * math.sqrt(2), 0.2 / math.sqrt(2)),
    ]
    hand += [(0.2 / root, 0.2 * root), (0.2 * root, 0.2 / root)]  # height, width
    np.testing.assert_allclose(sides(anchors[:6]), hand, atol=1e-6)
    # Order: maps, rows, columns, anchors of a cell
    np.testing.assert_allclose(anchors[6 * (20 * 3 + 7)].reshape(2, 2).mean(0), (3.5 / 20, 7.5 / 20), atol=1e-6)
    np.testing.assert_allclose(sides(anchors[6 * 400 :][:1]), [(0.35, 0.35)], atol=1e-6)
    np.testing.assert_allclose(sides(anchors[-6:-4]), [(0.95, 0.95), (math.sqrt(0.95),) * 2], atol=1e-6)


def test_ssd_anchors_without_the_extra_box_and_cut():
    spec = box_ops.ssd_anchors(6, ratios=(1, 2), interpolated=False)
    assert spec.counts == (2,) * 6
    assert max(max(shape) for row in spec.shapes for shape in row) > 1
    cut = box_ops.ssd_anchors(6, max_side=1.0)
    assert max(max(shape) for row in cut.shapes for shape in row) == 1


def test_tfod_anchors_have_three_small_boxes_on_the_first_map():
    spec = box_ops.tfod_anchors(box_ops.ssd_anchors(6))
    anchors = box_ops.anchors(spec, MAPS, (320, 320))
    assert spec.counts == (3, 6, 6, 6, 6, 6) and len(anchors) == 2034
    root = math.sqrt(2)
    np.testing.assert_allclose(
        sides(anchors[:3]), [(0.1, 0.1), (0.2 / root, 0.2 * root), (0.2 * root, 0.2 / root)], atol=1e-6
    )


def test_fpn_anchors_follow_the_strides():
    spec = box_ops.fpn_anchors((320, 320))
    maps = [(40, 40), (20, 20), (10, 10), (5, 5), (3, 3)]
    anchors = box_ops.anchors(spec, maps, (320, 320)) * 320
    assert spec.counts == (6,) * 5
    areas = np.sqrt(sides(anchors).prod(1))
    np.testing.assert_allclose(areas[:6], [32] * 3 + [32 * 2**0.5] * 3, rtol=1e-5)
    np.testing.assert_allclose(areas[-6:], [512] * 3 + [512 * 2**0.5] * 3, rtol=1e-5)


def test_squares_are_square_on_rectangles_and_clip_cuts_at_the_border():
    maps = [(12, 20), (6, 10)]
    spec = box_ops.ssd_anchors(2)
    anchors = box_ops.anchors(spec, maps, (192, 320))
    height, width = (sides(anchors) * (192, 320))[0]
    assert height == pytest.approx(width, rel=1e-5) and height == pytest.approx(0.2 * 192, rel=1e-5)
    clipped = box_ops.anchors(spec, maps, (192, 320), clip=True)
    np.testing.assert_array_equal(clipped, anchors.clip(0, 1))
    assert (clipped != anchors).any()


def test_custom_anchors_are_heights_and_widths():
    anchors = box_ops.anchors(box_ops.custom_anchors([[(0.1, 0.3)], [(0.5, 0.2), (1, 1)]]), [(2, 2), (1, 1)], (64, 64))
    np.testing.assert_allclose(sides(anchors), [(0.1, 0.3)] * 4 + [(0.5, 0.2), (1, 1)], atol=1e-6)


@pytest.mark.parametrize("boxes", [[], [[]], [[(0.1,)]], [[(0.1, 0)]], None])
def test_custom_anchors_must_be_pairs_above_0(boxes):
    with pytest.raises(UserError, match="anchors must be lists of .height, width. above 0.*Received"):
        box_ops.custom_anchors(boxes)


def test_a_spec_must_fit_the_maps():
    with pytest.raises(UserError, match="for 3 maps. Received: 6"):
        box_ops.anchors(box_ops.ssd_anchors(6), MAPS[:3], (320, 320))


def test_anchor_recall_counts_boxes_that_some_anchor_fits():
    anchors = box_ops.anchors(box_ops.ssd_anchors(6), MAPS, (320, 320))
    tiny = np.array([[0.5, 0.5, 0.51, 0.51]], np.float32)
    assert box_ops.anchor_recall(anchors[:2000], anchors) == 1.0
    assert box_ops.anchor_recall(tiny, anchors) == 0.0
    assert box_ops.anchor_recall(np.concatenate([tiny, anchors[:3]]), anchors) == 0.75
    assert math.isnan(box_ops.anchor_recall(np.zeros((0, 4), np.float32), anchors))


# Overlap and coding ------------------------------------------------------------------------------


def test_iou_is_that_of_pycocotools():
    a, b = random_boxes(40), random_boxes(30, seed=1)
    xywh = [np.concatenate([x[:, [1, 0]], sides(x)[:, ::-1]], 1).astype("float64") for x in (a, b)]
    np.testing.assert_allclose(box_ops.iou(a, b), coco_mask.iou(*xywh, [0] * 30), atol=1e-5)
    share = box_ops.intersection(a, b) / box_ops.area(a)[:, None]
    np.testing.assert_allclose(share, coco_mask.iou(*xywh, [1] * 30), atol=1e-5)


def test_iou_of_nothing_is_0_and_batches_are_batches():
    a, b = random_boxes(3, 5), random_boxes(7, seed=1)
    assert box_ops.iou(a, b).shape == (3, 5, 7)
    np.testing.assert_array_equal(box_ops.iou(a, b)[1], box_ops.iou(a[1], b))
    assert box_ops.iou(np.zeros((2, 4), np.float32), np.zeros((2, 4), np.float32)).max() == 0
    swapped = np.array([[0.5, 0.5, 0.1, 0.1]], np.float32)
    assert box_ops.iou(swapped, swapped) == 0


def test_codes_by_hand():
    anchor = np.array([0.2, 0.4, 0.4, 0.8], np.float32)  # center 0.3, 0.6; size 0.2, 0.4
    box = np.array([0.3, 0.5, 0.7, 0.9], np.float32)  # center 0.5, 0.7; size 0.4, 0.4
    expected = [0.2 / 0.2 / 0.1, 0.1 / 0.4 / 0.1, math.log(2) / 0.2, 0.0]
    np.testing.assert_allclose(box_ops.encode(box, anchor), expected, atol=1e-5)
    np.testing.assert_allclose(box_ops.encode(box, anchor, (1.0, 0.5)), [1.0, 0.25, math.log(2) / 0.5, 0], atol=1e-5)


@pytest.mark.parametrize("variances", [(0.1, 0.2), (1.0, 1.0)])
def test_decode_inverts_encode_in_numpy_and_tensorflow(variances):
    boxes, anchors = random_boxes(2, 50), random_boxes(50, seed=1)
    codes = box_ops.encode(boxes, anchors, variances)
    assert isinstance(codes, np.ndarray) and codes.dtype == np.float32
    np.testing.assert_allclose(box_ops.decode(codes, anchors, variances), boxes, atol=1e-5)
    tensor = tf.function(box_ops.encode)(tf.constant(boxes), anchors, variances)
    np.testing.assert_allclose(tensor, codes, atol=1e-4)
    np.testing.assert_allclose(tf.function(box_ops.decode)(tensor, anchors, variances), boxes, atol=1e-5)


def test_wild_codes_and_empty_boxes_stay_finite():
    anchor = np.array([[0.4, 0.4, 0.6, 0.6]], np.float32)
    wild = box_ops.decode(np.full((1, 4), 1e4, np.float32), anchor)
    np.testing.assert_allclose(sides(wild), 0.2 * 1000 / 16, rtol=1e-4)
    assert np.isfinite(box_ops.encode(np.array([[0.5, 0.5, 0.5, 0.5]], np.float32), anchor)).all()


# Matching ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def anchors():
    return box_ops.anchors(box_ops.ssd_anchors(4), [(8, 8), (4, 4), (2, 2), (1, 1)], (128, 128))


def matched(boxes, labels, anchors, **options):
    fn = tf.function(match)
    return fn(tf.constant(boxes), tf.constant(labels, tf.int32), anchors, **options).numpy()


def by_loops(boxes, labels, anchors, threshold=0.5):
    """What `match` says of one image, box by box and anchor by anchor."""
    result = np.full(len(anchors), BACKGROUND)
    table = box_ops.iou(boxes, anchors)
    present = [i for i in range(len(boxes)) if labels[i] >= 0]
    for a in range(len(anchors)):
        best = max(present, key=lambda i: table[i, a], default=None)
        if best is not None and table[best, a] >= threshold:
            result[a] = best
    owner = {}
    waiting = set(present)
    while waiting:
        wishes = {}
        for i in sorted(waiting):
            free = [a for a in range(len(anchors)) if a not in owner]
            wishes.setdefault(max(free, key=lambda a: table[i, a]), []).append(i)
        for a, asking in wishes.items():
            owner[a] = max(asking, key=lambda i: table[i, a])
            waiting.remove(owner[a])
    for a, i in owner.items():
        result[a] = i
    return result


def test_matching_agrees_with_loops_and_ignores_padding(anchors):
    boxes = random_boxes(4, 9, seed=3)
    labels = np.tile(np.arange(9), (4, 1))
    labels[1, 4:], labels[2, ::2], labels[3] = -1, -1, -1
    found = matched(boxes, labels, anchors)
    for n in range(4):
        np.testing.assert_array_equal(found[n], by_loops(boxes[n], labels[n], anchors), str(n))
    assert found.dtype == np.int32 and (found[3] == BACKGROUND).all()


def test_every_box_keeps_an_anchor_even_among_copies_of_itself(anchors):
    boxes = np.repeat(random_boxes(1, 3, seed=5), 4, axis=1)  # each four times
    found = matched(boxes, np.zeros((1, 12)), anchors)[0]
    assert set(range(12)) <= set(found)
    np.testing.assert_array_equal(found, by_loops(boxes[0], np.zeros(12), anchors))
    # The first of the copies has the best anchor
    for i in range(0, 12, 4):
        assert found[box_ops.iou(boxes[0], anchors)[i].argmax()] == i


def test_more_boxes_than_anchors_end_too():
    few = random_boxes(3, seed=8)
    found = matched(random_boxes(1, 10, smallest=0.4), np.zeros((1, 10)), few)[0]
    assert len(set(found)) == 3 and (found >= 0).all()


def test_small_boxes_below_the_threshold_have_their_best_anchor_only(anchors):
    box = np.array([[[0.30, 0.30, 0.33, 0.33]]], np.float32)
    found = matched(box, [[0]], anchors)[0]
    assert (found == 0).sum() == 1 and found[box_ops.iou(box[0], anchors)[0].argmax()] == 0


def test_images_without_boxes_and_boxes_without_area_match_nothing(anchors):
    assert (matched(np.zeros((2, 0, 4), np.float32), np.zeros((2, 0)), anchors) == BACKGROUND).all()
    flat = np.array([[[0.2, 0.2, 0.2, 0.6], [0.5, 0.5, 0.4, 0.4]]], np.float32)
    assert (matched(flat, [[1, 1]], anchors) == BACKGROUND).all()


def test_anchors_in_a_crowd_are_ignored_but_not_those_with_a_box(anchors):
    boxes = np.array([[[0.0, 0.0, 1.0, 0.5], [0.1, 0.1, 0.35, 0.35]]], np.float32)
    found = matched(boxes, [[3, 3]], anchors, crowd=tf.constant([[True, False]]))[0]
    share = box_ops.intersection(boxes[0], anchors)[0] / box_ops.area(anchors)
    assert 0 not in found and (found == 1).any()
    np.testing.assert_array_equal(found == IGNORED, (share >= 0.5) & (found != 1))
    padded = matched(boxes, [[-1, 3]], anchors, crowd=tf.constant([[True, False]]))[0]
    assert IGNORED not in padded


def test_anchors_between_two_thresholds_are_ignored(anchors):
    boxes = random_boxes(1, 3, seed=6, smallest=0.2)
    found = matched(boxes, [[0, 0, 0]], anchors, ignore=0.4)[0]
    best = box_ops.iou(boxes[0], anchors).max(0)
    np.testing.assert_array_equal(found == IGNORED, (best >= 0.4) & (best < 0.5) & (found < 0))
    assert IGNORED in found


# Detections --------------------------------------------------------------------------------------


def nms_by_loops(boxes, scores, score_threshold, iou_threshold, max_candidates, max_detections):
    kept = []
    for c in range(scores.shape[1]):
        order = sorted(np.flatnonzero(scores[:, c] > score_threshold), key=lambda i: -scores[i, c])
        mine = []
        for i in order[:max_candidates]:
            if all(box_ops.iou(boxes[i][None], boxes[j][None]) <= iou_threshold for j in mine):
                mine.append(i)
        kept += [(scores[i, c], i, c) for i in mine]
    return [(i, c) for _, i, c in sorted(kept, reverse=True)[:max_detections]]


@pytest.mark.parametrize(
    "options",
    [
        (0.05, 0.5, 400, 100),
        (0.05, 0.5, 7, 100),  # the limit of candidates bites
        (0.0, 0.3, 400, 1000),  # all chunks are needed
        (0.9, 0.6, 400, 5),
    ],
)
def test_nms_agrees_with_loops(options):
    rng = np.random.default_rng(0)
    boxes, scores = random_boxes(180, smallest=0.2), rng.uniform(0, 1, (180, 4)).astype("float32")
    scores[:, 3] = 0
    names = ("score_threshold", "iou_threshold", "max_candidates", "max_detections")
    rows, classes = box_ops.nms(boxes, scores, **dict(zip(names, options, strict=True)))
    assert list(zip(rows, classes, strict=True)) == nms_by_loops(boxes, scores, *options)


def test_nms_of_many_sorts_in_blocks_and_finds_the_same():
    rng = np.random.default_rng(1)
    boxes, scores = random_boxes(900, smallest=0.3, largest=0.9), rng.permutation(900 * 5).reshape(900, 5) / 4500
    options = (0.01, 0.5, 400, 300)
    rows, classes = box_ops.nms(
        boxes, scores, score_threshold=0.01, iou_threshold=0.5, max_candidates=400, max_detections=300
    )
    assert list(zip(rows, classes, strict=True)) == nms_by_loops(boxes, scores, *options)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_detections_are_decoded_scored_and_cut_at_the_border(anchors, kind):
    rng = np.random.default_rng(2)
    count, classes = len(anchors), 3
    logits = rng.normal(-1, 2, (2, count, classes + (kind == "softmax"))).astype("float32")
    codes = rng.normal(0, 1, (2, count, 4)).astype("float32")
    raw = {"class_logits": logits, "box_regressions": codes}
    found = box_ops.detections(raw, anchors, scores=kind, score_threshold=0.6, iou_threshold=0.5)
    for n in range(2):
        scores = {"softmax": tf.nn.softmax(logits[n])[:, 1:], "sigmoid": tf.sigmoid(logits[n])}[kind].numpy()
        boxes = box_ops.decode(codes[n], anchors).clip(0, 1)
        expected = nms_by_loops(boxes, scores, 0.6, 0.5, 400, 100)
        rows, labels = map(list, zip(*expected, strict=True))
        np.testing.assert_array_equal(found[n]["labels"], labels)
        np.testing.assert_allclose(found[n]["boxes"], boxes[rows], atol=1e-6)
        np.testing.assert_allclose(found[n]["scores"], scores[rows, labels], atol=1e-6)
        assert {k: v.dtype.name for k, v in found[n].items()} == {
            "boxes": "float32",
            "scores": "float32",
            "labels": "int32",
        }


def test_raw_outputs_are_decoded_without_tensorflow(anchors, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    rng = np.random.default_rng(0)
    raw = {key: rng.normal(size=(1, len(anchors), 4)) for key in ("class_logits", "box_regressions")}
    [found] = box_ops.detections(raw, anchors)
    assert len(found["boxes"]) == 100


def test_nothing_and_broken_outputs_detect_nothing(anchors):
    logits = np.zeros((1, len(anchors), 3), np.float32)
    logits[..., 0] = 20
    raw = {"class_logits": logits, "box_regressions": np.zeros((1, len(anchors), 4), np.float32)}
    assert {k: v.shape for k, v in box_ops.detections(raw, anchors)[0].items()} == {
        "boxes": (0, 4),
        "scores": (0,),
        "labels": (0,),
    }
    raw["class_logits"] = np.full_like(logits, np.nan)
    assert not len(box_ops.detections(raw, anchors)[0]["scores"])
    raw["class_logits"] = np.zeros_like(logits)
    raw["box_regressions"][:, ::2] = np.nan
    found = box_ops.detections(raw, anchors)[0]
    assert len(found["scores"]) and np.isfinite(found["boxes"]).all()
