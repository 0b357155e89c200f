"""Checkpoints: exact, atomic, and clear about what does not fit."""

import errno
import io
import os
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from mobilenet_tf.training import checkpoint
from mobilenet_tf.training.setup import RECORD, Setup
from mobilenet_tf.training.state import Progress
from mobilenet_tf.utils.errors import UserError


def dense(units=3, seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units), keras.layers.BatchNormalization()])
    return model


def test_restores_every_variable_and_the_state(tmp_path):
    path, first, second = tmp_path / "last.npz", dense(seed=1), dense(seed=2)
    checkpoint.save(path, {"network": first.variables}, {"epoch": 3, "history": [{"loss": 0.5}]})
    checkpoint.restore(path, {"network": second.variables})
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), second.get_weights(), strict=True))
    assert checkpoint.load_state(path) == {"epoch": 3, "history": [{"loss": 0.5}]}


def test_a_changed_model_is_named_and_left_untouched(tmp_path):
    path = tmp_path / "last.npz"
    checkpoint.save(path, {"network": dense(3).variables}, {})
    wider = dense(5)
    before = wider.get_weights()
    with pytest.raises(UserError, match=r"kernel must have shape \(4, 5\). Received: \(4, 3\)"):
        checkpoint.restore(path, {"network": wider.variables})
    assert all(np.array_equal(a, b) for a, b in zip(before, wider.get_weights(), strict=True))
    with pytest.raises(UserError, match="the model has no variable network/0005"):
        checkpoint.restore(path, {"network": wider.variables[:-1]})


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path, model = tmp_path / "last.npz", dense()
    checkpoint.save(path, {"network": model.variables}, {"epoch": 1})

    def full(file, **arrays):
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match=r"no space left on the disk; the previous checkpoint .* is kept"):
        checkpoint.save(path, {"network": model.variables}, {"epoch": 2})
    assert checkpoint.load_state(path) == {"epoch": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    path = tmp_path / "last.npz"
    checkpoint.save(path, {"network": dense().variables}, {})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="must be a whole file"):
        checkpoint.load_state(path)


def small(path):
    model = dense()
    state = {"epoch": 1, "history": [{"epoch": 1, "loss": 0.5}], "stage_epoch": 1, "step": 3, "best": 0.25, "wait": 0}
    checkpoint.save(path, {"network": model.variables}, state)
    return model, path.read_bytes()


def mutated(data: bytes, rng) -> bytes:
    """The bytes with one flipped, overwritten, left out or added, or cut short."""
    position, values = int(rng.integers(len(data))), bytes(rng.integers(0, 256, 4, np.uint8))
    kinds = {
        0: lambda: data[:position] + bytes([data[position] ^ (1 << int(rng.integers(8)))]) + data[position + 1 :],
        1: lambda: data[:position] + values + data[position + 4 :],
        2: lambda: data[:position] + data[position + 1 :],
        3: lambda: data[:position] + values + data[position:],
        4: lambda: data[:position],
        5: lambda: data[:position] + b"\xff\xff\xff\xff" + data[position + 4 :],
    }
    return kinds[int(rng.integers(len(kinds)))]()


def test_a_damaged_checkpoint_is_one_line_or_read_as_it_was(tmp_path):
    path = tmp_path / "last.npz"
    model, data = small(path)
    before, progress = model.get_weights(), Progress.load(path)
    refused = 0
    for seed in range(600):
        path.write_bytes(mutated(data, np.random.default_rng(seed)))
        restored = dense(seed=1)
        try:
            assert Progress.load(path) == progress, seed
            checkpoint.restore(path, {"network": restored.variables})
        except UserError as error:
            refused += 1
            assert "\n" not in str(error), seed
        else:
            assert all(map(np.array_equal, restored.get_weights(), before)), seed
    assert refused > 300


@pytest.mark.parametrize(
    "state",
    [
        [1, 2],
        "text",
        {"epoch": -1},
        {"epoch": 1.5},
        {"epoch": "1"},
        {"epoch": True},
        {"epoch": 10**40},
        {"epoch": 1},
        {"stage": 10**12},
        {"stage_epoch": 2, "epoch": 1, "history": [{}]},
        {"seconds": float("nan")},
        {"seconds": -1.0},
        {"best": "high"},
        {"history": [1]},
        {"history": {"a": 1}},
        {"history": [{"loss": [1]}]},
        {"wait": None},
    ],
)
def test_a_record_that_cannot_be_is_one_line(tmp_path, state):
    path = tmp_path / "last.npz"
    checkpoint.save(path, {}, state)
    with pytest.raises(UserError, match=r"last\.npz must (say how far the run is|be a whole file)\b.*Received: "):
        Progress.load(path)


@pytest.mark.parametrize(
    "state", [{"config": []}, {"config": {}, "classes": [1]}, {"config": {}, "images": {"a": 1}}, 3]
)
def test_a_setup_that_cannot_be_is_one_line(tmp_path, state):
    path = tmp_path / "last.npz"
    checkpoint.save(path, {}, {RECORD: state})
    with pytest.raises(UserError, match=r"last\.npz must say what it was made of\. Received: "):
        Setup.load(path)


def test_a_checkpoint_takes_no_more_memory_than_it_has_bytes(tmp_path):
    """Compressed arrays, arrays that say they are huge, links, devices and folders."""
    path = tmp_path / "last.npz"
    np.savez_compressed(path, state=np.zeros(10**7))
    with pytest.raises(UserError, match=r"must be a whole file of this package.*compressed"):
        checkpoint.load_state(path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    with zipfile.ZipFile(path, "w") as archive:
        for key in ("state", "network/0000/kernel"):
            archive.writestr(f"{key}.npy", header.getvalue())
    with pytest.raises(UserError, match=r"must be a whole file of this package.*state has 0 bytes"):
        checkpoint.load_state(path)
    kernel = [keras.Variable(np.zeros(3, np.float32), name="kernel")]
    with pytest.raises(UserError, match=r"does not fit the changed model"):
        checkpoint.restore(path, {"network": kernel})
    os.mkfifo(tmp_path / "pipe.npz")
    for other in (tmp_path / "pipe.npz", tmp_path, Path("/dev/zero"), tmp_path / "nowhere.npz"):
        with pytest.raises(UserError, match=r"must be a whole file of this package.*no such file"):
            checkpoint.load_state(other)


def test_an_array_of_another_type_is_one_line(tmp_path):
    path = tmp_path / "last.npz"
    kernel = keras.Variable(np.zeros(3, np.float32), name="kernel")
    for values in (np.zeros(3), np.array(["a", "b", "c"]), np.zeros(3, "<f2")):
        np.savez(path, **{"network/0000/kernel": values})
        with pytest.raises(UserError, match=r"must be a whole file.*network/0000/kernel has the type"):
            checkpoint.restore(path, {"network": [kernel]})
