"""What inspect finds in each kind of file, held against what is known of the network by other ways."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from command import call
from PIL import Image
from rich.console import Console

from mobilenet_tf.analysis import cost, dead_channels, inspection
from mobilenet_tf.export.convert import FORMATS, export, tflite_ops
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.models import builder
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.files import size

SIZE = (32, 48)
METADATA = Metadata("classification", ["a", "b", "c"], SIZE, config={"seed": 0})
DEAD = 5  # channels of the first layer that are always 0


def net():
    keras.utils.set_random_seed(0)
    image = keras.Input((*SIZE, 3), name="image")
    x = builder.backbone("mobilenet_v1", 0.25, (*SIZE, 3))(image)["s32"]
    logits = keras.layers.Dense(3, name="logits")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, logits, name="net")
    trunk = model.get_layer("backbone")
    norm = next(layer for layer in trunk.layers if isinstance(layer, BatchNormalization))
    gamma, beta, *rest = norm.get_weights()
    gamma[:DEAD], beta[:DEAD] = 0, -1  # below the ReLU on every image
    norm.set_weights([gamma, beta, *rest])
    depthwise = next(layer for layer in trunk.layers if isinstance(layer, keras.layers.DepthwiseConv2D))
    kernel = depthwise.get_weights()[0]
    kernel[..., 6:8, 0] = 1e-6
    depthwise.set_weights([kernel])
    return model


@pytest.fixture(scope="module")
def model():
    return net()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspection")
    calibration = [np.random.default_rng(0).uniform(0, 255, (4, *SIZE, 3)).astype(np.float32)]
    model.save(folder / "model.keras")
    artifact.write(folder / "model.keras", METADATA)
    result = {"keras": folder / "model.keras"}
    for name in ("savedmodel", "tflite", "tflite_int8", "onnx"):
        if name == "onnx":
            try:
                import tf2onnx  # noqa: F401
            except ImportError:
                continue
        options = {"calibration": calibration, "inputs": "uint8"} if name == "tflite_int8" else {}
        result[name] = export(model, folder / FORMATS[name].filename, name, metadata=METADATA, **options)
    return result


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["keras", "tflite", "tflite_int8", "onnx"])
def test_mult_adds_are_those_of_the_keras_model(files, model, kind):
    if kind not in files:
        pytest.skip("needs the onnx extra")
    result = inspection.inspect(files[kind])
    assert result.mult_adds == cost.cost(model).mult_adds
    assert sum(total.mult_adds for total in result.by_type().values()) == result.mult_adds


@pytest.mark.parametrize("kind", ["keras", "savedmodel", "tflite", "tflite_int8", "onnx"])
def test_what_every_format_says(files, model, kind):
    if kind not in files:
        pytest.skip("needs the onnx extra")
    result = inspection.inspect(files[kind])
    [image], [logits] = result.inputs, result.outputs
    assert image.name == "image" and image.shape[1:] == (*SIZE, 3) and logits.shape[1:] == (3,)
    assert image.dtype == logits.dtype == ("uint8" if kind == "tflite_int8" else "float32")
    assert result.metadata == METADATA and result.unsupported_ops == []
    assert result.tflite_metadata is (True if "tflite" in kind else None)
    convolutions = {"keras": "Conv2D", "savedmodel": "Conv2D", "onnx": "Conv"}.get(kind, "CONV_2D")
    depthwise = 0 if kind == "onnx" else 13
    least = 14 if depthwise else 27
    assert result.by_type()[convolutions].count >= least
    written = json.loads(json.dumps(result.to_dict()))
    assert written["metadata"]["classes"] == ["a", "b", "c"] and written["size"] == size(files[kind])
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for table in inspection.tables(result) + inspection.tables(result, by_layer=True):
        console.print(table)
    text = console.export_text()
    assert "a, b, c" in text and convolutions in text


def test_operations_and_weights_of_a_float_file(files, model):
    result = inspection.inspect(files["tflite"])
    assert {type_: total.count for type_, total in result.by_type().items()} == dict(tflite_ops(files["tflite"]))
    assert not any(total.quantized for total in result.by_type().values()) and not result.per_channel()
    trained = sum(int(np.prod(w.shape)) for w in model.weights if "moving" not in w.path and "gamma" not in w.path)
    assert result.weights["float32"] == pytest.approx(4 * trained, rel=0.03), (
        "BatchNorm is folded: its betas are biases"
    )
    assert sum(row.bytes for row in result.rows) == pytest.approx(sum(result.weights.values()), rel=0.02)


def test_quantization_is_told(files):
    result = inspection.inspect(files["tflite_int8"])
    [image], [logits] = result.inputs, result.outputs
    assert (image.scale, image.zero_point) == (1.0, 0) and logits.scale > 0
    types = result.by_type()
    assert types["DEPTHWISE_CONV_2D"].quantized == types["DEPTHWISE_CONV_2D"].count == 13
    assert result.per_channel()[True] >= 27
    assert result.weights["int8"] > 0.8 * sum(result.weights.values())
    assert result.to_dict()["quantized_weights"]["per_channel"] == result.per_channel()[True]


def test_dead_kernels_and_channels_are_counted(files, tmp_path, capsys, monkeypatch):
    images = np.random.default_rng(0).uniform(0, 255, (6, *SIZE, 3)).astype(np.float32)
    result = inspection.inspect(files["keras"], [images[:4], images[4:]])
    assert len(result.dead_kernels) == 13
    assert result.dead_kernels[0]["kernels"] == 8 and result.dead_kernels[0]["zero"] == 2
    assert result.dead_channels[0]["channels"] == 8 and result.dead_channels[0]["dead"] == DEAD
    assert inspection.inspect(files["keras"]).dead_channels is None
    assert sum(row["kernels"] for row in result.dead_kernels) == sum(
        layer.kernel.shape[2]
        for layer in net().get_layer("backbone").layers
        if isinstance(layer, keras.layers.DepthwiseConv2D)
    )


def test_ways_to_be_dead():
    rng = np.random.default_rng(0)
    kernel, gamma, beta, variance = rng.normal(0, 1, (3, 3, 10)), np.ones(10), np.zeros(10), np.ones(10)
    kernel[..., 0], gamma[1], beta[2] = 1e-4, 1e-4, -4
    result = dead_channels.dead_kernels(kernel, gamma, beta, variance)
    assert {way: np.flatnonzero(which).tolist() for way, which in result.items()} == {
        "zero": [0],
        "constant": [1],
        "closed": [2],
    }


@pytest.mark.parametrize("content", ["cut", b"no model at all", b""])
@pytest.mark.parametrize("kind", ["tflite", "onnx", "keras"])
def test_what_is_no_model_is_one_line(files, tmp_path, kind, content):
    if kind not in files:
        pytest.skip("needs the onnx extra")
    whole = files[kind].read_bytes()
    path = tmp_path / f"broken.{kind}"
    path.write_bytes(whole[: len(whole) // 3] if content == "cut" else content)
    with pytest.raises(UserError, match=rf"broken.{kind}.* must .*Received: ") as caught:
        inspection.inspect(path)
    assert "\n" not in str(caught.value)


def test_the_command(small_run, files, tmp_path, capsys):
    for i in range(3):
        values = np.random.default_rng(i).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    code, out, _ = call(capsys, "inspect", small_run, "--samples", tmp_path, "--json")
    values = json.loads(out)
    assert code == 0 and values["dead_channels"] and values["dead_kernels"]
    assert values["metadata"]["task"] == "classification"
    code, out, _ = call(capsys, "inspect", files["tflite"])
    assert code == 0 and "DEPTHWISE_CONV_2D" in out
    for arguments, expected in (
        ((files["tflite"], "--samples", tmp_path), "samples must be given for .keras files only"),
        ((Path("nowhere.onnx"),), "nowhere.onnx"),
    ):
        code, _, err = call(capsys, "inspect", *arguments)
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1 and expected in err
