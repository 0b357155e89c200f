"""The table of export formats: everything derives from it, and a row and a function add a format."""

import dataclasses
import subprocess
import sys
from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from command import call

from mobilenet_tf import config
from mobilenet_tf.analysis import benchmark, inspection
from mobilenet_tf.export.convert import export
from mobilenet_tf.inference import artifact, formats
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.utils.errors import UserError

METADATA = Metadata("classification", ["a", "b"], (8, 8))


@pytest.mark.parametrize("kind", formats.KINDS.values(), ids=lambda kind: kind.name)
def test_every_function_of_a_kind_exists(kind):
    for name in (kind.open, kind.inspect, kind.store, kind.load, kind.runtime):
        assert callable(formats.resolve(name)), name
    assert bool(kind.suffix) != bool(kind.marker), "a file by its suffix, a folder by what is in it"


@pytest.mark.parametrize("row", formats.FORMATS.values(), ids=lambda row: row.name)
def test_every_format_has_a_converter_and_the_suffix_of_its_kind(row):
    assert callable(formats.resolve(row.convert))
    assert row.filename.endswith(row.kind.suffix) and ("." in row.filename) == bool(row.kind.suffix)
    assert "float32" in row.input_types and set(row.input_types) <= set(get_args(formats.InputType))


def test_the_table_and_the_endings_import_no_tensorflow():
    code = (
        "import sys, mobilenet_tf.inference.formats, mobilenet_tf.inference.artifact as a;"
        "print(a.Metadata('detection', [], (1, 1), outputs='detections').ending.has_post_process,"
        "[name for name in ('tensorflow', 'keras', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True []", done.stderr


def double(saved, path, job):
    """A converter as a contributor would write it: the SavedModel's outputs times two."""
    model = tf.saved_model.load(str(saved))
    serve = model.signatures["serving_default"]

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
    def twice(image):
        return {name: 2 * value for name, value in serve(image=image).items()}

    converter = tf.lite.TFLiteConverter.from_concrete_functions([twice.get_concrete_function()], model)
    path.write_bytes(converter.convert())


@pytest.fixture
def added(monkeypatch):
    """A format and a kind of its own, each one row."""
    tflite = formats.TFLITE
    kind = dataclasses.replace(tflite, name="twice", suffix=".twice", store=formats.KERAS.store)
    row = formats.Format("twice", kind, "model.twice", f"{__name__}:double")
    monkeypatch.setitem(formats.KINDS, "twice", kind)
    monkeypatch.setitem(formats.FORMATS, "twice", row)


def test_a_row_and_a_function_make_a_format(added, tmp_path):
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(images)))
    assert config.load("demo", ["export.formats=[twice]"]).export.formats == ["twice"]
    path = export(model, tmp_path / "model.twice", "twice", metadata=METADATA)
    assert artifact.locate(path) == (path, "twice")
    assert artifact.read(path) == METADATA
    noise = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3), np.uint8)
    np.testing.assert_allclose(load_predictor(path)(noise), 2 * model.predict(noise, verbose=0), rtol=1e-4)
    assert inspection.inspect(path).outputs
    assert benchmark.latency(path, threads=1, warmup=0, runs=1).format == "twice"
    with pytest.raises(UserError, match="must end in .twice. Received: .*model.onnx"):
        export(model, tmp_path / "model.onnx", "twice", metadata=METADATA)


def test_memory_is_measured_in_a_process_of_its_own(tmp_path):
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(images)))
    peak = benchmark.peak_memory(export(model, tmp_path / "model.tflite", "tflite", metadata=METADATA))
    assert peak is not None and peak >= 0


@pytest.mark.parametrize(
    ("name", "hint"), [("tflite_int3", " (nearest: tflite_int8, tflite_int4, tflite_int16)"), ("coreml", "")]
)
def test_an_unknown_format_is_refused_when_the_config_is_read(name, hint):
    names = ", ".join(formats.FORMATS)
    with pytest.raises(UserError) as caught:
        config.load("demo", [f"export.formats=[tflite, {name}]"])
    assert str(caught.value) == f"demo.yaml: export.formats.1 must be one of {names}{hint}. Received: {name}"


def test_help_names_the_formats(capsys):
    text = " ".join(call(capsys, "export", "--help")[1].split())
    assert all(name in text for name in formats.FORMATS)
