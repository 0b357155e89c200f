"""The loss of a detector against torchvision's, plain loops and hand counts; images without boxes; learning."""

import sys

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.tasks.detection import boxes as box_ops
from mobilenet_tf.tasks.detection import loss
from mobilenet_tf.tasks.detection.matching import BACKGROUND, IGNORED, match
from mobilenet_tf.utils.errors import UserError

YXYX = [1, 0, 3, 2]
CLASSES = 4


@pytest.fixture(scope="module")
def anchors():
    return box_ops.anchors(box_ops.ssd_anchors(4), [(8, 8), (4, 4), (2, 2), (1, 1)], (128, 128))


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    center, size = rng.uniform(0.2, 0.8, (3, 6, 2)), rng.uniform(0.1, 0.6, (3, 6, 2))
    boxes = np.concatenate([center - size / 2, center + size / 2], -1).clip(0, 1).astype("float32")
    labels = rng.integers(0, CLASSES, (3, 6)).astype("int32")
    labels[1, 2:], labels[2] = -1, -1
    return {"boxes": boxes, "labels": labels, "crowd": np.zeros((3, 6), bool)}


@pytest.fixture(scope="module")
def targets(batch, anchors):
    return tf.function(loss.encode_targets)(batch, anchors)


def raw(anchors, scores="softmax", images=3, seed=1):
    rng = np.random.default_rng(seed)
    width = CLASSES + (scores == "softmax")
    return {
        "class_logits": tf.constant(rng.normal(0, 2, (images, len(anchors), width)), tf.float32),
        "box_regressions": tf.constant(rng.normal(0, 1, (images, len(anchors), 4)), tf.float32),
    }


def torchvision():
    sys.modules.setdefault("triton", None)  # see test_torchvision.py
    pytest.importorskip("torch")
    return pytest.importorskip("torchvision")


# Targets -----------------------------------------------------------------------------------------


def test_targets_hold_the_label_and_box_of_each_match(batch, targets, anchors):
    matched = match(batch["boxes"], batch["labels"], anchors, batch["crowd"]).numpy()
    labels, boxes = targets["labels"].numpy(), targets["boxes"].numpy()
    for n in range(3):
        for a in range(len(anchors)):
            i = matched[n, a]
            assert labels[n, a] == (batch["labels"][n, i] if i >= 0 else i)
            np.testing.assert_array_equal(boxes[n, a], batch["boxes"][n, i] if i >= 0 else anchors[a])
    assert (labels >= 0).any() and (labels[2] == BACKGROUND).all()


def test_batches_without_any_box_have_targets_too(anchors):
    empty = {"boxes": np.zeros((2, 0, 4), np.float32), "labels": np.zeros((2, 0), np.int32)}
    targets = loss.encode_targets(empty, anchors)
    assert (targets["labels"].numpy() == BACKGROUND).all()
    np.testing.assert_array_equal(targets["boxes"], np.stack([anchors] * 2))


# The loss ----------------------------------------------------------------------------------------


@pytest.mark.torch
def test_ssd_loss_is_torchvisions(batch, anchors, targets):
    detection = torchvision().models.detection
    import torch

    outputs = raw(anchors)
    ours = loss.loss(anchors)(targets, outputs).numpy()
    model = detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=CLASSES + 1)
    for n in (0, 1):
        here = batch["labels"][n] >= 0
        truth = {
            "boxes": torch.tensor(batch["boxes"][n, here][:, YXYX]),
            "labels": torch.tensor(batch["labels"][n, here].astype("int64") + 1),
        }
        matched = match(batch["boxes"], batch["labels"], anchors).numpy()[n]
        heads = {
            "bbox_regression": torch.tensor(outputs["box_regressions"].numpy()[n : n + 1][..., YXYX]),
            "cls_logits": torch.tensor(outputs["class_logits"].numpy()[n : n + 1]),
        }
        theirs = model.compute_loss([truth], heads, [torch.tensor(anchors[:, YXYX])], [torch.tensor(matched).long()])
        assert ours[n] == pytest.approx(float(sum(theirs.values())), rel=1e-5)


@pytest.mark.torch
@pytest.mark.parametrize(("name", "theirs"), [("giou", "generalized_box_iou_loss"), ("ciou", "complete_box_iou_loss")])
def test_iou_losses_and_their_gradients_are_torchvisions(anchors, targets, name, theirs):
    ops = torchvision().ops
    import torch

    codes = raw(anchors)["box_regressions"]
    with tf.GradientTape() as tape:
        tape.watch(codes)
        ours = loss.REGRESSION[name](targets["boxes"], codes, anchors)
    boxes = torch.tensor(box_ops.decode(codes.numpy(), anchors)[..., YXYX], requires_grad=True)
    expected = getattr(ops, theirs)(boxes, torch.tensor(targets["boxes"].numpy()[..., YXYX]))
    np.testing.assert_allclose(ours, expected.detach().numpy(), atol=2e-5)
    expected.sum().backward()
    with tf.GradientTape() as chain:
        chain.watch(codes)
        decoded = tf.reduce_sum(box_ops.decode(codes, anchors) * boxes.grad.numpy()[..., YXYX])
    expected = chain.gradient(decoded, codes)
    np.testing.assert_allclose(tape.gradient(ours, codes), expected, atol=2e-4)


def test_focal_loss_by_loops(anchors, targets):
    outputs = raw(anchors, "sigmoid")
    labels = targets["labels"].numpy().copy()
    labels[:, ::7] = IGNORED
    got = loss.focal(tf.constant(labels), outputs["class_logits"], alpha=0.3, gamma=1.5).numpy()
    p = tf.sigmoid(outputs["class_logits"]).numpy().astype("float64")
    for n in range(3):
        total = 0.0
        for a in np.flatnonzero(labels[n] != IGNORED):
            for c in range(CLASSES):
                right = p[n, a, c] if labels[n, a] == c else 1 - p[n, a, c]
                total -= (0.3 if labels[n, a] == c else 0.7) * (1 - right) ** 1.5 * np.log(right)
        assert got[n] == pytest.approx(total, rel=1e-4)


def test_focal_loss_without_focus_is_half_the_cross_entropy(anchors, targets):
    logits = raw(anchors, "sigmoid")["class_logits"]
    truth = tf.one_hot(targets["labels"], CLASSES)
    entropy = tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(truth, logits), [1, 2])
    np.testing.assert_allclose(loss.focal(targets["labels"], logits, 0.5, 0.0), entropy / 2, rtol=1e-5)


def test_mining_takes_three_hard_negatives_a_positive_and_no_ignored_anchor():
    labels = tf.constant([[2, 0] + [BACKGROUND] * 8 + [IGNORED] * 2, [BACKGROUND] * 12])
    logits = np.zeros((2, 12, 4), np.float32)
    logits[:, :, 1] = np.arange(12)  # the later, the harder
    got = loss.mined_cross_entropy(labels, tf.constant(logits), 3.0).numpy()
    entropy = -np.log(tf.nn.softmax(logits).numpy())
    positives = entropy[0, 0, 3] + entropy[0, 1, 1]
    assert got[0] == pytest.approx(positives + entropy[0, 4:10, 0].sum(), rel=1e-5)
    assert got[1] == pytest.approx(entropy[1, 9:, 0].sum(), rel=1e-5)  # without boxes: the three hardest


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
@pytest.mark.parametrize("regression", ["smooth_l1", "giou", "ciou"])
def test_losses_and_gradients_are_finite_with_and_without_boxes(anchors, targets, scores, regression):
    fn = loss.loss(anchors, scores=scores, regression=regression, focal_gamma=0.5)
    outputs = raw(anchors, scores)
    outputs["class_logits"] *= 100.0
    outputs["box_regressions"] *= 100.0
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        values = tf.function(fn)(targets, outputs)
    assert values.shape == (3,) and np.isfinite(values).all() and (values.numpy() > 0).all()
    gradients = tape.gradient(values, outputs)
    assert all(np.isfinite(g).all() for g in gradients.values())
    assert not gradients["box_regressions"].numpy()[2].any(), "an image without boxes teaches no regression"
    assert gradients["class_logits"].numpy()[2].any(), "but that nothing is there"


def test_each_image_counts_by_its_own_boxes(anchors, targets):
    fn, outputs = loss.loss(anchors), raw(anchors)
    together = fn(targets, outputs).numpy()
    for n in range(3):
        one = {k: v[n : n + 1] for k, v in targets.items()}, {k: v[n : n + 1] for k, v in outputs.items()}
        assert fn(*one).numpy()[0] == pytest.approx(together[n], rel=1e-5)
    double = loss.loss(anchors, regression_weight=2.0)(targets, outputs).numpy()
    assert double[0] > together[0] and double[2] == pytest.approx(together[2])


def test_half_precision_outputs_are_counted_in_float32(anchors, targets):
    half = {k: tf.cast(v, tf.bfloat16) for k, v in raw(anchors).items()}
    value = loss.loss(anchors)(targets, half)
    assert value.dtype == tf.float32
    exact = loss.loss(anchors)(targets, {k: tf.cast(v, tf.float32) for k, v in half.items()})
    np.testing.assert_array_equal(value, exact)


@pytest.mark.parametrize(("scores", "regression"), [("softmax", "smooth_l1"), ("softmax", "ciou"), ("sigmoid", "giou")])
def test_outputs_that_follow_the_loss_detect_the_boxes(anchors, scores, regression):
    """Gradient descent on the raw outputs themselves ends at the boxes: loss, coder and decoding speak one language."""
    boxes = np.array([[[0.1, 0.1, 0.4, 0.5], [0.5, 0.3, 0.9, 0.9], [0.05, 0.6, 0.25, 0.8]], [[0] * 4] * 3], np.float32)
    labels = np.array([[2, 0, 3], [-1] * 3], np.int32)
    targets = loss.encode_targets({"boxes": boxes, "labels": labels}, anchors)
    fn = loss.loss(anchors, scores=scores, regression=regression)
    outputs = {k: tf.Variable(tf.zeros_like(v)) for k, v in raw(anchors, scores, images=2).items()}
    adam = tf.keras.optimizers.Adam(0.2)
    adam.build(list(outputs.values()))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(fn(targets, outputs))
        adam.apply(tape.gradient(total, list(outputs.values())))

    for _ in range(250):
        step()
    options = {"scores": scores, "score_threshold": 0.5, "iou_threshold": 0.5}
    first, second = box_ops.detections({k: v.numpy() for k, v in outputs.items()}, anchors, **options)
    assert not len(second["boxes"])
    assert sorted(first["labels"]) == [0, 2, 3]
    order = [list(first["labels"]).index(label) for label in labels[0]]
    np.testing.assert_allclose(first["boxes"][order], boxes[0], atol=0.02)


@pytest.mark.parametrize("keys", [{"scores": "hinge"}, {"regression": "l2"}])
def test_unknown_losses_are_user_errors(anchors, keys):
    with pytest.raises(UserError, match=f"{next(iter(keys))} must be .*Received: {next(iter(keys.values()))}"):
        loss.loss(anchors, **keys)
