"""Loss, decoding and metric of segmentation, against small worked examples and other definitions."""

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.tasks.segmentation import drawing, inference, loss, report
from mobilenet_tf.tasks.segmentation.metric import (
    BOUNDARY_TOLERANCE,
    WORST_IMAGES,
    SegmentationMetric,
    _dilate,
    boundary_scores,
)
from mobilenet_tf.utils.errors import UserError

rng = np.random.default_rng(0)
LOGITS = rng.normal(size=(2, 6, 5, 4)).astype(np.float32)
MASK = rng.integers(0, 4, (2, 6, 5)).astype(np.uint8)


def targets(mask=MASK, weights=None):
    weights = (mask != 255).astype(np.float32) if weights is None else weights
    return {"mask": tf.constant(mask), "weights": tf.constant(weights, tf.float32)}


def cross_entropy(mask=MASK):
    probabilities = np.exp(LOGITS) / np.exp(LOGITS).sum(-1, keepdims=True)
    return -np.log(np.take_along_axis(probabilities, np.minimum(mask, 3)[..., None].astype(int), -1)[..., 0])


def test_cross_entropy_leaves_out_what_is_ignored():
    mask = MASK.copy()
    mask[0, :3] = 255
    value = loss.loss()(targets(mask), LOGITS)
    np.testing.assert_allclose(value, cross_entropy(mask)[mask != 255].mean(), rtol=1e-5)
    with tf.GradientTape() as tape:
        logits = tf.Variable(LOGITS)
        value = loss.loss()(targets(mask), logits)
    gradient = tape.gradient(value, logits).numpy()
    assert not gradient[0, :3].any() and gradient[0, 3:].any()


def test_nothing_to_learn_from_is_no_loss():
    mask = np.full_like(MASK, 255)
    assert float(loss.loss()(targets(mask), LOGITS)) == 0
    assert float(loss.loss(ohem_fraction=0.5)(targets(mask), LOGITS)) == 0


def test_class_weights_average_as_in_torch():
    torch = pytest.importorskip("torch")
    chosen = np.array([0.5, 1, 3, 0], np.float32)
    value = loss.loss()(targets(weights=chosen[MASK]), LOGITS)
    want = torch.nn.functional.cross_entropy(
        torch.tensor(LOGITS.transpose(0, 3, 1, 2)), torch.tensor(MASK.astype(np.int64)), torch.tensor(chosen)
    )
    np.testing.assert_allclose(value, want.item(), rtol=1e-5)


def test_hard_examples_are_the_worst_share_of_the_counted():
    mask = MASK.copy()
    mask[1] = 255
    losses = np.sort(cross_entropy(mask)[mask != 255])[::-1]
    value = loss.loss(ohem_fraction=0.25)(targets(mask), LOGITS)
    np.testing.assert_allclose(value, losses[: int(np.ceil(0.25 * 30))].mean(), rtol=1e-5)
    np.testing.assert_allclose(loss.loss(ohem_fraction=1.0)(targets(), LOGITS), loss.loss()(targets(), LOGITS), 1e-6)


def test_dice_falls_to_nothing_for_a_perfect_prediction():
    perfect = np.eye(4, dtype=np.float32)[MASK] * 60
    plain, dice = loss.loss()(targets(), perfect), loss.loss(dice=1.0)(targets(), perfect)
    assert 0 <= float(dice - plain) < 0.1
    wrong = np.roll(perfect, 1, -1)
    assert float(loss.loss(dice=1.0)(targets(), wrong) - loss.loss()(targets(), wrong)) > 0.9


def test_the_auxiliary_classifier_counts_by_its_weight():
    raw = {"logits": LOGITS, "auxiliary": -LOGITS}
    fn = loss.loss(auxiliary=0.4)
    np.testing.assert_allclose(fn(targets(), raw), fn(targets(), LOGITS) + 0.4 * fn(targets(), -LOGITS), rtol=1e-6)


# Decoding


@pytest.mark.parametrize(
    "resize, size", [("stretch", (90, 30)), ("letterbox", (40, 80)), ("pad", (31, 47)), ("pad", (99, 70))]
)
def test_masks_come_back_at_the_original_size_and_place(resize, size):
    from mobilenet_tf.data import transforms

    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2, size[1] // 3 :] = 2
    record = {"image": np.zeros((*size, 3), np.uint8), "mask": mask}
    shown = transforms.letterbox((48, 64), resize)(record)["mask"].numpy()
    logits = np.eye(3, dtype=np.float32)[np.where(shown == 255, 1, shown)]
    for raw in (logits[None], shown[None], {"logits": logits[None]}):
        [prediction] = inference.decode(raw, np.array([size]), resize)
        assert prediction["mask"].shape == size and prediction["mask"].dtype == np.uint8
        inside = prediction["mask"][2:-4, 2:-4]
        assert (inside == mask[2:-4, 2:-4]).mean() > 0.93 and set(np.unique(inside)) <= {0, 2}


def test_summary_names_the_classes_by_area():
    row = inference.to_row({"mask": np.array([[0, 1], [1, 1]], np.uint8)}, ["sky", "road", "car"])
    assert row == {"label": "road", "share": 0.75, "classes": "road 0.750, sky 0.250"}


# Metric

CLASSES = ["sky", "road", "car"]


def sample(truth, **fields):
    return {"id": np.bytes_(b"x"), "truth": truth, "original_size": np.array(truth.shape), **fields}


def test_scores_by_hand():
    truth = np.array([[0, 0, 1, 1], [0, 255, 1, 1]], np.uint8)
    mask = np.array([[0, 1, 1, 1], [0, 2, 1, 0]], np.uint8)
    metric = SegmentationMetric(CLASSES)
    metric.update(sample(truth), {"mask": mask})
    np.testing.assert_array_equal(metric.confusion, [[2, 1, 0], [1, 3, 0], [0, 0, 0]])
    result = metric.result()
    assert result["iou_sky"] == pytest.approx(2 / 4) and result["iou_road"] == pytest.approx(3 / 5)
    assert "iou_car" not in result, "in neither truth nor prediction where it counts"
    assert result["miou"] == pytest.approx((2 / 4 + 3 / 5) / 2)
    assert result["pixel_accuracy"] == pytest.approx(5 / 7)
    assert result["mean_accuracy"] == pytest.approx((2 / 3 + 3 / 4) / 2)
    assert result["frequency_weighted_iou"] == pytest.approx(3 / 7 * 2 / 4 + 4 / 7 * 3 / 5)
    assert result["count"] == 1


def test_one_matrix_over_the_split_and_no_mean_over_pictures():
    metric = SegmentationMetric(CLASSES)
    big, small = np.zeros((10, 10), np.uint8), np.ones((1, 2), np.uint8)
    metric.update(sample(big), {"mask": big})
    metric.update(sample(small), {"mask": np.array([[1, 0]], np.uint8)})
    assert metric.result()["miou"] == pytest.approx((100 / 101 + 1 / 2) / 2)


def test_padding_of_a_batch_is_cut_off():
    truth = np.full((4, 9), 0, np.uint8)  # padded with 0: original_size says what counts
    truth[:2, :3] = 1
    metric = SegmentationMetric(CLASSES)
    metric.update({"truth": truth, "original_size": np.array([2, 3])}, {"mask": np.ones((2, 3), np.uint8)})
    assert metric.result()["miou"] == 1 and metric.confusion.sum() == 6
    with pytest.raises(ValueError, match=r"mask must be \(2, 3\)"):
        metric.update({"truth": truth, "original_size": np.array([2, 3])}, {"mask": np.ones((4, 9), np.uint8)})


def test_scores_of_masks_of_one_class_are_said_to_mean_nothing():
    truth = np.array([[0, 0, 255]], np.uint8)
    metric = SegmentationMetric(CLASSES)
    metric.update(sample(truth), {"mask": np.zeros_like(truth)})
    with pytest.warns(UserWarning, match="all pixels that count are 'sky' in the masks: the scores, mIoU too, say"):
        assert metric.result()["miou"] == 1
    metric.update(sample(np.ones_like(truth)), {"mask": np.zeros_like(truth)})
    assert not any("that count" in line for line in metric.warnings)


def test_a_constant_prediction_is_warned_of():
    truth = np.array([[0, 1]], np.uint8)
    metric = SegmentationMetric(CLASSES)
    metric.update(sample(truth), {"mask": np.zeros_like(truth)})
    with pytest.warns(UserWarning, match="all pixels are predicted as 'sky'"):
        metric.result()
    with pytest.raises(UserError, match="at least one pixel"):
        SegmentationMetric(CLASSES).result()


def disc(shift=0, size=101):
    rows, columns = np.indices((size, size))
    return ((rows - size // 2) ** 2 + (columns - size // 2 - shift) ** 2 < (size // 4) ** 2).astype(np.uint8)


def test_boundary_scores_forgive_the_tolerance_and_no_more():
    assert boundary_scores(disc(), disc()) == {0: 1.0, 1: 1.0}
    tolerance = round(BOUNDARY_TOLERANCE * np.hypot(101, 101))
    assert boundary_scores(disc(), disc(tolerance))[1] == 1.0
    far = boundary_scores(disc(), disc(20))[1]
    assert 0 < far < 0.3
    assert boundary_scores(disc(), np.zeros_like(disc()))[1] == 0
    ignored = disc()
    ignored[:, 60:] = 255
    assert boundary_scores(ignored, disc())[1] == pytest.approx(1.0, abs=0.03)


def test_dilation_is_a_disc():
    points = rng.random((30, 40)) < 0.01
    rows, columns = np.nonzero(points)
    grid = np.indices(points.shape)
    for radius in (1, 3, 6):
        distance = (grid[0][..., None] - rows) ** 2 + (grid[1][..., None] - columns) ** 2
        np.testing.assert_array_equal(_dilate(points, radius), (distance <= radius**2).any(-1))


# Pictures


def test_colors_that_can_be_told_apart_and_untouched_background():
    colours = drawing.palette(21)
    assert len({tuple(c) for c in drawing.palette(200)[:200]}) == 200 and tuple(colours[255]) == (0, 0, 0)
    first = colours[:9].astype(int)
    distances = np.abs(first[:, None] - first).sum(-1)[~np.eye(9, dtype=bool)]
    assert distances.min() > 80, "of red, green and blue together"
    assert ((first.max(-1) > 100) & (first.min(-1) < 200)).all(), "neither shadow nor sky"
    image = rng.integers(0, 255, (4, 6, 3)).astype(np.uint8)
    mask = np.zeros((4, 6), np.uint8)
    mask[0] = 1
    shown = drawing.overlay(image, mask, ["background", "cat"])
    np.testing.assert_array_equal(shown[1:], image[1:])
    assert (shown[0] != image[0]).any()


@pytest.mark.parametrize("ground", [0, 255, (230, 159, 0)], ids=["black", "white", "the color of the class"])
def test_contours_are_seen_on_any_ground(ground):
    image = np.full((40, 40, 3), ground, np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[8:32, 8:32] = 1
    shown = drawing.overlay(image, mask, ["background", "cat"]).astype(int)
    np.testing.assert_array_equal(shown[mask == 0], image[mask == 0])
    ring = shown[8:10, 20]  # from the outside in
    assert np.abs(ring[0] - ring[1]).sum() > 400, "dark beside white"


def test_report_and_drawing(tmp_path):
    metric = SegmentationMetric(CLASSES, "letterbox")
    for i in range(WORST_IMAGES + 3):
        truth = disc(size=40)
        image = rng.uniform(0, 255, (48, 64, 3)).astype(np.float32)
        metric.update(sample(truth, image=image) | {"id": np.bytes_(f"{i}.jpg")}, {"mask": disc(i, size=40)})
    assert [scored.id for scored in metric.worst][:2] == ["14.jpg", "13.jpg"] and len(metric.worst) == WORST_IMAGES
    assert metric.worst[0].image.shape == (48, 48, 3), "without the padding"
    files = report.report(metric, CLASSES, tmp_path)
    assert {path.name for path in files} == {"confusion.png", "per_class.png", "per_class.csv", "worst.png"}
    assert all(path.stat().st_size > 100 for path in files)
    drawn = drawing.draw(np.zeros((40, 40, 3), np.uint8), {"mask": disc(size=40)}, CLASSES)
    assert drawn.shape[0] > 40 and drawn.dtype == np.uint8 and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 3
