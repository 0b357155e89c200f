"""Files of Keras that reach outside, run code or explode are refused before Keras or h5py reads them."""

import io
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.keras_files import check_config, open_hdf5

SECRET = np.arange(8, dtype=np.float32)


def external_link(file, folder):
    file["layers/vars/0"] = h5py.ExternalLink(str(folder / "secret.h5"), "/values")


def soft_link(file, folder):
    file["there"] = SECRET
    file["layers/vars/0"] = h5py.SoftLink("/there")


def external_storage(file, folder):
    file.create_dataset("layers/vars/0", (8,), "f4", external=[(str(folder / "secret.bin"), 0, 32)])


def virtual(file, folder):
    layout = h5py.VirtualLayout((8,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "values", (8,))
    file.create_virtual_dataset("layers/vars/0", layout)


def bomb(file, folder):
    file.create_dataset("layers/vars/0", (2**28,), "f4", chunks=(2**20,), compression="gzip")


def unwritten(file, folder):
    file.create_dataset("layers/vars/0", (2**40,), "f4")


def text(file, folder):
    file.create_dataset("layers/vars/0", data=["a", "b"], dtype=h5py.string_dtype())


def datatype(file, folder):
    file["layers/vars/0"] = np.dtype("f4")


WAYS = (external_link, soft_link, external_storage, virtual, bomb, unwritten, text, datatype)


def archive(path, weights=b"", config=None, metadata=b"{}", **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("config.json", json.dumps(config or {}) if not isinstance(config, bytes) else config)
        file.writestr("metadata.json", metadata)
        file.writestr("model.weights.h5", weights)
        for name, content in members.items():
            file.writestr(name, content)
    return path


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["values"] = SECRET
    return tmp_path


@pytest.mark.parametrize("packed", [False, True], ids=["h5", "keras"])
@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_in_the_file_is_refused(folder, way, packed):
    path = folder / "evil.weights.h5"
    with h5py.File(path, "w") as file:
        way(file, folder)
    if packed:
        path = archive(folder / "evil.keras", path.read_bytes())
    with pytest.raises(UserError, match=r"evil\S* must ") as caught, open_hdf5(path):
        pass
    assert "\n" not in str(caught.value)


def test_groups_in_a_circle_end(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/b"] = SECRET
        file["a/c"] = file["a"]
    with open_hdf5(tmp_path / "a.h5") as file:
        assert file["a/c/c/b"].shape == (8,)


def layer(name, module="keras.layers", **config):
    return {"module": module, "class_name": name, "config": {"name": "x", **config}, "registered_name": None}


REFUSED = {
    "Lambda": layer("Lambda"),
    "another SavedModel": layer("TFSMLayer", filepath="/tmp/x"),
    "PyTorch": layer("TorchModuleWrapper"),
    "a Lambda deep inside": layer(
        "Sequential", "keras", layers=[layer("Sequential", "keras", layers=[layer("Lambda")])]
    ),
    "a Python lambda": layer("Dense", activation={"class_name": "__lambda__", "config": {"value": "x"}}),
    "a vocabulary in another file": layer("StringLookup", vocabulary="/etc/passwd"),
    "its weights": layer("IntegerLookup", vocabulary=[1], idf_weights="/etc/passwd"),
    "a download": layer("Dense", activation={"module": "keras.utils", "class_name": "function", "config": "get_file"}),
    "a function that loads": layer(
        "Dense", activation={"module": "keras.models", "class_name": "function", "config": "load_model"}
    ),
    "a class that saves": layer("ModelCheckpoint", "keras.callbacks"),
    "a private module": layer("FileEditor", "keras.src.saving.file_editor"),
    "another package": layer("Backbone", "keras_hub.models"),
}


@pytest.mark.parametrize("config", REFUSED.values(), ids=REFUSED)
def test_configs_that_do_more_than_compute_are_refused(tmp_path, config):
    with pytest.raises(UserError, match=r"m\.keras must .*Received: "):
        check_config(
            {"class_name": "Functional", "module": "keras.src.models.functional", "config": [config]}, Path("m.keras")
        )


ALLOWED = (
    layer("Dense", activation="relu"),
    layer("Dense", activation={"module": "builtins", "class_name": "function", "config": "relu"}),
    layer("Dense", activation={"module": "keras.activations", "class_name": "function", "config": "relu"}),
    layer("StringLookup", vocabulary=["a", "b"]),
    layer("Add", "keras.src.ops.numpy"),
    layer("DTypePolicy", "keras"),
    layer("Conv2D", "mobilenet_tf.layers"),
)


@pytest.mark.parametrize("config", ALLOWED, ids=lambda c: c["class_name"])
def test_configs_that_compute_are_left_alone(config):
    check_config(config, Path("m.keras"))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 10**5, b'{"a":' * 10**5, b"\xff", b"null"])
@pytest.mark.parametrize("member", ["config", "metadata"])
def test_configs_that_are_none_are_one_line(tmp_path, member, content):
    path = archive(tmp_path / "m.keras", **{"config": b"{}"} | {member: content})
    with pytest.raises(UserError, match=r"m\.keras must ") as caught, open_hdf5(path):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("member", ["config", "metadata", "weights", "assets/vocabulary.txt", "mobilenet_tf.json"])
def test_bombs_are_not_inflated(tmp_path, member):
    path = archive(tmp_path / "m.keras", **{member: bytes(2**27)})
    assert path.stat().st_size < 2**20
    with pytest.raises(UserError, match=r"m\.keras must (inflate|hold)"), open_hdf5(path):
        pass


def test_fifty_damaged_files_are_one_line_or_read(tmp_path):
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for i in range(5):
            file[f"layers/conv_{i}/vars/0"] = np.zeros((3, 3), np.float32)
            file[f"layers/conv_{i}/vars"].attrs["name"] = f"conv_{i}"
    rng = np.random.default_rng(0)
    for number in range(50):
        data = bytearray(content.getvalue())
        for place in rng.integers(0, len(data), 1 + number % 20):
            data[place] = rng.integers(256)
        path = archive(tmp_path / "m.keras", bytes(data))
        try:
            with open_hdf5(path):
                pass
        except UserError as error:
            assert "\n" not in str(error)
