"""Files that ai-edge-quantizer makes: against the float file, by format, in types, names, versions; what is refused."""

import importlib.util
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
from untrained import adjusted, evened

from mobilenet_tf import config
from mobilenet_tf.export import ai_edge, rounding, tflite_objects
from mobilenet_tf.export.convert import export
from mobilenet_tf.inference import artifact, formats, tflite_metadata, tflite_versions
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.inference.tflite import open_tflite
from mobilenet_tf.inference.tflite_schema import operators, tflite_schema
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.utils.errors import UserError

needs_extra = pytest.mark.skipif(
    importlib.util.find_spec(formats.ENGINE_PACKAGE) is None, reason="needs the extra quantizer"
)
SIZE = 32
METADATA = Metadata("classification", list("abcdef"), (SIZE, SIZE))


def pictures(count):
    """Blots of random colors: float32 [count, H, W, 3] in 0..255."""
    coarse = np.random.default_rng(0).uniform(0, 255, (count, 4, 4, 3)).astype(np.float32)
    return np.asarray(keras.ops.image.resize(coarse, (SIZE, SIZE), "bilinear"))


PICTURES = pictures(48)


def network(swish=False):
    """A few blocks of a MobileNet whose statistics are those of the pictures, with classes that all win."""
    keras.utils.set_random_seed(0)
    images = keras.Input((SIZE, SIZE, 3))
    act = keras.activations.hard_silu if swish else keras.activations.relu6
    x = keras.layers.Rescaling(1 / 127.5, -1.0)(images)
    for i, (filters, strides) in enumerate([(16, 2), (32, 2), (32, 1), (64, 2)]):
        y = keras.layers.Conv2D(filters, 3 if i == 0 else 1, strides if i == 0 else 1, "same", use_bias=False)(x)
        y = keras.layers.Activation(act)(BatchNormalization()(y))
        y = keras.layers.DepthwiseConv2D(3, strides if i else 1, "same", use_bias=False, name=f"depthwise_{i}")(y)
        y = keras.layers.Activation(act)(BatchNormalization()(y))
        x = keras.layers.Add()([x, y]) if x.shape == y.shape else y
    x = keras.layers.Dense(6)(keras.layers.GlobalAveragePooling2D()(x))
    return evened(adjusted(keras.Model(images, x), PICTURES), PICTURES)


@pytest.fixture(scope="module", params=["relu6", "swish"])
def content(request, tmp_path_factory):
    """The float file of a network."""
    path = tmp_path_factory.mktemp("float") / "model.tflite"
    return export(network(request.param == "swish"), path, "tflite", metadata=METADATA).read_bytes()


def outputs_of(content, path, images=PICTURES):
    """The logits of a file for images, dequantized."""
    path.write_bytes(content)
    artifact.write(path, METADATA)
    predictor: Any = load_predictor(path)
    return np.concatenate([predictor(image[None]) for image in images])


def agreement(content, wanted, folder):
    got, want = (outputs_of(data, folder / name) for data, name in ((content, "new.tflite"), (wanted, "old.tflite")))
    return float((got.argmax(-1) == want.argmax(-1)).mean())


@needs_extra
@pytest.mark.parametrize(
    ("format", "floor", "share"),
    [("tflite_dynamic", 0.9, 0.9), ("tflite_int16", 0.9, 0.9), ("tflite_int8", 0.8, 0.9), ("tflite_int4", 0.5, 0.9)],
)
def test_predictions_and_size(content, tmp_path, format, floor, share):
    made = ai_edge.quantize(content, format, PICTURES)
    assert agreement(made, content, tmp_path) >= floor
    assert len(made) < share * len(content)
    assert tflite_objects.unpacked(made).signatureDefs[0].signatureKey.decode() == "serving_default"


@needs_extra
@pytest.mark.parametrize(("kind", "zero"), [("float32", None), ("int8", -128), ("uint8", 0)])
def test_types_and_the_range_of_the_input(content, tmp_path, kind, zero):
    path = tmp_path / "model.tflite"
    path.write_bytes(ai_edge.quantize(content, "tflite_int8", PICTURES[:8], inputs=kind))
    interpreter = open_tflite(path)
    source, (output,) = interpreter.get_input_details()[0], interpreter.get_output_details()
    assert (source["dtype"].__name__, output["dtype"].__name__) == (kind, kind)
    if zero is not None:  # one step is one gray level
        assert source["quantization"] == (1.0, zero)
    assert interpreter.get_signature_list()["serving_default"] == {"inputs": ["image"], "outputs": ["logits"]}


@needs_extra
def test_operations_have_the_versions_of_their_types(content, tmp_path):
    expected = {"tflite_dynamic": ("CONV_2D", 5), "tflite_int4": ("CONV_2D", 7), "tflite_int8": ("CONV_2D", 3)}
    for format, (name, version) in expected.items():
        made = ai_edge.quantize(content, format, PICTURES[:8])
        model = tflite_schema().Model.GetRootAs(made, 0)
        found = {(op, model.OperatorCodes(i).Version()) for i, op in enumerate(operators(model))}
        assert (name, version) in found, format
        runtime, unknown = tflite_versions.needed(made, tmp_path / "model.tflite")
        assert runtime and not unknown


@needs_extra
def test_layers_stay_in_float_by_their_tensors(content):
    name = next(
        model.tensors[operator.outputs[0]].name.decode()
        for model in tflite_objects.unpacked(content).subgraphs
        for operation, operator in tflite_objects.operations(tflite_objects.unpacked(content), model)
        if operation == "DEPTHWISE_CONV_2D"
    )
    made = ai_edge.quantize(content, "tflite_int8", PICTURES[:8], float_layers=[ai_edge.exactly(name)])
    model = tflite_objects.unpacked(made)
    kinds = {
        model.subgraphs[0].tensors[operator.outputs[0]].name.decode(): model.subgraphs[0]
        .tensors[operator.inputs[1]]
        .type
        for operation, operator in tflite_objects.operations(model, model.subgraphs[0])
        if operation == "DEPTHWISE_CONV_2D"
    }
    types = tflite_schema().TensorType
    assert kinds.pop(name) == types.FLOAT32
    assert set(kinds.values()) == {types.INT8}


@needs_extra
@pytest.mark.slow
@pytest.mark.parametrize("inputs", ["float32", "uint8"])
def test_an_export_carries_both_kinds_of_metadata(tmp_path, inputs):
    path = export(
        network(),
        tmp_path / "model_int8.tflite",
        "tflite_int8",
        metadata=METADATA,
        calibration=[np.concatenate([PICTURES, PICTURES, PICTURES])],
        inputs=inputs,
        float_layers=["depthwise_1"],
        engine="ai_edge",
    )
    assert artifact.read(path) == METADATA
    assert tflite_metadata.read(path) is not None
    raw: Any = load_predictor(path)(PICTURES[:2])
    assert raw.shape == (2, 6)
    model = tflite_objects.unpacked(path.read_bytes())
    weights = [operator.inputs[1] for name, operator in tflite_objects.operations(model, model.subgraphs[0])
               if name in ai_edge.CHANNELS]  # fmt: skip
    kinds = [model.subgraphs[0].tensors[number].type for number in weights]
    assert kinds.count(tflite_schema().TensorType.FLOAT32) == 1


@needs_extra
@pytest.mark.parametrize("format", ai_edge.PRECISIONS)
def test_files_of_any_origin_take_images_in_0_to_255(content, tmp_path, format):
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tflite_objects.rescaled(content, 127.5, 127.5))  # its images are in -1..1
    made = ai_edge.quantize_tflite(path, format, PICTURES[:16], scale=1 / 127.5, offset=-1.0)
    direct = ai_edge.quantize(content, format, PICTURES[:16])
    assert agreement(made, direct, tmp_path) >= 0.5
    with pytest.raises(UserError, match="must be in float32 throughout. Received: "):
        (tmp_path / "twice.tflite").write_bytes(made)
        ai_edge.quantize_tflite(tmp_path / "twice.tflite", format, PICTURES[:2])


def test_rounding_makes_up_for_errors():
    """The outputs of a dense layer change less than by rounding to the nearest level, and on average not at all."""
    random = np.random.default_rng(0)
    inputs = random.normal(1, 1, (4000, 12)) @ random.normal(0, 1, (12, 24))  # that depend on each other
    weights = random.normal(0, 1, (1, 16, 24))
    layer = rounding.Layer(None, "FULLY_CONNECTED", weights, (1, 1))
    layer.add(inputs[None].astype(np.float32))
    layer.finish()
    products = layer.products / layer.rows
    step = rounding._steps(weights, 7, products.diagonal(axis1=1, axis2=2)[:, None])
    rounded, nearest = rounding._gptq(weights, products, step, 7), rounding._nearest(weights, step, 7)
    errors = [np.square(inputs @ (made - weights)[0].T).mean() for made in (rounded, nearest)]
    assert errors[0] < errors[1] / 4
    assert np.abs(rounded / step - np.round(rounded / step)).max() < 1e-6 and np.abs(rounded / step).max() < 7.001


def test_depthwise_channels_are_rounded_on_their_own():
    """Each channel of a depthwise layer is a group: its result does not depend on the others."""
    random = np.random.default_rng(0)
    weights, products = random.normal(0, 1, (5, 1, 9)), random.normal(0, 1, (5, 40, 9))
    products = products.transpose(0, 2, 1) @ products
    step = rounding._steps(weights, 127, products.diagonal(axis1=1, axis2=2)[:, None])
    together = rounding._gptq(weights, products, step, 127)
    for i in range(5):
        alone = rounding._gptq(weights[i : i + 1], products[i : i + 1], step[i : i + 1], 127)
        np.testing.assert_allclose(together[i : i + 1], alone)


@needs_extra
def test_channels_of_almost_nothing_have_steps_that_runtimes_take(content, tmp_path):
    model = tflite_objects.unpacked(content)
    graph = model.subgraphs[0]
    for _, operator in [op for op in tflite_objects.operations(model, graph) if op[0] == "CONV_2D"][1:4]:
        weights = np.array(tflite_objects.constant(model, graph, operator, 1), np.float32)
        weights[0] *= 1e-12
        model.buffers[graph.tensors[operator.inputs[1]].buffer].data = weights.reshape(-1).view(np.uint8)
    content = tflite_objects.packed(model)
    for format in ("tflite_int8", "tflite_int16"):
        assert agreement(ai_edge.quantize(content, format, PICTURES), content, tmp_path) > 0.7


@needs_extra
def test_what_is_refused(content, tmp_path):
    with pytest.raises(UserError, match="calibration must hold images. Received: none"):
        ai_edge.quantize(content, "tflite_int8")
    with pytest.raises(UserError, match="the format must be one of tflite_dynamic, "):
        ai_edge.quantize(content, "onnx")
    with pytest.raises(UserError, match="the model must be one that can be quantized. Received: "):
        ai_edge.quantize(content, "tflite_int8", PICTURES[:2, :8])
    (tmp_path / "cut.tflite").write_bytes(content[:1000])
    with pytest.raises(UserError, match="must be a whole TFLite model"):
        ai_edge.quantize_tflite(tmp_path / "cut.tflite", "tflite_dynamic")


def test_engines_are_checked_with_the_config(monkeypatch):
    assert config.load("demo", ["export.engine=ai_edge", "export.formats=[tflite,tflite_int8,tflite_int4]"])
    assert config.load("demo", ["export.formats=[tflite_int4]"]).export.engine is None
    with pytest.raises(UserError, match="export.engine must be ai_edge for tflite_int4. Received: tensorflow"):
        config.load("demo", ["export.engine=tensorflow", "export.formats=[tflite_int4]"])
    with pytest.raises(UserError, match="export.engine must be .*tensorflow.* or .*ai_edge"):
        config.load("demo", ["export.engine=torch"])
    monkeypatch.setattr(formats, "ENGINE_PACKAGE", "not_installed")
    with pytest.raises(UserError, match=r'ai-edge-quantizer is not installed; .*"mobilenet-tf\[quantizer\]"'):
        formats.check_engine(formats.FORMATS["tflite_int4"], None)
    formats.check_engine(formats.FORMATS["tflite_int8"], "tensorflow")
    assert formats.FORMATS["tflite_int16"].engine() == "tensorflow"  # what is installed


def test_every_format_of_the_engine_is_one_of_the_table():
    able = {row.name for row in formats.FORMATS.values() if "ai_edge" in row.engines}
    assert able == set(ai_edge.PRECISIONS)


@needs_extra
def test_nothing_here_imports_tensorflow(content, tmp_path):
    (tmp_path / "model.tflite").write_bytes(content)
    code = (
        "import sys, numpy as np; from mobilenet_tf.export import ai_edge;"
        f"images = np.random.default_rng(0).uniform(0, 255, (4, {SIZE}, {SIZE}, 3)).astype('float32');"
        f"ai_edge.quantize_tflite(r'{tmp_path / 'model.tflite'}', 'tflite_int8', images);"
        "sys.exit('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_extra
@pytest.mark.slow
@pytest.mark.real_data
def test_a_well_known_segmentation_file(real_data, tmp_path):
    path = real_data / "models" / "deeplabv3_257_mv_gpu.tflite"
    random = np.random.default_rng(0).uniform(0, 255, (6, 9, 9, 3)).astype(np.float32)
    images = np.asarray(keras.ops.image.resize(random, (257, 257), "bilinear"))
    made = ai_edge.quantize_tflite(path, "tflite_int8", images[:4], scale=1 / 127.5, offset=-1.0, inputs="uint8")
    (tmp_path / "model.tflite").write_bytes(made)
    float_file, int8_file = open_tflite(path), open_tflite(tmp_path / "model.tflite")
    masks = []
    for interpreter, image in ((float_file, images[4] / 127.5 - 1), (int8_file, np.round(images[4]))):
        source = interpreter.get_input_details()[0]
        interpreter.set_tensor(source["index"], image[None].astype(source["dtype"]))
        interpreter.invoke()
        masks.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).argmax(-1))
    assert (masks[0] == masks[1]).mean() > 0.9
    assert len(made) < 0.4 * path.stat().st_size
