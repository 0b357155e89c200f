"""Every family of keras.applications at its smallest: float32, int8 and ONNX files do what the model does.

Two families are tried; MOBILENET_TF_ALL_FAMILIES=1 tries all (ten minutes).
"""

import os

import keras
import numpy as np
import pytest
from untrained import evened

from mobilenet_tf import workflow
from mobilenet_tf.foreign.declaration import Declaration
from mobilenet_tf.foreign.keras_model import rescales
from mobilenet_tf.foreign.named import find_application, preprocessing_of

FAMILIES = {  # the smallest network of each, and the size of its images in pixels
    "MobileNetV3Small": 64,
    "ResNet50V2": 32,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "ResNet50": 64,
    "DenseNet121": 64,
    "NASNetMobile": 64,
    "Xception": 71,
    "InceptionV3": 75,
    "InceptionResNetV2": 75,
    "VGG16": 64,
    "ConvNeXtTiny": 64,
}
CLASSES = 10
TRIED = FAMILIES if os.environ.get("MOBILENET_TF_ALL_FAMILIES") else list(FAMILIES)[:2]


def said_range(wanted):
    if wanted.is_identity:
        return "0..255"
    return "caffe" if wanted.is_bgr else "torch" if len(wanted.scale) == 3 else "-1..1"


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIED)
def test_a_family_exports(name, tmp_path):
    pytest.importorskip("tf2onnx")
    size, function = FAMILIES[name], find_application(name)
    keras.utils.set_random_seed(0)
    model = function(weights=None, input_shape=(size, size, 3), classes=CLASSES, classifier_activation=None)
    images = np.random.default_rng(0).integers(0, 256, (24, size // 8, size // 8, 3)).repeat(8, 1).repeat(8, 2)
    images = np.pad(images, [(0, 0), (0, size % 8), (0, size % 8), (0, 0)]).astype(np.float32)
    inputs = preprocessing_of(function)(images)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(inputs, training=True)  # the statistics of these images
    model = evened(model, inputs)
    model = keras.Model(model.inputs, keras.layers.Softmax()(model.outputs[0]))
    model.save(tmp_path / "model.keras")
    folder = tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(images):
        keras.utils.save_img(folder / f"{index:02}.png", image, scale=False)
    said = None if rescales(model) else said_range(preprocessing_of(function))
    results = workflow.export_run(
        tmp_path / "model.keras",
        ["tflite", "tflite_int8", "onnx"],
        declaration=Declaration(classes="numbered", input_range=said),
        overrides=[f"export.calibration={folder}", "export.parity_samples=24", "data.crop_fraction=null"],
        folder=tmp_path / "exports",
    )
    plain, int8, onnx = results
    assert all(not result.unsupported_ops for result in results)
    assert plain.parity.max_diff < 1e-4 and onnx.parity.max_diff < 1e-4
    assert plain.parity.agreement == onnx.parity.agreement == 1
    # Random weights amplify the rounding of their first layers; answers that have nothing in common differ by 0.16
    assert int8.parity.mean_diff < 0.1
