"""Which .tflite files are fit for NPUs, and what is told of the others: exports in every format, and foreign files."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.analysis import inspection, npu
from mobilenet_tf.analysis.npu import Fitness, Obstacle
from mobilenet_tf.export.convert import export
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.tflite_schema import tflite_schema

SIZE = (16, 24)
METADATA = Metadata("classification", ["a", "b"], SIZE)
CALIBRATION = [np.random.default_rng(0).uniform(0, 255, (4, *SIZE, 3)).astype(np.float32)]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    images = keras.Input((*SIZE, 3), name="image")
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(8, 3, activation="relu6", name="first")(x)
    x = keras.layers.DepthwiseConv2D(3, name="second")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(images, keras.layers.Dense(2, activation="softmax", name="last")(x))


@pytest.fixture
def exported(model, tmp_path):
    def exported(format_, **options):
        options = {"calibration": CALIBRATION} | options if "int" in format_ else options
        return inspection.inspect(export(model, tmp_path / "model.tflite", format_, metadata=METADATA, **options)).npu

    return exported


@pytest.mark.filterwarnings("ignore:calibration should have")
@pytest.mark.parametrize("inputs", ["float32", "int8", "uint8"])
def test_int8_is_fit_whatever_its_ends(exported, inputs):
    assert exported("tflite_int8", inputs=inputs) == Fitness(True, ["int8"], [])
    assert str(Fitness(True, ["int8"], [])) == "yes: int8"


@pytest.mark.filterwarnings("ignore:calibration should have")
def test_int8_weights_with_int16_activations_are_fit(exported):
    found = exported("tflite_int16")
    assert found.fit and "int16" in found.activations and not found.obstacles
    assert str(found) == "yes: int8 weights, int16 activations"


@pytest.mark.parametrize("format_", ["tflite", "tflite_float16", "tflite_dynamic"])
def test_what_computes_in_floats_is_not(exported, format_):
    found = exported(format_)
    [obstacle] = found.obstacles
    assert not found.fit and obstacle.reason == "float" and obstacle.count >= 5 and len(obstacle.examples) == 3
    assert any("float32 CONV_2D at" in example and "first" in example for example in obstacle.examples)
    assert str(found).startswith(f"no, because {obstacle.count} operations compute in floats (float32 ")
    assert str(found).endswith(", …)")


@pytest.mark.filterwarnings("ignore:calibration should have")
def test_layers_kept_in_float_are_named(exported):
    [obstacle] = exported("tflite_int8", float_layers=["second"]).obstacles
    assert (obstacle.reason, obstacle.count) == ("float", 1)
    assert obstacle.examples[0].startswith("float32 DEPTHWISE_CONV_2D at ") and "second" in obstacle.examples[0]


@pytest.mark.filterwarnings("ignore:calibration should have")
def test_a_free_batch_size_is_named(exported):
    [obstacle] = exported("tflite_int8", dynamic_batch=True).obstacles
    assert obstacle.reason == "shape" and "serving_default_image:0" in obstacle.examples


def test_operations_of_tensorflow_are_named():
    @tf.function(input_signature=[tf.TensorSpec((4, 4), tf.float32)])
    def odd(x):
        return tf.linalg.inv(x)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([odd.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    found = npu.fitness(tflite_schema().Model.GetRootAs(converter.convert(), 0))
    [obstacle] = found.obstacles
    assert obstacle.reason == "operation" and obstacle.examples[0].startswith("FlexMatrixInverse at ")


@pytest.mark.parametrize(
    ("type_", "tensors", "expected"),
    [
        ("CONV_2D", [("int8", False), ("int8", True), ("int32", True), ("int8", False)], None),
        ("CONV_2D", [("int16", False), ("int8", True), ("int64", True), ("int16", False)], None),
        ("CONV_2D", [("float32", False), ("int8", True), ("float32", True), ("float32", False)], ("float", "float32")),
        ("CONV_2D", [("uint8", False), ("uint8", True), ("int32", True), ("uint8", False)], ("quantization", "uint8")),
        ("CONV_2D", [("int8", False), ("int4", True), ("int32", True), ("int8", False)], ("quantization", "int4")),
        ("CONV_2D", [("int16", False), ("int16", True), ("int64", True), ("int16", False)], ("quantization", "int16")),
        ("MUL", [("int16", False), ("int16", True), ("int16", False)], None),
        ("QUANTIZE", [("float32", False), ("int8", False)], None),
        ("DEQUANTIZE", [("float16", True), ("float32", False)], None),
        ("ARG_MAX", [("int8", False), ("int32", True), ("int64", False)], None),
        ("TFLite_Detection_PostProcess", [("float32", False)], ("operation", "")),
    ],
)
def test_the_types_of_an_operation(type_, tensors, expected):
    assert npu._obstacle(type_, tensors) == expected


def test_how_it_is_told():
    one, many = Obstacle("shape", 1, ["image"]), Obstacle("float", 9, ["float32 MUL at a", "b", "c"])
    told = str(Fitness(False, [], [many, one]))
    assert told == (
        "no, because 9 operations compute in floats (float32 MUL at a, b, c, …); 1 tensor has no fixed shape (image)"
    )


def test_whole_numbers_alone_are_not_quantized():
    @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.int32)])
    def double(x):
        return x + x

    content = tf.lite.TFLiteConverter.from_concrete_functions([double.get_concrete_function()]).convert()
    found = npu.fitness(tflite_schema().Model.GetRootAs(content, 0))
    assert str(found) == "no, because nothing in it is quantized to int8 or int16"


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("coco_ssd_mobilenet_v1_quant.tflite", {"quantization": 63, "operation": 1}),
        ("deeplabv3_257_mv_gpu.tflite", {"float": 70}),
    ],
)
def test_files_of_other_people(real_data, name, counts):
    found = inspection.inspect(real_data / "models" / name)
    assert {obstacle.reason: obstacle.count for obstacle in found.npu.obstacles} == counts
    told = json.loads(json.dumps(found.to_dict()))["npu"]
    assert told["fit"] is False and told["obstacles"][0]["count"] == next(iter(counts.values()))
    assert ("NPU", str(found.npu)) in inspection._facts(found)
