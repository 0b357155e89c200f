"""Every format against the Keras model it was made from, on a small trained network; and what export refuses."""

import contextlib
import io
import json
import os
import sys
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from learned import clear, told_apart
from rich.console import Console
from tensorflow.lite.python import schema_py_generated as schema
from untrained import adjusted

from mobilenet_tf.export import convert as exporting
from mobilenet_tf.export import rounding, verification
from mobilenet_tf.export.convert import FORMATS, export, tflite_ops
from mobilenet_tf.export.verification import Parity, Verification, check_parity, verify
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import keras_predictor, load_predictor
from mobilenet_tf.inference.tflite import open_tflite
from mobilenet_tf.inference.tflite_schema import operators
from mobilenet_tf.models import builder
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.tasks.classification.export import serving_model
from mobilenet_tf.training.intervals import Scores
from mobilenet_tf.utils.errors import UserError

SIZE = 32
CLASSES = ["across", "down", "rings", "rays"]
METADATA = Metadata("classification", CLASSES, (SIZE, SIZE), config={"seed": 0})
MONITOR = ("top1", "max")


def random_images(count, seed):
    """Gratings, rings and rays of random color, phase and period in noise: float32 images and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), count)
    y, x = np.mgrid[:SIZE, :SIZE][:, None] - rng.uniform(SIZE / 3, 2 * SIZE / 3, (2, count, 1, 1))
    forms = np.stack([y, x, np.hypot(y, x), 8 * np.arctan2(y, x)], 1)[np.arange(count), labels]  # [N, H, W]
    waves = np.sin(forms * rng.uniform(0.6, 1.0, (count, 1, 1)) + rng.uniform(0, 6, (count, 1, 1)))
    colors = rng.uniform(-70, 70, (count, 1, 1, 3))
    images = 128 + waves[..., None] * colors + rng.normal(0, 25, (count, SIZE, SIZE, 3))
    return images.clip(0, 255).astype(np.float32), labels.astype(np.int32)


TEST_IMAGES, TEST_LABELS = random_images(500, seed=1)


def separable(x, filters, strides):
    """Depthwise 3x3 and 1x1 convolutions with our BatchNormalization, and a shortcut where the shape allows."""
    y = keras.layers.DepthwiseConv2D(3, strides, "same", use_bias=False)(x)
    y = keras.layers.ReLU(6.0)(BatchNormalization(momentum=0.9)(y))
    y = BatchNormalization(momentum=0.9)(keras.layers.Conv2D(filters, 1, use_bias=False)(y))
    return keras.layers.Add()([x, y]) if x.shape == y.shape else keras.layers.ReLU(6.0)(y)


@pytest.fixture(scope="module")
def model():
    """A small network of a MobileNet's parts, trained for a few seconds: random weights say nothing about int8."""
    keras.utils.set_random_seed(0)
    images = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(16, 3, 2, "same", use_bias=False)(keras.layers.Rescaling(1 / 127.5, -1.0)(images))
    x = keras.layers.ReLU(6.0)(BatchNormalization(momentum=0.9)(x))
    for filters, strides in ((24, 1), (24, 1), (48, 2), (48, 1)):
        x = separable(x, filters, strides)
    x = keras.layers.GlobalAveragePooling2D()(x)
    net = keras.Model(images, keras.layers.Dense(len(CLASSES))(x), name="net")
    net.compile(keras.optimizers.Adam(5e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    net.fit(*random_images(1600, seed=0), batch_size=32, epochs=4, verbose=0)
    return told_apart(net, TEST_IMAGES[:64])


@pytest.fixture(scope="module")
def reference(model):
    return keras_predictor(model, METADATA)


@pytest.fixture(scope="module")
def sure(reference):
    """Those test images whose two best logits are further apart than any float file may be off, with their labels."""
    is_clear = clear(reference(TEST_IMAGES), 2 * 0.05)
    assert is_clear.mean() > 0.9
    return TEST_IMAGES[is_clear], TEST_LABELS[is_clear]


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """Exports on demand, each format and set of options once."""
    folder, done = tmp_path_factory.mktemp("exports"), {}

    def get(format, outputs="logits", **options):
        key = (format, outputs, *options.items())
        if key not in done:
            if format == "onnx":
                pytest.importorskip("tf2onnx")
            path = folder / str(len(done)) / FORMATS[format].filename
            calibration = [random_images(100, seed=2)[0]] if FORMATS[format].needs_calibration else None
            shipped, metadata = serving_model(model, outputs), replace(METADATA, outputs=outputs)
            done[key] = export(shipped, path, format, metadata=metadata, calibration=calibration, **options)
        return done[key]

    return get


def score(predictor, images=TEST_IMAGES, labels=TEST_LABELS):
    return {"top1": float((predictor(images).argmax(-1) == labels).mean())}


@pytest.mark.slow
def test_the_reference_is_worth_comparing_with(reference):
    assert score(reference)["top1"] > 0.8
    assert np.ptp(reference(TEST_IMAGES)) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "options", "limit"),
    [
        ("savedmodel", {}, 1e-4),
        ("tflite", {}, 1e-4),
        ("tflite", {"dynamic_batch": True}, 1e-4),
        ("tflite", {"outputs": "softmax"}, 1e-4),
        ("onnx", {}, 1e-4),
        ("onnx", {"dynamic_batch": True}, 1e-4),
        ("tflite_float16", {}, 0.05),
    ],
    ids=str,
)
def test_float_files_give_the_model_s_logits(exported, reference, sure, format, options, limit):
    path = exported(format, **options)
    parity = check_parity(reference, load_predictor(path), sure[0][:32])
    assert parity.mean_diff <= parity.max_diff < limit
    assert parity.agreement == 1.0
    assert parity.images == 32
    assert artifact.read(path) == replace(METADATA, outputs=options.get("outputs", "logits"))


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("tflite_dynamic", {}),
        ("tflite_int16", {}),
        *(("tflite_int8", {"inputs": kind}) for kind in ("float32", "int8", "uint8")),
    ],
    ids=str,
)
def test_quantized_files_keep_the_accuracy(exported, reference, format, options):
    path = exported(format, **options)
    assert score(load_predictor(path))["top1"] >= score(reference)["top1"] - 0.02
    assert path.stat().st_size < 0.85 * exported("tflite").stat().st_size


def types(path):
    graph = schema.Model.GetRootAs(path.read_bytes(), 0).Subgraphs(0)
    names = {value: name for name, value in vars(schema.TensorType).items()}
    inside = {names[graph.Tensors(i).Type()] for i in range(graph.TensorsLength())}
    ends = [names[graph.Tensors(i).Type()] for i in (graph.Inputs(0), graph.Outputs(0))]
    return inside, ends


@pytest.mark.parametrize("inputs", ["int8", "uint8"])
def test_int8_is_int8_throughout(exported, inputs):
    inside, ends = types(exported("tflite_int8", inputs=inputs))
    assert ends == [inputs.upper()] * 2
    assert "FLOAT32" not in inside


@pytest.fixture(scope="module")
def stretched(model):
    """(the model with a 1x1 convolution that int8 ruins, that convolution).

    A channel of its input, always 0, has weights so large that all others round to 0 in int8. In float the channel
    changes nothing. So this layer loses the most, by far and on any processor, and in float32 it loses nothing.
    """
    net = keras.models.clone_model(model)
    net.set_weights(model.get_weights())
    layer = [layer for layer in net.layers if type(layer) is keras.layers.Conv2D][3]
    norm = net.layers[net.layers.index(layer) - 2]  # and a ReLU
    gamma, beta, *statistics = norm.get_weights()
    gamma[0], beta[0] = 0, -1
    norm.set_weights([gamma, beta, *statistics])
    kernel = layer.kernel.numpy()
    kernel[:, :, 0] = 500 * np.abs(kernel).max()
    layer.kernel.assign(kernel)
    return told_apart(net, TEST_IMAGES[:64]), layer


@pytest.mark.parametrize("inputs", ["float32", "uint8"])
def test_layers_that_lose_the_most_stay_in_float(stretched, tmp_path, inputs):
    net, layer = stretched
    options = {"metadata": METADATA, "calibration": [random_images(100, seed=2)[0]], "inputs": inputs}
    want, errors = keras_predictor(net)(TEST_IMAGES[:64]), {}
    for count in (0, 1):
        path = export(net, tmp_path / f"{count}.tflite", "tflite_int8", float_layers=count, **options)
        errors[count] = np.abs(load_predictor(path)(TEST_IMAGES[:64]) - want).mean()
    inside, ends = types(path)
    assert ends == [inputs.upper()] * 2 and {"INT8", "FLOAT32"} <= inside
    [left] = [name for kind, name, type in computed(path) if (kind, type) == ("CONV_2D", schema.TensorType.FLOAT32)]
    assert f"/{layer.name}_" in left
    assert errors[1] < 0.25 * errors[0]


def computed(path):
    """(operation, name of its output, type of its output) of each operation of a file."""
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph, names = model.Subgraphs(0), operators(model)
    for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        output = graph.Tensors(operator.Outputs(0))
        yield names[operator.OpcodeIndex()], output.Name().decode(), output.Type()


def test_layers_stay_in_float_by_their_names(exported):
    path = exported("tflite_int8", float_layers=("depthwise_conv2d*",))
    kinds = {"DEPTHWISE_CONV_2D": set(), "CONV_2D": set()}
    for operation, _, type in computed(path):
        kinds.setdefault(operation, set()).add(type)
    assert kinds["DEPTHWISE_CONV_2D"] == {schema.TensorType.FLOAT32}
    assert kinds["CONV_2D"] == {schema.TensorType.INT8}
    with pytest.raises(UserError, match=r"float_layers must name layers, such as .*conv2d.*Received: squeeze\*"):
        exported("tflite_int8", float_layers=("squeeze*",))


def test_sensitivity_ranks_the_layers_of_the_model(model):
    errors = exporting.sensitivity(model, METADATA, [random_images(20, seed=2)[0]])
    assert [error.rms_lsb for error in errors] == sorted((error.rms_lsb for error in errors), reverse=True)
    named = {error.layer for error in errors if "Call" not in error.tensor}  # the output has the signature's name
    assert len(named) >= len(errors) - 1 and named <= {layer.name for layer in model.layers}
    assert sum(error.operation == "DEPTHWISE_CONV_2D" for error in errors) == 4
    assert 0.1 < errors[-1].rms_lsb + errors[0].rms_lsb < 10


def test_int16_activations_are_16_bits_wide(exported):
    inside, ends = types(exported("tflite_int16"))
    assert ends == ["FLOAT32", "FLOAT32"] and {"INT16", "INT8"} <= inside


def test_float_inputs_are_quantized_by_the_first_operation(exported):
    path = exported("tflite_int8", inputs="float32")
    assert types(path)[1] == ["FLOAT32", "FLOAT32"]
    ops = tflite_ops(path)
    assert (ops["QUANTIZE"], ops["DEQUANTIZE"]) == (1, 1)


PATCHES = np.random.default_rng(1).uniform(0, 255, (12, 8, 8, 3)).repeat(8, 1).repeat(8, 2).astype(np.float32)


@pytest.fixture(scope="module")
def mobilenet():
    """A MobileNetV2 0.35 on its nested backbone: random weights, BatchNorm statistics near those of the patches."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    backbone = builder.backbone("mobilenet_v2", 0.35, (64, 64, 3))
    norms = [layer for layer in backbone.layers if isinstance(layer, BatchNormalization)]
    for layer in norms:
        n = layer.gamma.shape[0]
        layer.set_weights([rng.uniform(0.7, 1.4, n), rng.normal(0, 0.2, n), *layer.get_weights()[2:]])
    adjusted(backbone, PATCHES)
    for layer in norms:  # with the true ones the last bit of an image moves the logits by more than the limit
        layer.moving_variance.assign(layer.moving_variance * rng.uniform(1.0, 1.3, layer.gamma.shape))
    images = keras.Input((64, 64, 3))
    x = keras.layers.GlobalAveragePooling2D()(backbone(images)["s32"])
    model = keras.Model(images, keras.layers.Dense(len(CLASSES))(x), name="mobilenet")
    return told_apart(model, PATCHES)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_mobilenet_is_folded_and_gives_its_logits(mobilenet, tmp_path, format):
    if format == "onnx":
        pytest.importorskip("tf2onnx")
    metadata = replace(METADATA, input_size=(64, 64))
    path = export(mobilenet, tmp_path / FORMATS[format].filename, format, metadata=metadata)
    reference = keras_predictor(mobilenet, metadata)
    images = PATCHES[clear(reference(PATCHES), 2e-4)]
    assert len(images) > 4
    parity = check_parity(reference, load_predictor(path), images)
    assert parity.max_diff < 1e-4 and parity.agreement == 1.0
    layers = mobilenet.get_layer("backbone").layers
    assert sum(isinstance(layer, BatchNormalization) for layer in layers) == 52
    if format == "tflite":
        residuals = sum(isinstance(layer, keras.layers.Add) for layer in layers)
        ops = tflite_ops(path)
        assert (ops["MUL"], ops["ADD"]) in ((1, residuals + 1), (0, residuals)), "the rescaling, which may fold too"
        assert not any(op.startswith("Flex") or "VAR" in op for op in ops)
    else:
        ops = [node.op_type for node in pytest.importorskip("onnx").load(path).graph.node]
        assert "BatchNormalization" not in ops and ops.count("Transpose") <= 4


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_inputs_and_outputs_are_named(exported, format):
    for outputs in ("logits", "softmax"):
        path = exported(format, outputs=outputs)
        if format == "tflite":
            interpreter = open_tflite(path)
            assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": [outputs]}}
        else:
            graph = pytest.importorskip("onnx").load(path).graph
            assert ([value.name for value in graph.input], [value.name for value in graph.output]) == (
                ["image"],
                [outputs],
            )


def test_softmax_outside_the_network_sums_to_one(exported):
    predictor = load_predictor(exported("tflite", outputs="softmax"))
    raw = predictor.run(TEST_IMAGES[:1])["softmax"]
    assert raw.sum() == pytest.approx(1, abs=1e-5) and raw.min() >= 0


def test_a_saved_model_stores_each_weight_once(exported, model):
    reader = tf.train.load_checkpoint(str(exported("savedmodel") / "variables" / "variables"))
    shapes = [shape for key, shape in reader.get_variable_to_shape_map().items() if "VARIABLE_VALUE" in key]
    assert sum(int(np.prod(shape)) for shape in shapes) == model.count_params()


def test_the_model_itself_is_left_alone(exported, model):
    exported("tflite")
    assert [tensor.dtype for tensor in model.outputs] == ["float32"]
    assert model.trainable and len(model.trainable_weights) == 29


def small(outputs="one", dtype="float32", seed=0):
    keras.utils.set_random_seed(seed)
    images = keras.Input((16, 12, 3))
    x = keras.layers.Rescaling(1 / 255, dtype=dtype)(images)
    x = BatchNormalization(dtype=dtype)(keras.layers.Conv2D(4, 3, dtype=dtype)(x))
    mean = keras.layers.Dense(3, dtype=dtype)(keras.layers.GlobalAveragePooling2D(dtype=dtype)(x))
    model = keras.Model(images, {"one": mean, "list": [x, mean], "dict": {"map": x, "mean": mean}}[outputs])
    return told_apart(model, SMALL_IMAGES) if dtype == "float32" else model


SMALL = Metadata("classification", ["a", "b", "c"], (16, 12))
SMALL_IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 4, 3, 3)).repeat(4, 1).repeat(4, 2).astype(np.float32)


@pytest.mark.parametrize("outputs", ["list", "dict"])
@pytest.mark.parametrize("format", ["savedmodel", "tflite", "onnx"])
def test_several_outputs_keep_their_names(tmp_path, format, outputs):
    if format == "onnx":
        pytest.importorskip("tf2onnx")
    model = small(outputs)
    path = export(model, tmp_path / FORMATS[format].filename, format, metadata=SMALL)
    want, got = keras_predictor(model)(SMALL_IMAGES), load_predictor(path)(SMALL_IMAGES)
    assert type(got) is type(want)
    for key in want if outputs == "dict" else range(2):
        np.testing.assert_allclose(got[key], want[key], atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_exported_as_float32(tmp_path, policy):
    model, twin = small(dtype=policy), small()
    twin.set_weights(model.get_weights())
    predictor = load_predictor(export(model, tmp_path / "m.tflite", "tflite", metadata=SMALL))
    np.testing.assert_allclose(predictor(SMALL_IMAGES), keras_predictor(twin)(SMALL_IMAGES), atol=1e-5)


def test_a_model_that_ends_in_softmax_keeps_its_one(tmp_path):
    logits = small()
    model = keras.Model(logits.inputs, keras.layers.Softmax()(logits.outputs[0]))
    metadata = replace(SMALL, outputs="softmax")
    path = export(model, tmp_path / "m.tflite", "tflite", metadata=metadata)
    assert tflite_ops(path)["SOFTMAX"] == 1
    np.testing.assert_allclose(
        load_predictor(path).run(SMALL_IMAGES[:1])["softmax"], keras_predictor(model)(SMALL_IMAGES[:1]), atol=1e-5
    )


def test_any_size_is_exported_at_the_metadata_s(tmp_path):
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
    path = export(model, tmp_path / "m.tflite", "tflite", metadata=SMALL)
    assert load_predictor(path).input_shape == (1, 16, 12, 3)


def test_conversion_warns_only_of_few_calibration_images(tmp_path, capfd):
    with pytest.warns(UserWarning, match=r"^calibration should have 100 images or more\. Received: 99$"):
        export(small(), tmp_path / "m.tflite", "tflite_int8", metadata=SMALL, calibration=iter([SMALL_IMAGES] * 33))
    assert capfd.readouterr() == ("", "")


def test_progress_names_every_stage(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(exporting, "progress", lambda title: contextlib.nullcontext(said.append))
    images = np.tile(SMALL_IMAGES, (34, 1, 1, 1))
    export(small(), tmp_path / "m.tflite", "tflite_int8", metadata=SMALL, calibration=[images], float_layers=1)
    assert said[:2] == ["tracing the graph", "converting to TFLite"] and said[-1] == "checking the file"
    for stage, count in (("calibrating on", 100), ("comparing the layers on", 50), ("looking at", rounding.IMAGES)):
        assert {f"{stage} image {i} of {count}" for i in range(1, count + 1)} <= set(said)
    assert {"equalizing channels", "quantizing"} <= set(said)
    assert any(text.startswith("rounding the weights of layer 1 of ") for text in said)


def test_a_terminal_shows_the_stage(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(exporting, "Console", lambda **_: Console(file=screen, force_terminal=True, width=80))
    with exporting.progress("export m.tflite") as say:
        say("calibrating on image 3 of 9")
        time.sleep(0.5)
    assert "export m.tflite: calibrating on image 3 of 9" in screen.getvalue()


@pytest.mark.parametrize(
    ("format", "file", "options", "expected"),
    [
        ("tflite_int3", "m.tflite", {}, "format must be one of savedmodel, .* Received: tflite_int3$"),
        ("tflite", "m.onnx", {}, r"must end in .tflite. Received: .*m.onnx"),
        ("savedmodel", "m.tflite", {}, "must be a folder name"),
        ("tflite_int8", "m.tflite", {}, "must have calibration images"),
        ("tflite_int8", "m.tflite", {"calibration": []}, "calibration must hold images. Received: none"),
        (
            "tflite_int8",
            "m.tflite",
            {"calibration": [SMALL_IMAGES[:0]]},
            "calibration must hold images. Received: none",
        ),
        (
            "tflite_int8",
            "m.tflite",
            {"calibration": [SMALL_IMAGES, SMALL_IMAGES[:, :8]]},
            r"calibration must be images \[N, 16, 12, 3\]. Received: \[3, 8, 12, 3\]",
        ),
        ("tflite", "m.tflite", {"metadata": replace(SMALL, classes=["a"])}, "the model's outputs, 3. Received: 1"),
        (
            "tflite_int8",
            "m.tflite",
            {"inputs": "int4", "calibration": [SMALL_IMAGES]},
            "float32, int8, uint8. Received",
        ),
        ("tflite", "m.tflite", {"inputs": "uint8"}, "inputs of tflite must be float32. Received: inputs=uint8"),
        ("tflite", "m.tflite", {"metadata": METADATA}, r"input_size must be the model's, 16x12. Received: \(32, 32\)"),
        ("tflite", "file/m.tflite", {}, "file/m.tflite must be writable"),
        ("tflite", "folder.tflite", {}, "must not be a folder of something else. Received: .*folder.tflite"),
        ("savedmodel", "pictures", {}, "must not be a folder of something else. Received: .*pictures"),
    ],
    ids=str,
)
def test_mistakes_are_one_line_and_leave_nothing(tmp_path, format, file, options, expected):
    (tmp_path / "file").touch()
    (tmp_path / "folder.tflite").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "picture.jpg").touch()
    with pytest.raises(UserError, match=expected) as caught:
        export(small(), tmp_path / file, format, **{"metadata": SMALL, **options})
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder.tflite", "picture.jpg", "pictures"]


def ending(outputs, scores):
    """(a model that ends as detectors and segmenters do, its task, its metadata's config); 4 logits an anchor."""
    from mobilenet_tf.tasks.detection.export import serving_model as with_boxes
    from mobilenet_tf.tasks.segmentation.export import serving_model as with_map

    images = keras.Input((16, 12, 3))
    if outputs == "class_map":
        return with_map(keras.Model(images, keras.layers.Conv2D(4, 1)(images)), outputs), "segmentation", {}
    rows = keras.layers.Reshape((-1, 4))
    raw = {
        "class_logits": rows(keras.layers.Conv2D(4, 1)(images)),
        "box_regressions": rows(keras.layers.Conv2D(4, 1)(images)),
    }
    options = {
        "scores": scores,
        "variances": (0.1, 0.2),
        "score_threshold": 0.1,
        "iou_threshold": 0.5,
        "max_detections": 2,
    }
    anchors = np.zeros((16 * 12, 4), np.float32)
    model = with_boxes(keras.Model(images, raw), outputs, anchors, **options)
    return model, "detection", {"model": {"scores": scores}}


@pytest.mark.parametrize(
    ("outputs", "scores", "count"),
    [("class_map", None, 4), ("raw", "softmax", 3), ("raw", "sigmoid", 4), ("detections", "softmax", 3)],
)
def test_labels_are_counted_where_the_outputs_tell_their_number(tmp_path, outputs, scores, count):
    model, task, config = ending(outputs, scores)
    metadata = replace(SMALL, task=task, classes=["a"] * (count + 1), outputs=outputs, config=config)
    with pytest.raises(UserError, match=f"as many as the model's outputs, {count}. Received: {count + 1}"):
        export(model, tmp_path / "m.tflite", "tflite", metadata=metadata)
    shapes = exporting._class_shapes(model, metadata)
    assert metadata.ending.class_counts(shapes, metadata.config) == [count]


def test_a_missing_extra_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(UserError, match=r'tf2onnx is not installed; .*"mobilenet-tf\[onnx\]"'):
        export(small(), tmp_path / "m.onnx", "onnx", metadata=SMALL)
    assert not os.listdir(tmp_path)


def test_nan_weights_are_refused_and_the_old_file_stays(tmp_path):
    model = small()
    path = export(model, tmp_path / "m.tflite", "tflite", metadata=SMALL)
    before = path.read_bytes()
    model.set_weights([np.full_like(value, np.nan) for value in model.get_weights()])
    with pytest.raises(UserError, match="m.tflite must give finite outputs"):
        export(model, path, "tflite", metadata=SMALL)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.tflite"]


@keras.saving.register_keras_serializable(package="test_export")
class Erfinv(keras.layers.Layer):
    def call(self, x):
        return tf.math.erfinv(x)


@keras.saving.register_keras_serializable(package="test_export")
class Spectrum(keras.layers.Layer):
    def call(self, x):
        return tf.math.real(tf.signal.ifft2d(tf.cast(x, tf.complex64)))


@pytest.mark.parametrize("format", ["tflite", "tflite_int8"])
def test_operations_that_tflite_lacks_are_named_with_their_layers_and_the_old_file_stays(tmp_path, format):
    x = keras.Input((16, 12, 3))
    backbone = keras.Model(x, Spectrum(name="act_1")(keras.layers.Conv2D(4, 3, name="act")(x)), name="backbone")
    images = keras.Input((16, 12, 3))
    odd = Erfinv(name="tail_1")
    x = odd(odd(keras.layers.GlobalAveragePooling2D(name="erfinv")(backbone(images))))
    model = keras.Model(images, keras.layers.Dense(3, name="tail")(x))
    (tmp_path / "m.tflite").write_text("old")
    expected = r"TFLite's own operations. Received: IFFT2D \(layer backbone/act_1\), Erfinv \(layer tail_1\)$"
    with pytest.raises(UserError, match=expected):
        export(model, tmp_path / "m.tflite", format, metadata=SMALL, calibration=[np.tile(SMALL_IMAGES, (34, 1, 1, 1))])
    assert (tmp_path / "m.tflite").read_text() == "old" and os.listdir(tmp_path) == ["m.tflite"]
    with pytest.raises(UserError, match=expected):
        exporting.sensitivity(model, SMALL, [SMALL_IMAGES])


def test_a_custom_operation_in_a_detector_is_named_with_its_layer(tmp_path):
    """Detectors are converted with custom operations allowed, for their ending is one."""
    model = small("dict")
    odd = keras.layers.ReLU()(Erfinv(name="odd")(model.output["map"]))
    model = keras.Model(model.inputs, {"map": odd, "mean": model.output["mean"]})
    with pytest.raises(
        UserError, match=r"m.tflite must hold TFLite's own operations .*\. Received: Erfinv \(layer odd\)$"
    ):
        export(model, tmp_path / "m.tflite", "tflite", metadata=replace(SMALL, task="detection", outputs="detections"))
    assert not os.listdir(tmp_path)


def test_an_unfrozen_graph_is_found(tmp_path):
    """A Keras model given as the trackable converts without complaint, its variables left in the graph."""
    model = small()
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 16, 12, 3), tf.float32))
    path = tmp_path / "trap.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function], model).convert())
    assert "VAR_HANDLE" in tflite_ops(path)
    with pytest.raises(UserError, match="no variables. Received: .*VAR_HANDLE"):
        exporting._check_operations(path, path, model)


def test_parity_counts_what_differs():
    def predictor(logits):
        return lambda images: np.asarray(logits, np.float32)[: len(images)]

    left, right = predictor([[0, 1], [2, 0]]), predictor([[0, 1], [0, 1]])
    for each in (left, right):
        each.metadata = None
    assert check_parity(left, right, np.zeros((2, 4, 4, 3))) == Parity(2.0, 0.75, 0.5, 2, exact=0.5, compared=2)
    with pytest.raises(UserError, match="real images. Received: none"):
        check_parity(left, right, np.zeros((0, 4, 4, 3)))


@pytest.mark.parametrize("finds", [True, False], ids=["the same", "nothing"])
def test_models_with_the_same_outputs_for_all_images_are_unproven(finds):
    """However well their scores match: the verdict, the table and a warning say that nothing is verified."""

    def predictor(images):
        outputs = np.float32([[3, 1, 2]]) if finds else np.random.default_rng(0).normal(size=(len(images), 3))
        return np.broadcast_to(outputs, (len(images), 3))

    predictor.metadata, predictor.path, predictor.name, predictor.format = None, None, "model.tflite", "tflite"
    agree = None if finds else lambda *raws: np.full(len(raws[0]), np.nan)
    with pytest.warns(
        UserWarning, match="model.tflite is unproven: the model predicts the same, or nothing, for all 8"
    ):
        result = verify(predictor, predictor, TEST_IMAGES[:8], lambda _: Scores({"top1": 0.9}), MONITOR, agree=agree)
    assert result.parity.agreement is None and result.drop == 0.0
    assert not result.ok and result.to_dict()["ok"] is False
    assert verification.columns([result])[1][-1] == "unproven"


def test_verification_is_written_beside_the_file(exported, reference, sure):
    def evaluate(predictor):
        return Scores(score(predictor, *sure))

    for format, name in (("tflite", "model.tflite.json"), ("savedmodel", "saved_model/verification.json")):
        path = exported(format)
        result = verify(reference, load_predictor(path), TEST_IMAGES[:8], evaluate, MONITOR)
        assert result.ok and result.drop == 0.0
        assert result.size > 4 * 5000, "bytes, of more than 5,000 float32 weights"
        written = json.loads((path.parent / name).read_text())
        assert written == result.to_dict()
        assert written["reference"] == written["candidate"] == evaluate(reference).numbers


def test_known_metrics_of_the_reference_are_not_computed_again(exported, reference):
    seen = []

    def evaluate(predictor):
        seen.append(predictor.format)
        return Scores({"top1": np.float32(0.5), "per_class": np.array([0.5, 0.5])})

    candidate = load_predictor(exported("tflite"))
    result = verify(reference, candidate, TEST_IMAGES[:2], evaluate, MONITOR, reference_scores=Scores({"top1": 0.75}))
    assert seen == ["tflite"]
    assert (result.drop, result.ok) == (0.25, False)
    assert result.to_dict()["candidate"] == {"top1": 0.5, "per_class": [0.5, 0.5]}


@pytest.mark.parametrize(
    ("mode", "model_has", "file_has", "ok"),
    [
        ("max", 1.0, 0.98, True),
        ("max", 0.9, 0.885, True),
        ("max", 0.9, 0.87, False),
        ("max", 0.9, 0.95, True),
        ("max", 0.9, np.nan, False),
    ]
    + [("min", 0.3, 0.31, True), ("min", 0.3, 0.33, False), ("min", 0.3, 0.1, True)],
)
def test_a_drop_over_the_limit_fails(mode, model_has, file_has, ok):
    parity = Parity(0.1, 0.01, 1.0, 8, exact=1.0, compared=8)  # so that the drop alone decides
    result = Verification("m.tflite", "tflite", 10, parity, {"m": model_has}, {"m": file_has}, ("m", mode), 0.02)
    assert result.ok is ok
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(verification.table([result]))
    assert ("ok" if ok else "failed") in console.export_text()


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_network_on_photographs(real_data, tmp_path):
    """A MobileNetV2 1.0-160 for dog breeds, as float32 and as int8 with uint8 inputs, on COCO's photographs."""
    trained = keras.models.load_model(real_data / "weights" / "mobilenet_v2_160_dogs19.h5", compile=False)
    images = keras.Input((160, 160, 3))
    model = keras.Model(images, trained(keras.layers.Rescaling(1 / 127.5, -1.0)(images)))
    classes = (real_data / "weights" / "mobilenet_v2_160_dogs19.labels.txt").read_text().splitlines()
    metadata = Metadata("classification", classes, (160, 160), outputs="softmax")
    files = sorted((real_data / "coco_mini" / "val2017").glob("*.jpg"))
    photographs = np.stack(
        [keras.utils.img_to_array(keras.utils.load_img(file, target_size=(160, 160))) for file in files]
    )
    reference = keras_predictor(model, metadata)
    logits, parities = reference(photographs[:50]), {}
    for format, options in (("tflite", {}), ("tflite_int8", {"calibration": [photographs[50:]], "inputs": "uint8"})):
        path = tmp_path / FORMATS[format].filename
        predictor = load_predictor(export(model, path, format, metadata=metadata, **options))
        parities[format] = check_parity(reference, predictor, photographs[:50])
    assert parities["tflite"].max_diff < 1e-4 and parities["tflite"].agreement == 1.0
    near_ties = 3 * (0.8 * 0.2 / 50) ** 0.5  # many of the photographs show no dog: three standard deviations
    assert parities["tflite_int8"].agreement >= 0.8 - near_ties, parities
    sure = clear(logits, 1.0)  # one breed is 2.7 times as likely as any other
    same = (predictor(photographs[:50]).argmax(-1) == logits.argmax(-1))[sure]
    assert len(same) >= 10 and same.mean() > 0.9
    assert parities["tflite_int8"].mean_diff < 0.02, parities
