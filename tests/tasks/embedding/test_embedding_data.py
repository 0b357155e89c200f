"""Who is held out, batches of identities, and the keys of an experiment."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sections import reader_of

from mobilenet_tf import config
from mobilenet_tf.data import transforms
from mobilenet_tf.data.source import steps_per_epoch, training_batches
from mobilenet_tf.data.splits import SPLITS
from mobilenet_tf.tasks.embedding import sampling
from mobilenet_tf.tasks.embedding.task import task
from mobilenet_tf.training.features import Features
from mobilenet_tf.utils.errors import UserError

read = reader_of("embedding")
NAMES = [name for name, path in config.shipped().items() if path.parent.name == "embedding"]
BASE = {
    "task": "embedding",
    "data": {"reader": "scenes"},
    "train": {"batch_size": 8, "stages": [{"learning_rate": 0.01}]},
}


def pictures(folder, identities, count=4):
    for value, name in enumerate(identities):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((8, 8, 3), 6 * value + i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


def ids(source):
    return {record["id"].decode() for record in source.items.as_numpy_iterator()}


def all_splits(root, **keys):
    return {split: read("folder", root, split, **keys) for split in SPLITS}


def test_a_tenth_of_the_identities_each_is_held_out(tmp_path):
    root = pictures(tmp_path, [f"n{i:02}" for i in range(40)])
    parts = all_splits(root)
    people = {split: set(source.classes) for split, source in parts.items()}
    assert {split: len(found) for split, found in people.items()} == {"train": 32, "validation": 4, "test": 4}
    assert len(set.union(*people.values())) == 40, "nobody is in two splits"
    assert sum(source.count for source in parts.values()) == 160
    assert people["test"] == set(read("folder", root, "test").classes)
    assert people["test"] != set(read("folder", root, "test", seed=1).classes)


def test_named_identities_are_held_out_with_the_pictures_of_their_split(tmp_path):
    for split in ("train", "test"):
        pictures(tmp_path / split, "abcdef")
    parts = all_splits(tmp_path, held_out={"validation": 0, "test": ["a", "b", "c"]}, image_fraction=0.25)
    assert parts["train"].classes == parts["validation"].classes == ["d", "e", "f"]
    assert (parts["train"].count, parts["validation"].count) == (9, 3), "other pictures of those trained on"
    assert not ids(parts["train"]) & ids(parts["validation"])
    assert parts["test"].classes == ["a", "b", "c"] and all("/test/" in name for name in ids(parts["test"]))
    both = all_splits(tmp_path, held_out={"validation": ["a", "b"], "test": ["a", "b", "c"]})
    assert all("/train/" in name for name in ids(both["validation"])) and both["train"].classes == ["d", "e", "f"]


def test_splits_of_the_data_are_kept(tmp_path):
    pictures(tmp_path / "train", [f"t{i}" for i in range(10)])
    pictures(tmp_path / "test", ["x", "y", "z"])
    parts = all_splits(tmp_path)
    assert parts["test"].classes == ["x", "y", "z"] and len(parts["train"].classes) == 8
    assert not set(parts["validation"].classes) & set(parts["train"].classes)


def test_csv_files_and_identities_with_few_pictures(tmp_path):
    pictures(tmp_path, "abcd", 3)
    rows = [f"{n}/{i}.png,{n},{'test' if n in 'cd' else 'train'}" for n in "abcd" for i in range(1 if n == "b" else 3)]
    (tmp_path / "list.csv").write_text("\n".join(["path,identity,split", *rows]))
    keys = {"held_out": {"validation": 0}}
    assert read("csv", tmp_path / "list.csv", "test", **keys).classes == ["c", "d"]
    with pytest.raises(UserError, match="train split must have images of at least two identities. Received: a"):
        read("csv", tmp_path / "list.csv", "train", min_images=2, **keys)


@pytest.mark.parametrize(
    "held_out, message",
    [
        ({"test": ["a", "zoe"]}, "data.held_out.test must name identities of the data. Received: zoe"),
        ({"test": 1.5}, "data.held_out.test must be less than 1. Received: 1.5"),
        ({"test": ["a"]}, "the test split must have images of at least two identities. Received: a"),
    ],
)
def test_mistakes_in_what_is_held_out(tmp_path, held_out, message):
    with pytest.raises(UserError, match=message):
        read("folder", pictures(tmp_path, "abcdef"), "test", held_out=held_out)


def test_breeds_of_the_scenes_are_identities():
    keys = {"held_out": {"validation": 0.2, "test": 0.3}, "counts": {"train": 40, "validation": 40, "test": 40}}
    parts = {split: read("scenes", None, split, size=32, **keys) for split in SPLITS}
    assert [len(part.classes) for part in parts.values()] == [5, 2, 3]
    assert [part.count for part in parts.values()] == [20, 8, 12]
    assert len({name for part in parts.values() for name in part.classes}) == 10
    sample = next(iter(parts["test"].items.map(parts["test"].load)))
    assert sample["image"].shape == (32, 32, 3) and 0 <= int(sample["label"]) < 3


# Batches of identities


@pytest.mark.parametrize("identities, each", [(4, 3), (5, 4), (2, 7)])
def test_a_batch_has_so_many_pictures_of_each_of_so_many_identities(identities, each):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(11) * 3, rng.integers(1, 40, 11)))
    places = sampling.balanced_order(labels, [5, -7], identities, each)
    assert len(places) % (identities * each) == 0
    assert len(labels) <= len(places) < len(labels) + identities * each
    chosen = labels[places].reshape(-1, identities, each)
    assert (chosen == chosen[..., :1]).all()
    assert all(len(set(batch)) == identities for batch in chosen[..., 0])
    for group, owner in zip(places.reshape(-1, each), chosen[..., 0].ravel(), strict=True):
        assert len(set(group)) == min(each, (labels == owner).sum()), "a picture repeats only where there are too few"
    passes = -(-len(chosen) // (11 // identities))
    assert np.unique(chosen[..., 0], return_counts=True)[1].max() <= passes, "nobody comes twice in one pass"
    np.testing.assert_array_equal(places, sampling.balanced_order(labels, [5, -7], identities, each))
    assert list(places) != list(sampling.balanced_order(labels, [5, -8], identities, each))


def test_all_pictures_of_even_identities_come_once():
    labels = np.repeat(np.arange(4), 12)
    assert sorted(sampling.balanced_order(labels, [0, 0], 4, 3)) == list(range(48))


@pytest.fixture
def stream(tmp_path):
    source = read("folder", pictures(tmp_path, "abcdef", 3), "train", held_out={"validation": 0.0, "test": 0.0})
    cfg = config.override(BASE, ["data.images_per_identity=2"], "test")
    assert source.count == 6, "of three pictures one each is for validation and test"

    def batches(count, start_epoch=0):
        def encode(batch):
            return batch["image"], (batch["label"], batch["seed"])

        keys = {"batch_size": 8, "seed": 3, "sampler": task(cfg).sampler(), "start_epoch": start_epoch}
        found = training_batches(source, transforms.random_resized_crop(8), encode, **keys).take(count)
        return [tf.nest.map_structure(np.asarray, tuple(batch)) for batch in found]

    return source, batches


def test_a_resumed_stream_of_batches_is_the_uninterrupted_one(stream):
    source, batches = stream
    assert steps_per_epoch(source.count, 8) == 1
    whole = batches(4)
    for images, (labels, seeds) in whole:
        assert len(images) == 8 and sorted(np.unique(labels, return_counts=True)[1]) == [2, 2, 2, 2]
        assert len({tuple(seed) for seed in seeds}) == 8, "a picture that comes twice does not look the same"
    assert any((whole[0][1][0] != later[1][0]).any() for later in whole[1:]), "epochs differ"
    for left, right in zip(whole[2:], batches(2, start_epoch=2), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, left, right)


def test_cached_features_come_in_batches_of_identities_too():
    labels = np.repeat(np.arange(5, dtype=np.int32), 4)
    features = Features(np.arange(20, dtype=np.float32)[:, None], {"label": labels}, [])
    cfg = config.override(BASE, ["data.images_per_identity=2"], "test")
    keys = {"batch_size": 8, "seed": 0, "sampler": task(cfg).sampler()}
    found = list(features.training_batches(task(cfg).encode(None), start_epoch=0, **keys).take(6))
    for rows, labels_of in found:
        np.testing.assert_array_equal(labels[rows.numpy()[:, 0].astype(int)], labels_of)
        assert sorted(np.unique(labels_of, return_counts=True)[1]) == [2, 2, 2, 2]
    resumed = list(features.training_batches(task(cfg).encode(None), start_epoch=1, **keys).take(3))
    np.testing.assert_array_equal(found[3][0], resumed[0][0])


def test_too_few_identities_for_a_batch_are_told_before_training():
    cfg = config.override(BASE, ["train.batch_size=48", "data.held_out={validation: 0.2, test: 0.3}"], "test")
    with pytest.raises(UserError, match="must have at least 12 identities to train on. Received: 5"):
        task(cfg).source("train")


# Configs


@pytest.mark.parametrize("name", NAMES)
def test_shipped_configs_load_and_say_how_to_run_them(name):
    text = config.find(name).read_text()
    cfg = config.load(name, ["data.root=."])
    assert cfg.task == "embedding" and text.startswith("# ") and f"mobilenet-tf train {name}" in text
    assert config.override(cfg.to_dict(), [], "stored") == cfg


@pytest.mark.parametrize(
    "change, message",
    [
        ("data.reader=folder", "data.root must be set for data.reader=folder"),
        ("data.pairs=pairs.txt", "data.pairs must not be set for data.reader=scenes"),
        ("data.images_per_identity=null", "^test: data.images_per_identity must be set for loss.name=triplet$"),
        ("data.images_per_identity=3", "^test: train.batch_size must be a multiple .*Received: train.batch_size=8$"),
        ("loss.name=contrastive", "loss.name must be 'triplet', 'arcface' or 'cosface'"),
        ("export.outputs=logits", "export.outputs must be embedding"),
        ("loss.margins=1", "unknown key loss.margins .nearest: loss.margin"),
    ],
)
def test_mistakes_are_one_line(change, message):
    with pytest.raises(UserError, match=message) as error:
        config.override(BASE, [change], "test")
    assert "\n" not in str(error.value)
