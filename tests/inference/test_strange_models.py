"""Model files that do more than compute, or would end the process, are refused; nothing of them is run to find out."""

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf.analysis import inspection
from mobilenet_tf.inference import tflite_check, tflite_versions
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.inference.tflite_schema import tflite_schema
from mobilenet_tf.utils.errors import UserError

STORED = Path(__file__).parents[1] / "stored" / "0.1.0.zip"
IMAGES = np.zeros((1, 4, 4, 3), np.float32)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """What version 0.1.0 exported."""
    folder = tmp_path_factory.mktemp("stored")
    with zipfile.ZipFile(STORED) as file:
        file.extractall(folder, [name for name in file.namelist() if name.startswith("classification/exports")])
    return folder / "classification" / "exports"


def saved(folder, change, table=None):
    """A SavedModel that returns its images, after `change` has been traced with (the images, the folder)."""
    module: Any = tf.Module()
    module.table = table

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 3), tf.float32, name="image")])
    def serve(image):
        with tf.control_dependencies(change(image, folder.parent) or []):
            return {"output": tf.identity(image)}

    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures=serve.get_concrete_function())
    return folder


def writes(image, folder):
    return [tf.io.write_file(str(folder / "written"), "x")]


def in_a_branch(image, folder):
    tf.cond(tf.reduce_sum(image) > 0, lambda: tf.size(tf.io.matching_files("/*")), lambda: 0)


def restores(image, folder):
    return [
        tf.raw_ops.RestoreV2(prefix=str(folder / "x"), tensor_names=["a"], shape_and_slices=[""], dtypes=["float"])[0]
    ]


def saves(image, folder):
    return [tf.raw_ops.SaveV2(prefix=str(folder / "x"), tensor_names=["a"], shape_and_slices=[""], tensors=[image])]


def reads_records(image, folder):
    tf.data.TFRecordDataset(str(folder / "x")).reduce(0, lambda count, _: count + 1)


def opens_a_table(image, folder):
    table = tf.raw_ops.HashTableV2(key_dtype=tf.string, value_dtype=tf.int64)
    return [
        tf.raw_ops.InitializeTableFromTextFileV2(
            table_handle=table, filename=str(folder / "x"), key_index=-2, value_index=-1
        )
    ]


WAYS = {
    writes: "WriteFile",
    lambda image, folder: tf.io.read_file(str(folder / "x")) is None: "ReadFile",
    lambda image, folder: [tf.py_function(lambda: 1, [], tf.int32)]: "EagerPyFunc",
    lambda image, folder: [tf.numpy_function(lambda: 1, [], tf.int64)]: "PyFunc",
    lambda image, folder: [tf.print(image, output_stream=f"file://{folder}/x")]: "PrintV2 to a file",
    lambda image, folder: [tf.raw_ops.Abort()]: "Abort",
    in_a_branch: "MatchingFiles",
    restores: "RestoreV2",
    saves: "SaveV2",
    reads_records: "TFRecordDataset",
    opens_a_table: "InitializeTableFromTextFileV2",
}


@pytest.mark.parametrize(("change", "name"), WAYS.items(), ids=WAYS.values())
def test_a_saved_model_that_reaches_out_is_refused_and_shown(tmp_path, change, name):
    folder = saved(tmp_path / "evil", change)
    with pytest.raises(UserError, match=rf"evil must only compute.*--trust.*Received: .*{name}") as caught:
        load_predictor(folder)
    assert "\n" not in str(caught.value)
    found = inspection.inspect(folder)
    assert name in found.unsupported_ops and found.outputs[0].shape == (1, 4, 4, 3)
    assert not (tmp_path / "written").exists()


def test_trust_opens_it(tmp_path):
    folder = saved(tmp_path / "mine", writes)
    np.testing.assert_array_equal(load_predictor(folder, trust=True)(IMAGES), IMAGES)
    assert (tmp_path / "written").read_text() == "x"


def test_saved_models_that_compute_need_no_flag(tmp_path, stored):
    assert load_predictor(stored / "saved_model").input_size == (32, 32)
    assert inspection.inspect(stored / "saved_model").unsupported_ops == []

    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a"], [1]), -1)

    def computes(image, folder):
        tf.print("to the terminal")
        tf.debugging.assert_near(image, image)
        last = tf.while_loop(lambda i: i < 3, lambda i: i + 1, [0])[0]
        return [last, tf.strings.length("x"), tf.image.flip_up_down(image), table.lookup(tf.constant("a"))]

    load_predictor(saved(tmp_path / "good", computes, table))


def test_assets_outside_of_the_folder_are_refused(tmp_path):
    from tensorflow.core.protobuf import saved_model_pb2

    folder = saved(tmp_path / "evil", lambda image, folder: None)
    message = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    message.meta_graphs[0].asset_file_def.add(filename="../../secret")
    (folder / "saved_model.pb").write_bytes(message.SerializeToString())
    with pytest.raises(UserError, match="must hold its assets itself"):
        load_predictor(folder)


# .tflite


def spots(content):
    """(tensor, place of its first scale in the file) of each quantized tensor."""
    graph = tflite_schema().Model.GetRootAs(content, 0).Subgraphs(0)
    for number in range(graph.TensorsLength()):
        quantization = graph.Tensors(number).Quantization()
        if quantization and quantization.ScaleLength():
            table = quantization._tab
            yield number, table.Vector(table.Offset(8))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-30, 1e20, 1e5])
def test_scales_on_which_the_runtime_would_end_the_process_are_one_line(tmp_path, stored, value):
    content = (stored / "model_int8.tflite").read_bytes()
    kinds = tflite_schema().TensorType
    graph = tflite_schema().Model.GetRootAs(content, 0).Subgraphs(0)
    weights = [(n, at) for n, at in spots(content) if graph.Tensors(n).Type() == kinds.INT8][:12]
    assert len(weights) == 12
    for _, at in weights:
        damaged = bytearray(content)
        struct.pack_into("<f", damaged, at, value)
        (tmp_path / "m.tflite").write_bytes(damaged)
        with pytest.raises(UserError, match=r"m\.tflite must be a whole TFLite model. Received: ") as caught:
            load_predictor(tmp_path / "m.tflite")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["model.tflite", "model_int8.tflite"])
def test_our_own_files_pass(stored, name):
    tflite_check.check((stored / name).read_bytes())


def test_the_least_runtime_follows_from_the_versions_of_the_operations(stored, tmp_path):
    path = stored / "model.tflite"
    content = path.read_bytes()
    assert tflite_versions.needed(content, path) == ("1.6", [])
    assert inspection.inspect(stored / "model_int8.tflite").min_runtime == "1.14"
    model = tflite_schema().ModelT.InitFromObj(tflite_schema().Model.GetRootAs(content, 0))
    import flatbuffers

    def changed(names, version):
        codes = {code.builtinCode: code for code in model.operatorCodes}
        for name in names:
            codes[getattr(tflite_schema().BuiltinOperator, name)].version = version
        model.metadata = []
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    assert tflite_versions.needed(changed(["FULLY_CONNECTED"], 12), path) == ("2.17", [])
    assert tflite_versions.needed(changed(["FULLY_CONNECTED"], 99), path) == ("1.6", ["FULLY_CONNECTED 99"])


# ONNX


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin", ""])
def test_onnx_weights_outside_of_the_folder_are_refused(tmp_path, location):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "secret.bin").write_bytes(bytes(192))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "secret.bin")
    save_onnx(onnx, tmp_path / "model" / "m.onnx", location)
    for act in (load_predictor, inspection.inspect):
        with pytest.raises(UserError, match=r"m\.onnx must have its weights in its own folder"):
            act(tmp_path / "model" / "m.onnx")


def test_onnx_weights_beside_the_file_are_read(tmp_path):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "m.onnx.data").write_bytes(np.ones(48, np.float32).tobytes())
    save_onnx(onnx, tmp_path / "m.onnx", "m.onnx.data")
    np.testing.assert_array_equal(load_predictor(tmp_path / "m.onnx")(IMAGES), IMAGES + 1)


def save_onnx(onnx, path, location):
    shape = (1, 4, 4, 3)
    tensor = onnx.TensorProto(name="w", data_type=1, dims=shape, data_location=1)
    tensor.external_data.add(key="location", value=location)
    node = onnx.helper.make_node("Add", ["image", "w"], ["output"])
    ends = [onnx.helper.make_tensor_value_info(name, 1, shape) for name in ("image", "output")]
    graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [tensor])
    opsets = [onnx.helper.make_opsetid("", 18)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
