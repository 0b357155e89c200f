"""The rescaling in front of the graph of a float .tflite file: outputs, names, versions and alignment."""

from typing import Any

import keras
import numpy as np
import pytest

from mobilenet_tf.export import tflite_objects
from mobilenet_tf.export.convert import export
from mobilenet_tf.inference import tflite_versions
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.tflite import open_tflite, tflite_outputs
from mobilenet_tf.inference.tflite_schema import operators, tflite_schema
from mobilenet_tf.utils.errors import UserError

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
RANGES: dict[str, Any] = {
    "0..255": (1.0, 0.0),
    "-1..1": (1 / 127.5, -1.0),
    "0..1": (1 / 255, 0.0),
    "shifted": (1.0, -128.0),
    "torch": (1 / (255 * STD), -MEAN / STD),
}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A small float file, with a convolution whose padding shows where the rescaling stands."""
    keras.utils.set_random_seed(0)
    images = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, 2, "same", activation="relu6")(images)
    y = keras.layers.Add()([x, keras.layers.DepthwiseConv2D(3, padding="same")(x)])
    net = keras.Model(images, keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(y)))
    metadata = Metadata("classification", list("abcde"), (32, 32))
    return export(net, tmp_path_factory.mktemp("float") / "model.tflite", "tflite", metadata=metadata).read_bytes()


def opened(content, path):
    path.write_bytes(content)
    return open_tflite(path)


def run(interpreter, image):
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image.astype(np.float32))
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in tflite_outputs(interpreter).values()]


def close(content, wanted, scale, offset, folder):
    """Whether a file gives for images in 0..255 what another one gives for rescaled ones."""
    changed, original = opened(content, folder / "new.tflite"), opened(wanted, folder / "old.tflite")
    image = np.random.default_rng(0).uniform(0, 255, original.get_input_details()[0]["shape"])
    pairs = zip(run(changed, image), run(original, image * scale + offset), strict=True)
    return all(np.abs(got - want).max() < 1e-4 for got, want in pairs)


@pytest.mark.parametrize("name", RANGES)
def test_images_in_0_to_255_give_what_rescaled_ones_gave(content, tmp_path, name):
    scale, offset = RANGES[name]
    changed = tflite_objects.rescaled(content, scale, offset)
    assert close(changed, content, scale, offset, tmp_path)
    model = tflite_schema().Model.GetRootAs(changed, 0)
    added = int(np.any(np.not_equal(scale, 1))) + int(np.any(np.not_equal(offset, 0)))
    before = tflite_schema().Model.GetRootAs(content, 0).Subgraphs(0).OperatorsLength()
    assert model.Subgraphs(0).OperatorsLength() == before + added


def test_names_stay(content, tmp_path):
    old = opened(content, tmp_path / "old.tflite")
    new = opened(tflite_objects.rescaled(content, 1 / 127.5, -1.0), tmp_path / "new.tflite")
    assert new.get_signature_list() == old.get_signature_list()
    assert [d["name"] for d in new.get_input_details()] == [d["name"] for d in old.get_input_details()]
    assert list(tflite_outputs(new)) == ["logits"]


def test_a_second_rescaling_stands_before_the_first(content, tmp_path):
    once = tflite_objects.rescaled(content, 1 / 127.5, -1.0)
    assert close(tflite_objects.rescaled(once, 2.0, 3.0), once, 2.0, 3.0, tmp_path)


def test_a_file_without_a_signature_and_with_equal_names_gets_both(content, tmp_path):
    model = tflite_objects.unpacked(content)
    model.signatureDefs = None
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"same \xff"
    bare = tflite_objects.packed(model)
    changed = tflite_objects.rescaled(bare, 1 / 255, 0.0)
    assert opened(changed, tmp_path / "new.tflite").get_signature_list()["serving_default"]["inputs"] == ["image"]
    names = [tensor.name for tensor in tflite_objects.unpacked(changed).subgraphs[0].tensors]
    assert len(set(names)) == len(names)


def test_weights_are_aligned_and_bounded(content):
    changed = tflite_objects.rescaled(content, 1 / 127.5, -1.0)
    model = tflite_schema().Model.GetRootAs(changed, 0)
    base = np.frombuffer(changed, np.uint8).ctypes.data
    for number in range(model.BuffersLength()):
        if model.Buffers(number).DataLength():
            assert (model.Buffers(number).DataAsNumpy().ctypes.data - base) % 16 == 0
    assert len(changed) < len(content) + 4096


def test_float_operations_keep_their_versions(content, tmp_path):
    changed = tflite_objects.rescaled(content, 1 / 127.5, -1.0)
    known = tflite_versions.needed(content, tmp_path / "a.tflite")
    assert tflite_versions.needed(changed, tmp_path / "a.tflite") == known


def test_every_version_is_known_to_a_runtime():
    for name, versions in tflite_objects.VERSIONS.items():
        assert max(versions) <= len(tflite_versions.VERSIONS[name]), name


@pytest.mark.parametrize(
    ("scale", "offset", "message"),
    [
        ([1.0, 2.0], 0.0, "scale must be a number, or one for each of 3 channels"),
        (1.0, [0.0] * 4, "offset must be a number, or one for each of 3 channels"),
        (float("nan"), 0.0, "scale must be a number"),
    ],
)
def test_wrong_numbers_are_one_line(content, scale, offset, message):
    with pytest.raises(UserError, match=message):
        tflite_objects.rescaled(content, scale, offset)


def test_other_inputs_are_refused(content):
    model = tflite_objects.unpacked(content)
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].type = tflite_schema().TensorType.UINT8
    with pytest.raises(
        UserError, match=r"must have one input, float32 \[N, H, W, C\]. Received: uint8 \[1, 32, 32, 3\]"
    ):
        tflite_objects.image_input(model)
    model.subgraphs[0].inputs = [*model.subgraphs[0].inputs, 1]
    with pytest.raises(UserError, match="must have one input"):
        tflite_objects.image_input(model)


@pytest.mark.real_data
def test_a_well_known_file_takes_images_in_0_to_255(real_data, tmp_path):
    path = real_data / "models" / "deeplabv3_257_mv_gpu.tflite"
    changed = tflite_objects.rescaled(path.read_bytes(), 1 / 127.5, -1.0)
    assert close(changed, path.read_bytes(), 1 / 127.5, -1.0, tmp_path)
    assert operators(tflite_schema().Model.GetRootAs(changed, 0))[:2] == ["MUL", "ADD"]
