"""One call for every format: the same numbers from each, and one line for each kind of bad file."""

import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from half import need

from mobilenet_tf.analysis.inspection import inspect
from mobilenet_tf.export.convert import FORMATS, export
from mobilenet_tf.inference import artifact, predict, tflite
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import keras_predictor, load_predictor
from mobilenet_tf.tasks.classification.export import serving_model
from mobilenet_tf.utils.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 24, 3), dtype=np.uint8)
METADATA = Metadata("classification", ["a", "b", "c"], (16, 24))


def net(seed=1, classes=3):
    keras.utils.set_random_seed(seed)
    images = keras.Input((16, 24, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(images)
    x = keras.layers.Conv2D(8, 3, activation="relu6")(x)
    x = keras.layers.GlobalMaxPooling2D()(x)
    return keras.Model(images, keras.layers.Dense(classes)(x), name="net")


@pytest.fixture(scope="module")
def model():
    return net()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """The small net in every format: {name: path}; "dynamic" and the types of int8 files besides."""
    folder = tmp_path_factory.mktemp("predict")
    calibration = [IMAGES.astype(np.float32)]
    jobs = {name: (name, {}) for name in ("savedmodel", "tflite")}
    jobs |= {f"int8-{kind}": ("tflite_int8", {"inputs": kind}) for kind in ("float32", "int8", "uint8")}
    jobs |= {"dynamic": ("tflite", {"dynamic_batch": True})}
    try:
        import onnxruntime  # noqa: F401
        import tf2onnx  # noqa: F401

        jobs |= {"onnx": ("onnx", {}), "onnx-dynamic": ("onnx", {"dynamic_batch": True})}
    except ImportError:
        pass
    found = {}
    for key, (name, options) in jobs.items():
        path = folder / (key + Path(FORMATS[name].filename).suffix)
        needs = {"calibration": calibration} if name == "tflite_int8" else {}
        found[key] = export(model, path, name, metadata=METADATA, **needs, **options)
    ending = replace(METADATA, outputs="softmax")
    found["softmax"] = export(serving_model(model, "softmax"), folder / "s.tflite", "tflite", metadata=ending)
    model.save(folder / "model.keras")
    artifact.write(folder / "model.keras", METADATA)
    return {**found, "keras": folder / "model.keras", "run": folder}


@pytest.mark.slow
@pytest.mark.parametrize("key", ["keras", "run", "savedmodel", "tflite", "dynamic", "onnx", "onnx-dynamic"])
@pytest.mark.parametrize("count", [1, 3])
def test_formats_agree_with_keras(files, model, key, count):
    if key not in files:
        pytest.skip("needs the onnx extra")
    predictor = load_predictor(files[key])
    want = model.predict(IMAGES[:count].astype(np.float32), verbose=0)
    for images in (IMAGES[:count], IMAGES[:count].astype(np.float32)):
        got = predictor(images)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, want, atol=1e-5)
    assert predictor.metadata == METADATA
    assert predictor.input_size == (16, 24)
    assert predictor.input_shape[0] == (1 if key in ("tflite", "onnx") else None)


def test_the_batch_may_change_between_calls(files, model):
    for key in ("dynamic", "tflite", "keras"):
        predictor = load_predictor(files[key])
        for count in (2, 5, 1, 3):
            want = model.predict(IMAGES[:count].astype(np.float32), verbose=0)
            np.testing.assert_allclose(predictor(IMAGES[:count]), want, atol=1e-5)


def test_a_fixed_batch_is_filled_up():
    seen = []

    def run(images):
        seen.append(images.shape)
        return {"logits": images[:, 0, 0].astype(np.float32)}

    predictor = predict.Predictor(run, "tflite", "fixed", (2, 16, 24, 3))
    np.testing.assert_array_equal(predictor(IMAGES), IMAGES[:, 0, 0])
    assert seen == [(2, 16, 24, 3)] * 3


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8"])
def test_quantized_inputs_and_outputs(files, model, kind):
    predictor = load_predictor(files[f"int8-{kind}"])
    want = model.predict(IMAGES.astype(np.float32), verbose=0)
    got = predictor(IMAGES)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, atol=0.08 * np.abs(want).max())  # of noise, by five images
    np.testing.assert_array_equal(got, predictor(IMAGES.astype(np.float32)))


def test_a_uint8_file_takes_an_image_as_it_is(files):
    interpreter = tflite.open_tflite(files["int8-uint8"])
    scale, zero_point = interpreter.get_input_details()[0]["quantization"]
    assert (scale, zero_point) == (1.0, 0)


def test_softmax_comes_back_as_logits(files, model):
    predictor = load_predictor(files["softmax"])
    assert predictor.metadata.outputs == "softmax"
    want = tf.nn.log_softmax(model.predict(IMAGES.astype(np.float32), verbose=0))
    np.testing.assert_allclose(predictor(IMAGES), want, atol=1e-4)


def test_keras_predictor_follows_the_weights():
    model = net()
    predictor = keras_predictor(model, METADATA)
    before = predictor(IMAGES)
    model.set_weights([2 * value for value in model.get_weights()])
    np.testing.assert_allclose(predictor(IMAGES), model.predict(IMAGES.astype(np.float32), verbose=0), atol=1e-5)
    assert not np.allclose(before, predictor(IMAGES))


def test_keras_predictor_returns_float32_and_the_model_s_structure():
    need("bfloat16")
    images = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(2, 3, dtype="mixed_bfloat16")(images)
    several = keras_predictor(keras.Model(images, {"map": x, "mean": keras.layers.GlobalAveragePooling2D()(x)}))
    raw = several(IMAGES)
    assert {key: (value.shape, value.dtype) for key, value in raw.items()} == {
        "map": ((5, 14, 22, 2), np.float32),
        "mean": ((5, 2), np.float32),
    }
    listed = keras_predictor(keras.Model(images, [x, images]))(IMAGES)
    assert isinstance(listed, list)
    np.testing.assert_array_equal(listed[1], IMAGES)
    assert several.input_size is None


def test_a_tflite_runs_without_tensorflow(files):
    pytest.importorskip("ai_edge_litert")
    code = f"""
import sys, numpy as np
from mobilenet_tf.inference.predict import load_predictor
print(load_predictor({str(files["tflite"])!r}, threads=1)(np.zeros((2, 16, 24, 3), np.uint8)).shape)
print([name for name in ("tensorflow", "keras") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["(2, 3)", "[]"]
    assert done.stderr == "", "the runtime's own log is held back"


@pytest.fixture(params=["litert", "tensorflow"])
def runtime(request, monkeypatch):
    """With LiteRT's interpreter, and without it."""
    if request.param == "litert":
        pytest.importorskip("ai_edge_litert")
    else:
        monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)


def test_both_tflite_runtimes(files, model, runtime):
    want = model.predict(IMAGES.astype(np.float32), verbose=0)
    np.testing.assert_allclose(load_predictor(files["dynamic"])(IMAGES), want, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.99])
def test_a_truncated_tflite_is_one_line(files, tmp_path, runtime, share):
    content = files["tflite"].read_bytes()
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: int(share * content.index(b"PK\x03\x04"))])  # of the flatbuffer, before the metadata
    with pytest.raises(UserError, match=r"cut.tflite must be a whole TFLite model. Received: ") as caught:
        load_predictor(path)
    assert "\n" not in str(caught.value)


def cut(source, target, share):
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])
    return target


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
@pytest.mark.parametrize(("key", "expected"), [("keras", "a whole Keras model"), ("onnx", "ONNX model")])
def test_a_truncated_file_is_one_line(files, tmp_path, key, expected, share):
    if key not in files:
        pytest.skip("needs the onnx extra")
    path = cut(files[key], tmp_path / f"cut.{key}", share)
    with pytest.raises(UserError, match=f"cut.{key} must be .*{expected}. Received: ") as caught:
        load_predictor(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_saved_model_is_one_line(files, tmp_path):
    shutil.copytree(files["savedmodel"], tmp_path / "damaged")
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(UserError, match="damaged must be a SavedModel") as caught:
        load_predictor(tmp_path / "damaged")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["none.tflite", "weights.npz"])
def test_missing_files_and_unknown_kinds(tmp_path, name):
    (tmp_path / "weights.npz").touch()
    with pytest.raises(UserError, match=f"Received: .*{name}"):
        load_predictor(tmp_path / name)


@pytest.mark.parametrize("key", ["keras", "savedmodel", "tflite", "int8-uint8", "onnx"])
@pytest.mark.parametrize("images", [IMAGES[0], IMAGES[:, :8], IMAGES[..., :1], IMAGES[:0]], ids=lambda x: str(x.shape))
def test_images_of_a_wrong_shape_are_one_line(files, key, images):
    if key not in files:
        pytest.skip("needs the onnx extra")
    with pytest.raises(UserError, match=r"takes images of shape \[N, 16, 24, 3\]. Received: shape \["):
        load_predictor(files[key])(images)


@pytest.mark.parametrize("nested", [False, True])
def test_a_lambda_is_refused(tmp_path, nested):
    images = keras.Input((16, 24, 3))
    model = keras.Model(images, keras.layers.Lambda(lambda x: 2 * x)(images))
    if nested:
        outer = keras.Input((16, 24, 3))
        model = keras.Model(outer, model(outer))
    model.save(tmp_path / "code.keras")
    with pytest.raises(UserError, match="code.keras must not hold a Lambda layer") as caught:
        load_predictor(tmp_path / "code.keras")
    assert "\n" not in str(caught.value)


def test_a_keras_file_of_an_unknown_class_is_one_line(tmp_path, model):
    model.save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as file:
        members = {name: file.read(name) for name in file.namelist()}
    members["config.json"] = members["config.json"].replace(b'"GlobalMaxPooling2D"', b'"TheirPooling"')
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    with pytest.raises(UserError, match="TheirPooling") as caught:
        load_predictor(tmp_path / "m.keras")
    assert "\n" not in str(caught.value)


def foreign(path, model):
    """A .tflite as others make them: no metadata, no signature of ours."""
    function = tf.function(model).get_concrete_function(
        *[tf.TensorSpec((1, *i.shape[1:]), i.dtype) for i in model.inputs]
    )
    frozen = tf.lite.TFLiteConverter.from_concrete_functions([_freeze(function)])
    path.write_bytes(frozen.convert())
    return path


def _freeze(function):
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    return convert_variables_to_constants_v2(function)


def test_a_foreign_tflite_runs(tmp_path, model):
    predictor = load_predictor(foreign(tmp_path / "foreign.tflite", model))
    assert predictor.metadata is None
    assert predictor.input_size == (16, 24)
    np.testing.assert_allclose(predictor(IMAGES), model.predict(IMAGES.astype(np.float32), verbose=0), atol=1e-5)


def test_a_foreign_tflite_with_another_input(tmp_path):
    numbers = keras.Input((7,))
    x = keras.layers.Dense(2)(numbers)
    model = keras.Model(numbers, [x, keras.layers.Dense(4)(x)])
    predictor = load_predictor(foreign(tmp_path / "numbers.tflite", model))
    raw = predictor(np.ones((3, 7), np.float32))
    assert sorted(value.shape for value in raw.values()) == [(3, 2), (3, 4)], "by tensor name"
    assert predictor.input_size is None


def test_two_inputs_are_one_line(tmp_path):
    pair = [keras.Input((4,), name="first"), keras.Input((4,), name="second")]
    model = keras.Model(pair, keras.layers.Add()(pair))
    with pytest.raises(UserError, match="must take one input, images. Received: 2 inputs"):
        load_predictor(_two_inputs(tmp_path / "two.tflite", model))
    with pytest.raises(UserError, match="must take one input, images. Received: 2 inputs"):
        keras_predictor(model)


def _two_inputs(path, model):
    call = tf.function(lambda a, b: model([a, b]))
    function = call.get_concrete_function(*[tf.TensorSpec((1, 4), tf.float32)] * 2)
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([_freeze(function)]).convert())
    return path


@pytest.mark.parametrize(("package", "use"), [("onnxruntime", load_predictor), ("onnx", inspect)])
def test_a_missing_extra_says_what_to_install(files, monkeypatch, package, use):
    if "onnx" not in files:
        pytest.skip("needs the onnx extra")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf'^{package} is not installed; .*"mobilenet-tf\[onnx\]"'):
        use(files["onnx"])


def test_threads_are_the_caller_s(files):
    assert load_predictor(files["tflite"], threads=1).threads == 1
    assert load_predictor(files["tflite"]).threads >= 1
    assert load_predictor(files["keras"], threads=1).threads is None


def test_metadata_decides_the_size_of_a_model_that_takes_any():
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
    assert keras_predictor(model, replace(METADATA, input_size=(8, 9))).input_size == (8, 9)
