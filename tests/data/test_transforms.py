"""Operations on samples: the same eagerly and in tf.data, repeatable, and geometry that moves everything together."""

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.data import image_decoding, transforms
from mobilenet_tf.data.transforms import compose

HEIGHT, WIDTH = 60, 80


def drawn(top=12, left=10, bottom=36, right=60, **extra):
    """One bright rectangle in image, mask and box."""
    image = np.full((HEIGHT, WIDTH, 3), 30, np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    image[top:bottom, left:right], mask[top:bottom, left:right] = 220, 7
    boxes = np.array([[top / HEIGHT, left / WIDTH, bottom / HEIGHT, right / WIDTH]], np.float32)
    sample = {"image": image, "mask": mask, "boxes": boxes, "labels": np.array([3], np.int32), **extra}
    return {key: tf.constant(value) for key, value in sample.items()}


def seeded(seed, **extra):
    return drawn(seed=np.array([7, seed], np.int32), **extra)


def extent(inside):
    """The bounding box of true pixels, normalized."""
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    height, width = inside.shape
    return np.array([rows[0] / height, columns[0] / width, (rows[-1] + 1) / height, (columns[-1] + 1) / width])


OPS = {
    "resize": transforms.resize((48, 64)),
    "central": transforms.resize(48, 0.875),
    "crop": transforms.random_resized_crop((48, 40), (0.3, 1.0)),
    "flip": transforms.random_flip(),
    "jitter": transforms.color_jitter(0.3, 0.3, 0.3, 0.1),
    "augment": transforms.rand_augment(1, 9),
    "erasing": transforms.random_erasing(1.0),
}
RANDOM = [name for name in OPS if name not in ("resize", "central")]


@pytest.mark.parametrize("name", OPS)
def test_eager_graph_and_tf_data_agree(name):
    op = compose([OPS[name]])
    eager = op(seeded(4))
    for other in (tf.function(op)(seeded(4)), next(iter(tf.data.Dataset.from_tensors(seeded(4)).map(op)))):
        assert set(other) == set(eager)
        for key in eager:
            np.testing.assert_allclose(other[key], eager[key], atol=1e-2, err_msg=key)


@pytest.mark.parametrize("name", OPS)
def test_values_types_and_shapes(name):
    for seed in range(8):
        out = OPS[name](seeded(seed))
        assert out["image"].dtype == (tf.uint8 if name in ("flip", "erasing") else tf.float32)
        assert float(tf.reduce_min(out["image"])) >= 0 and float(tf.reduce_max(out["image"])) <= 255
        assert out["mask"].dtype == tf.uint8 and out["mask"].shape == out["image"].shape[:2]
        assert set(np.unique(out["mask"])) <= {0, 7, 255}  # never interpolated
        assert len(out["boxes"]) == len(out["labels"]) and float(tf.reduce_max(tf.abs(out["boxes"] - 0.5))) <= 0.5


@pytest.mark.parametrize("name", RANDOM)
def test_the_seed_alone_decides(name):
    op = OPS[name]
    first = op(seeded(1))["image"].numpy()
    np.testing.assert_array_equal(first, op(seeded(1))["image"])
    assert any(not np.array_equal(first, op(seeded(seed))["image"]) for seed in range(2, 12))


@pytest.mark.parametrize("name", ["resize", "central", "crop", "flip"])
def test_image_mask_and_boxes_move_together(name):
    checked = 0
    for seed in range(12):
        out = OPS[name](seeded(seed))
        if not len(out["boxes"]):
            continue
        checked += 1
        seen, mask = np.asarray(out["image"], float)[..., 0] > 125, out["mask"].numpy() == 7
        np.testing.assert_allclose(extent(mask), out["boxes"][0], atol=1.6 / 40)
        np.testing.assert_allclose(extent(seen), out["boxes"][0], atol=1.6 / 40)
    assert checked >= 8


@pytest.mark.parametrize("augment", transforms.AUGMENTATIONS[1:6])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_affine_augmentations_move_image_mask_and_boxes_together(augment, sign):
    sample = drawn()
    moved = {key: sample[key] for key in ("image", "mask", "boxes", "labels")}
    moved["image"] = tf.cast(moved["image"], tf.float32)
    out = augment(moved, 0.5, sign)
    mask = out["mask"].numpy() == 7
    assert np.mean(mask != (out["image"].numpy()[..., 0] > 150)) < 0.02  # the edge of the one is smooth
    np.testing.assert_allclose(extent(mask), out["boxes"][0], atol=2.5 / HEIGHT)
    assert not np.array_equal(mask, moved["mask"].numpy() == 7)


def test_flip_mirrors_every_other_time():
    flipped = 0
    for seed in range(40):
        out = transforms.random_flip()(seeded(seed))
        mirrored = np.array_equal(out["mask"], drawn()["mask"].numpy()[:, ::-1])
        assert mirrored or np.array_equal(out["mask"], drawn()["mask"])
        np.testing.assert_allclose(extent(out["mask"].numpy() == 7), out["boxes"][0], atol=1e-6)
        flipped += mirrored
    assert 8 <= flipped <= 32


def test_crop_drops_boxes_out_of_sight():
    op = transforms.random_resized_crop(32, (0.1, 0.3))
    counts = [len(op(drawn(0, 0, 30, 40, seed=np.array([1, seed], np.int32)))["boxes"]) for seed in range(30)]
    assert set(counts) == {0, 1}


@pytest.mark.parametrize("shape", [(100, 100), (101, 67), (300, 500), (20, 31)])
def test_central_crop_is_resize_then_crop(shape):
    height, width = shape
    y, x = np.mgrid[:height, :width]
    image = np.stack([x / width * 255, y / height * 255, (x + y) / (width + height) * 255], -1).astype(np.uint8)
    out = transforms.resize(56, 0.875)({"image": tf.constant(image)})["image"].numpy()
    scale = 64 / min(shape)
    whole = tf.image.resize(image, [round(height * scale), round(width * scale)], antialias=True).numpy()
    top, left = (whole.shape[0] - 56) // 2, (whole.shape[1] - 56) // 2
    slope = 255 / min(shape) + 255 / 64  # a pixel of the source and one of the result
    assert np.abs(out - whole[top : top + 56, left : left + 56]).max() < slope


def test_shrinking_is_antialiased():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    out = transforms.resize(50)({"image": tf.constant(stripes)})["image"].numpy()
    assert np.abs(out - 127.5).max() < 30


def test_crop_of_encoded_bytes_equals_crop_of_pixels():
    rng = np.random.default_rng(0)
    small = tf.image.resize(rng.integers(0, 255, (5, 6, 3)), (240, 320), method="bicubic")
    jpeg = tf.io.encode_jpeg(tf.cast(tf.clip_by_value(small, 0, 255), tf.uint8), quality=95)
    image = image_decoding.decode(jpeg)
    for seed in range(10):
        sample = {"image": image, "seed": tf.constant([3, seed]), "original_size": tf.constant([240, 320])}
        part = transforms.random_resized_crop(48)({**sample, "encoded": jpeg})["image"]
        window = transforms._random_window([240, 320, 3], sample["seed"], (0.08, 1.0), (3 / 4, 4 / 3))
        _, shown = image_decoding.decode_crop(jpeg, window, (48, 48))
        whole = transforms.resize(48)({"image": image_decoding.crop(image, shown)})["image"]
        assert float(tf.reduce_mean(tf.abs(whole - part))) < 1


def test_encoded_bytes_are_dropped_once_the_image_has_changed():
    sample = seeded(0, encoded=b"would fail to decode", original_size=np.array([HEIGHT, WIDTH], np.int32))
    out = compose([transforms.color_jitter(0.1), transforms.random_resized_crop(32)])(sample)
    assert "encoded" not in out and out["image"].shape == (32, 32, 3)


def test_compose_gives_each_position_its_own_seed():
    seen = []

    def note(sample):
        seen.append(tuple(sample["seed"].numpy()))
        return sample

    out = compose([note, note, note])(seeded(1))
    assert len(set(seen)) == 3 and tuple(out["seed"].numpy()) == (7, 1)
    assert "seed" not in compose([transforms.resize(8)])(drawn())


def test_random_resized_crop_covers_scale_and_ratio():
    windows = np.array(
        [
            transforms._random_window([400, 600, 3], tf.constant([0, seed]), (0.2, 0.6), (0.75, 1.33))
            for seed in range(300)
        ]
    )
    area, ratio = windows[:, 2] * windows[:, 3] / 240_000, windows[:, 3] / windows[:, 2]
    assert 0.19 <= area.min() < 0.27 and 0.5 < area.max() <= 0.61
    assert 0.74 <= ratio.min() < 0.8 and 1.25 < ratio.max() <= 1.34
    assert (windows[:, 0] + windows[:, 2] <= 400).all() and (windows[:, 1] + windows[:, 3] <= 600).all()


def test_jitter_of_zero_changes_nothing():
    np.testing.assert_allclose(transforms.color_jitter()(seeded(0))["image"], drawn()["image"], atol=1e-4)


def test_erasing_takes_its_share():
    sample = {"image": tf.zeros([50, 50, 3]), "seed": tf.constant([1, 1])}
    shares = []
    for seed in range(60):
        out = transforms.random_erasing(0.5)({**sample, "seed": tf.constant([1, seed])})["image"].numpy()
        shares.append((out.max(-1) > 0).mean())
    hit = [share for share in shares if share]
    assert 15 <= len(hit) <= 45 and min(hit) > 0.01 and max(hit) < 0.36


def test_equalize_flattens_the_histogram():
    image = tf.constant(np.random.default_rng(0).integers(100, 140, (64, 64, 3)), tf.float32)
    out = transforms._equalize(image, 1.0, 1.0).numpy()
    assert out.min() == 0 and out.max() == 255 and abs(out.mean() - 127.5) < 6
    flat = tf.fill([8, 8, 3], 9.0)
    np.testing.assert_array_equal(transforms._equalize(flat, 1.0, 1.0), flat)


@pytest.fixture
def batch():
    values = tf.constant(np.random.default_rng(0).uniform(0, 255, (6, 20, 20, 3)), tf.float32)
    return values, tf.eye(6)


@pytest.mark.parametrize("mix", [transforms.mixup(0.4), transforms.cutmix(1.0)])
def test_mixes_blend_images_as_they_blend_targets(batch, mix):
    values, targets = batch
    mixed, blended = mix(batch, tf.constant([1, 2]))
    np.testing.assert_allclose(tf.reduce_sum(blended, 1), 1, atol=1e-5)
    share = np.diag(blended)
    assert len(set(share.round(4))) > 3
    neighbor = np.roll(values, 1, 0)
    for own, other, got, weight in zip(values, neighbor, mixed.numpy(), share, strict=True):
        expected = weight * own.numpy().mean() + (1 - weight) * other.mean()
        assert abs(got.mean() - expected) < 12  # cutmix: of the rectangle, not of the whole
    again, _ = mix(batch, tf.constant([1, 2]))
    np.testing.assert_array_equal(mixed, again)
    assert not np.array_equal(mixed, mix(batch, tf.constant([1, 3]))[0])


def test_cutmix_takes_every_pixel_from_one_of_the_two(batch):
    values, _ = batch
    mixed, blended = transforms.cutmix(1.0)(batch, tf.constant([4, 4]))
    own = np.all(mixed.numpy() == values.numpy(), -1)
    other = np.all(mixed.numpy() == np.roll(values, 1, 0), -1)
    assert np.all(own | other)
    np.testing.assert_allclose(own.mean((1, 2)), np.diag(blended), atol=1e-6)


def test_one_of_draws_both(batch):
    zero, one = (lambda b, s: (b[0] * 0, b[1])), (lambda b, s: (b[0] * 0 + 1, b[1]))
    drawn_values = {
        float(transforms.one_of([zero, one])(batch, tf.constant([0, seed]))[0][0, 0, 0, 0]) for seed in range(12)
    }
    assert drawn_values == {0.0, 1.0}
