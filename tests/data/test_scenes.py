"""The built-in data set: reproducible, consistently annotated, balanced, varied, and beyond a linear model."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from mobilenet_tf.data import scenes
from mobilenet_tf.utils.errors import UserError

KEYS = ("image", "label", "attributes", "boxes", "labels", "mask")


@pytest.fixture(scope="module")
def singles():
    return [scenes.render(0, index, 64) for index in range(60)]


@pytest.fixture(scope="module")
def groups():
    return [scenes.render(1, index, 96, animals=(2, 4)) for index in range(30)]


def digest(image: np.ndarray) -> str:
    return hashlib.sha256(image.tobytes()).hexdigest()


def test_same_arguments_same_scene(singles):
    for index in (59, 3, 17):  # in another order, after other drawings
        again = scenes.render(0, index, 64)
        assert all(np.array_equal(again[key], singles[index][key]) for key in KEYS)


@pytest.mark.parametrize("size", [33, 128, 224])
def test_another_size_shows_the_same_scene(singles, size):
    for index in range(5):
        other = scenes.render(0, index, size)
        assert other["image"].shape == (size, size, 3) and other["mask"].shape == (size, size)
        assert np.array_equal(other["attributes"], singles[index]["attributes"])
        assert np.array_equal(other["labels"], singles[index]["labels"])
        np.testing.assert_allclose(other["boxes"], singles[index]["boxes"], atol=2 / 33)
        small = np.asarray(Image.fromarray(other["image"]).resize((16, 16), Image.Resampling.BOX), float)
        known = np.asarray(Image.fromarray(singles[index]["image"]).resize((16, 16), Image.Resampling.BOX), float)
        assert np.abs(small - known).mean() < 8


def test_types(groups):
    for scene in groups:
        count = len(scene["labels"])
        assert scene["image"].dtype == scene["mask"].dtype == scene["instances"].dtype == np.uint8
        assert scene["label"].dtype == scene["labels"].dtype == np.int32
        assert scene["boxes"].dtype == scene["attributes"].dtype == np.float32
        assert scene["boxes"].shape == (count, 4) and scene["attributes"].shape == (len(scenes.ATTRIBUTES),)


def test_boxes_labels_and_masks_agree(singles, groups):
    for scene in [*singles, *groups]:
        size = len(scene["mask"])
        assert scene["label"] == scene["labels"][0]
        assert np.array_equal(scene["mask"] > 0, scene["instances"] > 0)
        assert scene["instances"].max() == len(scene["boxes"])
        for i, (box, label) in enumerate(zip(scene["boxes"], scene["labels"], strict=True)):
            rows, columns = np.nonzero(scene["instances"] == i + 1)
            np.testing.assert_allclose(
                box * size, (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1), atol=1e-4
            )
            assert set(scene["mask"][rows, columns]) == {label + 1}


def test_the_main_animal_can_be_seen(singles, groups):
    assert min((scene["instances"] == 1).mean() for scene in singles) > 0.04
    assert min((scene["instances"] == 1).mean() for scene in groups) > 0.01
    assert {len(scene["boxes"]) for scene in groups} >= {2, 3}


def test_occluders_cover_the_animal(monkeypatch):
    covered = [i for i in range(60) if scenes.render(3, i, 64)["attributes"][scenes.ATTRIBUTES.index("occluded")]]
    seen = [(scenes.render(3, i, 64)["mask"] > 0).sum() for i in covered]
    monkeypatch.setattr(scenes, "OCCLUDERS", [lambda *args: None])
    whole = [(scenes.render(3, i, 64)["mask"] > 0).sum() for i in covered]
    share = np.array(seen) / np.array(whole)
    assert len(covered) > 8
    assert share.max() <= 1 and share.mean() < 0.9 and share.min() > 0.3


def test_classes_are_balanced_in_seeded_order():
    count = len(scenes.CLASSES)
    labels = [scenes.label_of(0, index) for index in range(7 * count)]
    assert np.array_equal(np.bincount(labels), np.full(count, 7))
    assert labels[:count] != labels[count : 2 * count]
    assert labels != [scenes.label_of(1, index) for index in range(7 * count)]
    assert [scenes.render(0, index, 16)["label"] for index in range(count)] == labels[:count]


def test_images_vary(singles):
    images = np.stack([scene["image"] for scene in singles]).astype(float)
    assert images.mean((1, 2, 3)).std() > 15  # exposure
    assert images.mean((1, 2)).std(0).min() > 15  # color
    boxes = np.stack([scene["boxes"][0] for scene in singles])
    assert (boxes[:, 2:] - boxes[:, :2]).std(0).min() > 0.05  # shape
    attributes = np.stack([scene["attributes"] for scene in singles]).mean(0)
    assert attributes.min() > 0.05 and attributes.max() < 0.75
    night = np.stack([scene["attributes"] for scene in singles])[:, scenes.ATTRIBUTES.index("night")] > 0
    assert images[night].mean() < 0.75 * images[~night].mean()


def test_facing_left_mirrors_the_head():
    """The collar's owner looks left exactly when the head, the highest part of a standing animal, is on the left."""
    agree = []
    for index in range(60):
        scene = scenes.render(4, index, 64)
        attributes = dict(zip(scenes.ATTRIBUTES, scene["attributes"], strict=True))
        if scenes.CLASSES[scene["label"]] in ("greyhound", "lynx") and not attributes["sitting"]:
            rows, columns = np.nonzero(scene["mask"])
            top = columns[rows < rows.min() + 4].mean()
            agree.append((top < (columns.min() + columns.max()) / 2) == bool(attributes["facing_left"]))
    assert len(agree) >= 6 and all(agree)


def test_splits_and_seeds_are_disjoint():
    keys = [(seed, split) for seed in (0, 1, 2) for split in scenes.SPLITS]
    assert len({scenes.split_seed(*key) for key in keys}) == len(keys)
    drawn = [digest(scenes.render(scenes.split_seed(*key), index, 32)["image"]) for key in keys for index in range(4)]
    assert len(set(drawn)) == len(drawn)


def test_source_yields_the_rendered_scenes_every_epoch():
    source = scenes.source("validation", 12, size=48, seed=5, animals=(1, 3))
    samples = source.items.map(source.load, num_parallel_calls=4)
    assert source.count == 12 and source.classes == scenes.CLASSES
    assert samples.element_spec["image"].shape == (48, 48, 3)
    assert samples.element_spec["boxes"].shape.as_list() == [None, 4]
    own = scenes.split_seed(5, "validation")
    for _ in range(2):
        got = list(samples.as_numpy_iterator())
        assert len({sample["id"] for sample in got}) == 12
        for index, sample in enumerate(got):
            scene = scenes.render(own, index, 48, (1, 3))
            assert all(np.array_equal(sample[key], scene[key]) for key in KEYS)


def test_source_draws_each_scene_once(monkeypatch):
    drawn = []
    render = scenes.render
    monkeypatch.setattr(scenes, "render", lambda *args: drawn.append(args) or render(*args))
    source = scenes.source("train", 6, size=32)
    for _ in range(3):
        assert len(list(source.items.map(source.load))) == 6
    assert len(drawn) == 6
    monkeypatch.setattr(scenes, "CACHE_BYTES", 0)
    source = scenes.source("train", 6, size=32)
    for _ in range(2):
        assert len(list(source.items.map(source.load))) == 6
    assert len(drawn) == 6 + 12


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"split": "valid", "count": 4}, "split must be one of train, validation, test. Received: split=valid"),
        ({"split": "test", "count": 0}, "count must be at least 1"),
        ({"split": "test", "count": 4, "size": 8}, "size must be at least 16"),
        ({"split": "test", "count": 4, "animals": (2, 1)}, "animals must be"),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(UserError, match=words):
        scenes.source(**arguments)


def test_write_folder_holds_the_scenes_of_source(tmp_path):
    root = scenes.write_folder(tmp_path / "set", {"train": 20, "test": 10}, size=40, seed=2)
    assert sorted(p.name for p in root.iterdir()) == ["test", "train"]
    assert not list(root.rglob("*.part"))
    for split, count in (("train", 20), ("test", 10)):
        files = sorted(root.glob(f"{split}/*/*.jpg"))
        assert len(files) == count
        assert all(len(list((root / split / name).iterdir())) == count // 10 for name in scenes.CLASSES)
        for file in files:
            scene = scenes.render(scenes.split_seed(2, split), int(file.stem), 40)
            decoded = tf.io.decode_jpeg(tf.io.read_file(str(file))).numpy()
            assert file.parent.name == scenes.CLASSES[scene["label"]]
            assert np.abs(decoded.astype(float) - scene["image"]).mean() < 8


@pytest.mark.slow
def test_raw_pixels_are_not_enough():
    """Ridge regression on 32-pixel images, at its best regularization, stays under 0.4 (chance: 0.1)."""

    def pixels(split, count):
        drawn = [scenes.render(scenes.split_seed(0, split), index, 32) for index in range(count)]
        images = np.stack([scene["image"] for scene in drawn]).reshape(count, -1) / 127.5 - 1
        return images, np.array([scene["label"] for scene in drawn])

    (train, train_labels), (test, test_labels) = pixels("train", 1000), pixels("test", 300)
    train, test = train - train.mean(0), test - train.mean(0)
    gram, targets = train @ train.T, np.eye(len(scenes.CLASSES))[train_labels] - 1 / len(scenes.CLASSES)
    scores = []
    for ridge in (1e1, 1e2, 1e3, 1e4, 1e5):
        guess = test @ train.T @ np.linalg.solve(gram + ridge * np.eye(len(gram)), targets)
        scores.append((guess.argmax(1) == test_labels).mean())
    assert 0.1 < max(scores) < 0.4, scores
