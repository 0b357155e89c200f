"""The metadata in each kind of model file: round trip, replacement, and files that are not ours."""

import os
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.files import replacing, write_csv

METADATA = Metadata("classification", ["Dachshund", "Löwchen"], (8, 12), config={"seed": 1, "model": {"alpha": 0.35}})
IMAGES = np.random.default_rng(0).uniform(0, 255, (1, 8, 12, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((8, 12, 3)),
            keras.layers.Conv2D(4, 3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """The same network in every format, without metadata: {kind: path}."""
    folder = tmp_path_factory.mktemp("artifacts")
    model.save(folder / "m.keras")
    model.export(folder / "m", input_signature=[tf.TensorSpec((1, 8, 12, 3), name="image")], verbose=False)
    content = tf.lite.TFLiteConverter.from_saved_model(str(folder / "m")).convert()
    (folder / "m.tflite").write_bytes(content)
    paths = {"keras": folder / "m.keras", "savedmodel": folder / "m", "tflite": folder / "m.tflite"}
    try:
        import tf2onnx

        tf2onnx.convert.from_tflite(str(folder / "m.tflite"), opset=18, output_path=str(folder / "m.onnx"))
        paths["onnx"] = folder / "m.onnx"
    except ImportError:
        pass
    return paths


@pytest.mark.parametrize("kind", ["keras", "savedmodel", "tflite", "onnx"])
def test_round_trip(files, kind):
    if kind not in files:
        pytest.skip("needs the onnx extra")
    assert artifact.read(files[kind]) is None
    artifact.write(files[kind], Metadata("segmentation", ["old"], (1, 1)))
    artifact.write(files[kind], METADATA)
    assert artifact.read(files[kind]) == METADATA
    assert not list(files[kind].parent.glob(".*")), "no temporary file is left"


def test_keras_loads_a_file_with_metadata(files, model):
    artifact.write(files["keras"], METADATA)
    loaded = keras.saving.load_model(files["keras"], safe_mode=True)
    np.testing.assert_array_equal(loaded.predict(IMAGES, verbose=0), model.predict(IMAGES, verbose=0))


@pytest.mark.parametrize("runtime", ["tensorflow.lite.python.interpreter", "ai_edge_litert.interpreter"])
@pytest.mark.parametrize("by", ["model_path", "model_content"])
def test_both_tflite_runtimes_load_a_file_with_metadata(files, model, runtime, by):
    module = pytest.importorskip(runtime)
    before = files["tflite"].read_bytes()
    artifact.write(files["tflite"], METADATA)
    source = str(files["tflite"]) if by == "model_path" else files["tflite"].read_bytes()
    interpreter = module.Interpreter(**{by: source})
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], IMAGES)
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(logits, model.predict(IMAGES, verbose=0), rtol=1e-4, atol=1e-4)
    flatbuffer = before.partition(b"PK\x03\x04")[0]
    assert files["tflite"].read_bytes().startswith(flatbuffer + b"PK\x03\x04")


def test_labels_are_where_mediapipe_reads_them_and_foreign_members_stay(files, tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(files["tflite"].read_bytes())
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("extra.txt", "kept")
    artifact.write(path, METADATA)
    artifact.write(path, METADATA)
    with zipfile.ZipFile(path) as file:
        assert sorted(file.namelist()) == ["extra.txt", "labels.txt", "mobilenet_tf.json"]
        assert file.read("extra.txt") == b"kept"
        assert file.read("labels.txt").decode().split("\n") == METADATA.classes


def test_equal_metadata_makes_equal_files(files, monkeypatch):
    artifact.write(files["tflite"], METADATA)
    first = files["tflite"].read_bytes()
    monkeypatch.setattr("time.time", lambda: 2e9)
    artifact.write(files["tflite"], METADATA)
    assert files["tflite"].read_bytes() == first


def test_bad_metadata_is_one_line(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
        file.writestr(artifact.MEMBER, '{"task": "classification"')
    with pytest.raises(UserError, match=r"mobilenet_tf.json must hold .* Received: ") as caught:
        artifact.read(tmp_path / "m.keras")
    assert "\n" not in str(caught.value)


def test_damaged_metadata_is_one_line(files, tmp_path):
    artifact.write(files["tflite"], METADATA)
    content = bytearray(files["tflite"].read_bytes())
    place = content.index(b'"Dachshund"')
    content[place + 1 : place + 4] = b"???"
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(UserError, match="m.tflite must hold its metadata whole. Received: ") as caught:
        artifact.read(tmp_path / "m.tflite")
    assert "\n" not in str(caught.value)


def test_fields_of_later_versions_are_left_out():
    text = METADATA.to_json().replace('"task"', '"later": 1, "task"')
    assert Metadata.from_json(text) == METADATA


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none.keras", "must exist"),
        ("model.pb", ".keras, .h5, .tflite or .onnx"),
        ("folder", "saved_model.pb or model.keras"),
    ],
)
def test_what_is_not_a_model_is_one_line(tmp_path, name, expected):
    (tmp_path / "model.pb").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=f"{expected}.*Received: .*{name}"):
        artifact.locate(tmp_path / name)


def test_a_run_folder_stands_for_its_model(tmp_path):
    (tmp_path / "model.keras").touch()
    assert artifact.locate(tmp_path) == (tmp_path / "model.keras", "keras")


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = tmp_path / "new folder" / "file.png"
    with replacing(path) as temporary:
        temporary.write_bytes(b"old")

    def fail(source, target):
        assert source.read_bytes() == b"new"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="No space"), replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_metadata_take_paths_of_any_bytes():
    metadata = Metadata("classification", ["a", "é"], (8, 8), config={"root": os.fsdecode(b"/caf\xe9")})
    text = metadata.to_json()
    assert text.encode() and Metadata.from_json(text) == metadata


def test_a_table_has_the_columns_of_all_rows_and_takes_names_of_any_bytes(tmp_path):
    rows = [{"name": "one, two", "score": 0.5}, {"name": os.fsdecode(b"\xff.jpg"), "error": "torn"}]
    path = write_csv(tmp_path / "new" / "table.csv", rows)
    assert path.read_text(encoding="utf-8").splitlines() == ["name,score,error", '"one, two",0.5,', "\\udcff.jpg,,torn"]


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "model"
    for text in ("old", "new"):
        with replacing(path, members=["file"]) as temporary:
            temporary.mkdir()
            (temporary / "file").write_text(text)
    assert (path / "file").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(UserError, match="must be writable. Received: "),
        replacing(tmp_path / "file" / "m.json") as temporary,
    ):
        temporary.write_text("{}")


def test_artifact_and_predict_do_not_import_tensorflow():
    code = "import sys, mobilenet_tf.inference.predict; print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_metadata_that_inflates_without_end_is_one_line(tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("mobilenet_tf.json", b" " * 70_000_000)
    assert path.stat().st_size < 100_000
    with pytest.raises(UserError, match="at most 67,108,864 bytes of metadata"):
        artifact.read(path)


def test_a_number_without_end_costs_no_time(tmp_path):
    path = tmp_path / "endless.onnx"
    path.write_bytes(b"\xff" * 5_000_000)
    with pytest.raises(UserError, match=r"endless\.onnx"):
        artifact.read(path)
