"""Batching: order and randomness are a function of seed, epoch and index; bad items cost nothing but themselves."""

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.data import transforms
from mobilenet_tf.data.source import (
    Source,
    evaluation_batches,
    file_source,
    steps_per_epoch,
    training_batches,
    user_errors,
)
from mobilenet_tf.utils.errors import UserError

COUNT, BATCH = 21, 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for index in range(COUNT):
        image = np.random.default_rng(index).integers(0, 255, (12, 16, 3), np.uint8)
        paths.append(folder / f"{index:02}.jpg")
        paths[-1].write_bytes(tf.io.encode_jpeg(image).numpy())
    return paths


def source_of(paths, **options):
    return file_source(paths, {"label": np.arange(len(paths), dtype=np.int32)}, ["a", "b"], **options)


TRANSFORM = transforms.compose([transforms.random_resized_crop(8), transforms.random_flip()])


def encode(batch):
    return batch["image"], (batch["label"], batch["seed"])


def batches(source, count, start_epoch=0, seed=5, **options):
    stream = training_batches(
        source, TRANSFORM, encode, batch_size=BATCH, seed=seed, start_epoch=start_epoch, **options
    )
    return [tf.nest.map_structure(np.asarray, tuple(batch)) for batch in stream.take(count)]


def assert_same(left, right):
    for a, b in zip(left, right, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)


def labels(parts):
    return np.concatenate([part[1][0] for part in parts])


@pytest.fixture
def damaged(files, tmp_path):
    paths = list(files)
    for place, content in ((3, b"text"), (8, files[0].read_bytes()[:200]), (20, b"")):
        paths[place] = tmp_path / f"bad{place}.jpg"
        paths[place].write_bytes(content)
    return paths


def test_every_epoch_has_each_sample_once(files):
    source = source_of(files)
    steps = steps_per_epoch(source.count, BATCH)
    assert steps == 6
    run = batches(source, 2 * steps)
    first, second = labels(run[:steps]), labels(run[steps:])
    assert sorted(first) == sorted(second) == list(range(COUNT))
    assert list(first) != list(second) and list(first) != sorted(first)
    assert [len(part[0]) for part in run[:steps]] == [4, 4, 4, 4, 4, 1]


@pytest.mark.parametrize("bad", [False, True])
def test_a_resumed_stream_is_the_uninterrupted_one(files, damaged, bad):
    paths = damaged if bad else files
    whole = batches(source_of(paths), 4 * 6)
    for epoch in (1, 3):
        assert_same(whole[6 * epoch :], batches(source_of(paths), 24 - 6 * epoch, start_epoch=epoch))


def test_the_global_seed_has_no_say(files):
    expected = batches(source_of(files), 12)
    for seed in (0, 1):
        tf.random.set_seed(seed)
        assert_same(expected, batches(source_of(files), 12))


def test_seeds_differ_by_run_epoch_and_sample_and_no_more(files):
    source = source_of(files)
    run = batches(source, 12)
    seeds = [tuple(seed) for part in run for seed in part[1][1]]
    assert len(set(seeds)) == 2 * COUNT
    assert_same(run, batches(source, 12))
    other = batches(source, 6, seed=6)
    assert list(labels(other)) != list(labels(run[:6]))
    # the order of the items has no say in a sample's seed
    by_label = dict(zip(labels(run[:6]), np.concatenate([p[1][1] for p in run[:6]])[:, 0], strict=True))
    small = training_batches(source, TRANSFORM, encode, batch_size=7, seed=5).take(3)
    for _, (own, seed) in small:
        assert [by_label[label] for label in own.numpy()] == list(seed.numpy()[:, 0])


def test_unreadable_items_are_skipped_named_and_keep_the_steps(damaged):
    source = source_of(damaged)
    steps = steps_per_epoch(source.count, BATCH)
    seen = labels(batches(source, steps))
    assert len(seen) == COUNT and set(seen) == set(range(COUNT)) - {3, 8, 20}
    assert set(source.corrupt) == {str(damaged[place]) for place in (3, 8, 20)}
    assert source.corrupt[str(damaged[20])] == "the file is empty"
    assert "runcated" in source.corrupt[str(damaged[8])] and "not a JPEG" in source.corrupt[str(damaged[3])]
    evaluated = list(evaluation_batches(source, transforms.resize(8), batch_size=BATCH))
    assert [int(v) for part in evaluated for v in part["label"]] == [i for i in range(COUNT) if i not in (3, 8, 20)]


def test_unreadable_items_are_fatal_by_option(damaged):
    source = source_of(damaged, on_corrupt="error")
    with pytest.raises(UserError) as error, user_errors():
        batches(source, 6)
    assert "bad" in str(error.value) and "Received:" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(UserError, match="on_corrupt must be one of skip, error. Received: 'ignore'"):
        source_of(damaged, on_corrupt="ignore")


def test_nothing_readable_ends_instead_of_looping(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]  # missing files
    with pytest.raises(UserError, match="No such file"), user_errors():
        batches(source_of(paths), 1)


def test_other_errors_pass_through():
    with pytest.raises(tf.errors.InvalidArgumentError), user_errors():
        tf.debugging.assert_equal(1, 2)


def test_evaluation_keeps_order_size_and_the_last_part(files):
    parts = list(evaluation_batches(source_of(files), transforms.resize((8, 10)), batch_size=BATCH))
    assert [len(part["label"]) for part in parts] == [4, 4, 4, 4, 4, 1]
    assert [int(v) for part in parts for v in part["label"]] == list(range(COUNT))
    assert [v.decode() for part in parts for v in part["id"].numpy()] == [str(path) for path in files]
    assert parts[0]["image"].shape == (4, 8, 10, 3)
    np.testing.assert_array_equal(parts[0]["original_size"], [[12, 16]] * 4)


def test_mix_is_seeded_by_batch(files):
    def mix(batch, seed):
        return batch[0], (*batch[1], seed)

    run = batches(source_of(files), 12, mix=mix)
    seeds = [tuple(part[1][2]) for part in run]
    assert len(set(seeds)) == 12
    assert_same(run[6:], batches(source_of(files), 6, start_epoch=1, mix=mix))


def variable_source(with_size=True):
    items = tf.data.Dataset.from_tensor_slices({"id": ["a", "b", "c"], "boxes_count": [2, 0, 1]})

    def load(record):
        count = record["boxes_count"]
        boxes, own = tf.ones([count, 4]), tf.zeros([count], tf.int32)
        return {"id": record["id"], "image": tf.zeros([6, 6, 3], tf.uint8), "boxes": boxes, "labels": own}

    return Source(items, load, 3, ["a"])


def test_boxes_of_any_number_are_padded():
    (batch,) = evaluation_batches(variable_source(), lambda sample: sample, batch_size=3)
    np.testing.assert_array_equal(batch["labels"], [[0, 0], [-1, -1], [0, -1]])
    assert batch["boxes"].shape == (3, 2, 4) and float(tf.reduce_sum(batch["boxes"])) == 12
    np.testing.assert_array_equal(batch["original_size"], [[6, 6]] * 3)


def test_a_transform_without_a_fixed_size_is_an_error(files):
    with pytest.raises(ValueError, match="images of one fixed size"):
        evaluation_batches(source_of(files), lambda sample: sample, batch_size=2)


def test_fit_runs_whole_epochs_over_unreadable_items(damaged):
    import keras

    model = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    source = source_of(damaged)
    stream = training_batches(
        source, TRANSFORM, lambda b: (b["image"] / 255, tf.cast(b["label"], tf.float32)), batch_size=BATCH, seed=0
    )
    history = model.fit(stream, steps_per_epoch=steps_per_epoch(source.count, BATCH), epochs=3, verbose=0)
    assert len(history.history["loss"]) == 3 and model.optimizer.iterations == 18
