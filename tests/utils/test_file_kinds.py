"""What a file is, whatever its name says."""

import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from mobilenet_tf.utils.file_kinds import what_is


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"x")


WAYS = {
    "a folder": lambda path: path.mkdir(),
    "a SavedModel": lambda path: (path.mkdir(), (path / "saved_model.pb").touch()),
    "does not exist": lambda path: None,
    "a pipe, device or socket": os.mkfifo,
    "an empty file": lambda path: path.touch(),
    "an HDF5 file": lambda path: h5py.File(path, "w").close(),
    "a .tflite file": lambda path: path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(20)),
    "a .keras file": lambda path: zipped(path, "config.json", "metadata.json", "model.weights.h5"),
    "a PyTorch checkpoint": lambda path: zipped(path, "net/data.pkl", "net/version"),
    "a PyTorch checkpoint or another pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1}, 2)),
    "a safetensors file, of PyTorch or timm": lambda path: path.write_bytes(b"\2\0\0\0\0\0\0\0{}"),
    "an .npz file": lambda path: np.savez(path.open("wb"), a=1),
    "a zip archive": lambda path: zipped(path, "a.txt"),
    "a damaged zip archive": lambda path: path.write_bytes(b"PK\3\4" + bytes(9)),
    "a packed archive": lambda path: path.write_bytes(b"\x1f\x8b" + bytes(9)),
    "a web page (HTML)": lambda path: path.write_text("\n <!DOCTYPE html><html><body>log in</body>"),
    "a pointer of Git LFS, whose file has not been fetched": lambda path: path.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    ),
    "an XML text": lambda path: path.write_text("<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>"),
    "a text": lambda path: path.write_text("Löwchen " * 1000, encoding="utf-8"),
    "a file of an unknown kind": lambda path: path.write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize(("kind", "make"), WAYS.items(), ids=WAYS)
def test_it_is_told_by_its_content(tmp_path, kind, make):
    make(tmp_path / "weights.h5")
    assert what_is(tmp_path / "weights.h5") == kind
