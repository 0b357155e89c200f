"""Images and boxes move together: crops, zoom-out, flips, mosaics, padding; all repeatable from the seed."""

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf import config
from mobilenet_tf.data import transforms
from mobilenet_tf.data.source import Source, evaluation_batches, image_loader, training_batches
from mobilenet_tf.tasks.detection import augment
from mobilenet_tf.tasks.detection.task import restored, shown, task

SIZE = (96, 96)
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.float32)


def sample(seed=0, height=120, width=160, boxes=((0.1, 0.1, 0.5, 0.4), (0.6, 0.3, 0.9, 0.9), (0.2, 0.6, 0.5, 0.8))):
    """A dark image with a plain rectangle of its own color for every box."""
    image = np.full((height, width, 3), 20, np.uint8)
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    for (y0, x0, y1, x1), color in zip(boxes * [height, width, height, width], COLORS, strict=False):
        image[round(y0) : round(y1), round(x0) : round(x1)] = color
    return {
        "id": tf.constant("x"),
        "image": tf.constant(image),
        "boxes": tf.constant(boxes),
        "labels": tf.range(len(boxes)),
        "crowd": tf.zeros(len(boxes), tf.bool),
        "original_size": tf.constant([height, width]),
        "seed": tf.constant([7, seed]),
    }


def drawn_box(image: np.ndarray, label: int) -> np.ndarray:
    """Where the rectangle of a color is seen, yxyx within 0..1."""
    near = np.abs(image - COLORS[label]).max(-1) < 100
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]) / np.tile(image.shape[:2], 2)


def assert_boxes_lie_on_the_picture(out, pixels=1.6):
    image = out["image"].numpy()
    assert image.shape == (*SIZE, 3) and image.min() >= 0 and image.max() <= 255.001
    for box, label in zip(out["boxes"].numpy(), out["labels"].numpy(), strict=True):
        assert np.abs(drawn_box(image, label) - box).max() * max(SIZE) < pixels
    assert len(out["crowd"]) == len(out["boxes"])


OPS = {
    "zoom-out and crop": augment.random_view(SIZE),
    "zoom-out alone": augment.random_view(SIZE, zoom_out=1.0, iou_crop=0.0),
    "crop alone": augment.random_view(SIZE, zoom_out=0.0),
    "padded": augment.random_view(SIZE, pad=True),
    "scale crop": transforms.random_scale_crop(SIZE, (0.5, 2.0), "stretch", SIZE),
    "scale crop, padded": transforms.random_scale_crop(SIZE, (0.5, 2.0), "letterbox", SIZE),
    "letterbox": transforms.letterbox(SIZE),
    "vertical flip": transforms.compose([transforms.resize(SIZE), transforms.random_flip(axis=0)]),
}


@pytest.mark.parametrize("name", OPS)
def test_boxes_lie_where_the_image_shows_them(name):
    op, results = OPS[name], []
    for seed in range(24):
        out = op(sample(seed))
        assert_boxes_lie_on_the_picture(out)
        results.append(out["boxes"].numpy())
    assert sum(len(boxes) for boxes in results) > 24
    if name != "letterbox":
        assert len({boxes.tobytes() for boxes in results}) > 1


@pytest.mark.parametrize("name", OPS)
def test_they_run_in_tf_data_as_they_do_eagerly_and_repeat(name):
    whole = tf.data.Dataset.range(4).map(lambda i: OPS[name]({**sample(), "seed": tf.stack([7, tf.cast(i, tf.int32)])}))
    for seed, out in enumerate(whole):
        again = OPS[name](sample(seed))
        np.testing.assert_allclose(out["image"], again["image"], atol=1e-2)
        np.testing.assert_allclose(out["boxes"], again["boxes"], atol=1e-6)


def test_a_crop_keeps_boxes_by_their_center_and_overlaps_one():
    boxes = tf.constant([[0.1, 0.1, 0.5, 0.4], [0.6, 0.3, 0.9, 0.9]])
    windows = np.array([augment.crop_window(boxes, tf.constant([120.0, 160.0]), (3, i)) for i in range(200)])
    sides = windows[:, 2:]
    whole = (sides == 1).all(1)
    assert 0.05 < whole.mean() < 0.4  # one smallest overlap in seven means: no crop
    ratio = (sides[:, 1] * 160 / (sides[:, 0] * 120))[~whole]
    assert sides[~whole].min() >= 0.3 and ratio.min() >= 0.5 and ratio.max() <= 2
    corners = np.concatenate([windows[:, :2], windows[:, :2] + sides], 1).astype(np.float32)
    inside = augment.center_inside(boxes, tf.constant(corners)).numpy()
    assert inside.any(0).all()  # some center in every window
    assert corners.min() >= 0 and corners.max() <= 1 + 1e-6


def test_images_without_boxes_or_with_crowds_alone_pass():
    for change in ({"boxes": ()}, {}):
        record = sample(**change)
        record["crowd"] = tf.ones_like(record["crowd"])
        for seed in range(8):
            out = augment.random_view(SIZE)({**record, "seed": tf.constant([1, seed])})
            assert out["image"].shape == (*SIZE, 3) and len(out["boxes"]) == len(out["labels"]) == len(out["crowd"])


def test_zoom_out_shrinks_boxes_on_grey_ground():
    areas = []
    for seed in range(20):
        out = OPS["zoom-out alone"](sample(seed))
        assert len(out["boxes"]) == 3
        boxes = out["boxes"].numpy()
        areas.append(((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sum())
    assert min(areas) < 0.1 * max(areas)
    gray = np.abs(out["image"].numpy() - 127.5).max(-1) < 1
    assert gray.any()


def test_only_the_part_of_a_jpeg_that_is_seen_is_decoded_and_gives_the_same_view(tmp_path):
    record = sample(0, 640, 800)
    path = tmp_path / "x.jpg"
    path.write_bytes(tf.io.encode_jpeg(record["image"], quality=95).numpy())
    loaded = image_loader(1, {})({"id": tf.constant(str(path))})
    for seed in range(8):
        own = {**record, **loaded, "seed": tf.constant([7, seed])}
        part = augment.random_view(SIZE)(own)
        whole = augment.random_view(SIZE)({key: value for key, value in own.items() if key != "encoded"})
        assert np.abs(part["boxes"].numpy() - whole["boxes"].numpy()).max(initial=0) * max(SIZE) < 1.5
        assert np.abs(part["image"].numpy() - whole["image"].numpy()).mean() < 12
        assert_boxes_lie_on_the_picture(part, pixels=2.5)


def test_colors_change_and_nothing_else_does():
    outs = [augment.photometric(1.0)(sample(seed)) for seed in range(12)]
    images = np.stack([out["image"].numpy() for out in outs])
    assert images.min() >= 0 and images.max() <= 255 and images.std(0).max() > 10
    np.testing.assert_array_equal(outs[0]["boxes"], sample()["boxes"])
    np.testing.assert_allclose(augment.photometric(0.0)(sample())["image"], sample()["image"], atol=1e-3)


def batch_of(count=4):
    records = [transforms.resize(SIZE)(sample(seed)) for seed in range(count)]
    return {key: tf.stack([record[key] for record in records]) for key in records[0]}


def test_mosaics_show_four_images_and_their_boxes():
    batch = batch_of() | {"mosaic": tf.constant([True, False, True, True])}
    out = augment.mosaic(batch)
    assert out["boxes"].shape == (4, 12, 4) and out["labels"].shape == out["crowd"].shape == (4, 12)
    labels = out["labels"].numpy()
    assert (labels[1, :3] == [0, 1, 2]).all() and (labels[1, 3:] == -1).all()  # left as it was
    np.testing.assert_allclose(out["boxes"][1, :3], batch["boxes"][1])
    np.testing.assert_allclose(out["image"][1], batch["image"][1])
    for i in (0, 2, 3):
        image = out["image"][i].numpy()
        for box, label in zip(out["boxes"][i].numpy(), labels[i], strict=True):
            if label < 0:
                continue
            y0, x0, y1, x1 = np.round(box * max(SIZE)).astype(int)
            inner = image[y0 + 2 : y1 - 2, x0 + 2 : x1 - 2]
            if inner.size:
                assert np.abs(inner - COLORS[label]).max(-1).min() < 100
        assert 3 <= (labels[i] >= 0).sum() <= 12


def small_config(*overrides):
    values = {
        "task": "detection",
        "model": {"backbone": "mobilenet_v2", "alpha": 0.35, "input_size": SIZE, "weights": None},
        "data": {"reader": "scenes"},
        "train": {"stages": [{"learning_rate": 0.1}]},
    }
    return config.override(values, overrides, "small")


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.resize=letterbox"],
        ["data.augment.scale_crop=[0.5, 2.0]"],
        ["data.augment.zoom_out=0", "data.augment.iou_crop=0", "data.augment.vertical_flip=true"],
        ["data.augment.mosaic=1.0"],
    ],
    ids=" ".join,
)
def test_configured_pipelines_give_batches_and_repeat(overrides):
    cfg = small_config(*overrides)
    items = tf.data.Dataset.range(5).map(lambda i: {"id": tf.strings.as_string(i), "which": tf.cast(i, tf.int32)})

    def load(record):
        one = {key: value for key, value in sample().items() if key not in ("id", "seed")}
        keep = tf.range(3) < record["which"]  # 0 to 3 boxes
        kept = {key: tf.boolean_mask(one[key], keep) for key in ("boxes", "labels", "crowd")}
        return {key: value for key, value in record.items() if key != "which"} | one | kept

    source = Source(items, load, 5, ["a", "b", "c"])
    runs = []
    for _ in range(2):
        stream = training_batches(
            source, task(cfg).transform(True), lambda batch: (batch["image"], batch), batch_size=3, seed=1
        )
        runs.append([batch for batch, _ in zip(stream, range(3), strict=False)])
    for (images, batch), (again, other) in zip(*runs, strict=True):
        np.testing.assert_array_equal(images, again)
        np.testing.assert_array_equal(batch["boxes"], other["boxes"])
        assert images.shape[1:] == (*SIZE, 3) and ("mosaic" in batch) == ("mosaic" in str(overrides))
    evaluated = next(iter(evaluation_batches(source, task(cfg).transform(False), batch_size=5)))
    assert evaluated["image"].shape == (5, *SIZE, 3) and evaluated["labels"].shape == (5, 3)
    assert evaluated["labels"][0].numpy().tolist() == [-1, -1, -1]


@pytest.mark.parametrize("shape", [(120, 160), (200, 50), (96, 96)])
def test_padded_input_goes_back_to_the_original_image(shape):
    cfg = small_config("data.resize=letterbox")
    record = sample(0, *shape)
    placed = task(cfg).transform(False)(record)
    back = restored(cfg, placed["boxes"].numpy(), shape)
    np.testing.assert_allclose(back, record["boxes"], atol=1e-6)
    part = shown(cfg, placed["image"].numpy(), shape)
    assert abs(part.shape[0] / part.shape[1] - shape[0] / shape[1]) < 0.05
    stretched = small_config()
    image = shown(stretched, task(stretched).transform(False)(record)["image"].numpy(), shape)
    assert abs(image.shape[0] / image.shape[1] - shape[0] / shape[1]) < 0.05
