"""Checkpoints: exact, atomic, and clear about what does not fit."""

import errno

import keras
import numpy as np
import pytest

from mobilenet_tf.training import checkpoint
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
