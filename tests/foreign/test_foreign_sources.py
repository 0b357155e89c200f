"""Keras models and SavedModels of others become networks that take 0..255; their files give the same answers."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from mobilenet_tf import workflow
from mobilenet_tf.foreign.declaration import Declaration
from mobilenet_tf.foreign.keras_model import ends_in, rescales
from mobilenet_tf.foreign.sources import open_source
from mobilenet_tf.inference.predict import keras_predictor, load_predictor
from mobilenet_tf.utils.errors import UserError

SIZE = 24
IMAGES = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3)).astype(np.float32)
CLASSES = ["a", "b", "c"]
TESTED = Declaration(classes=CLASSES, input_range="-1..1")


def network(*end, channels=3, size=SIZE, begin=()):
    """A small network with random statistics; `end` are its last layers."""
    keras.utils.set_random_seed(1)
    x = image = keras.Input((size, size, channels))
    for layer in begin:
        x = layer(x)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6)(x)
    x = layers.GlobalAveragePooling2D()(x)
    for layer in end or (layers.Dense(3, activation="softmax"),):
        x = layer(x)
    model = keras.Model(image, x)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.moving_mean.assign(np.linspace(-0.5, 0.5, 8))
            layer.moving_variance.assign(np.linspace(0.5, 1.5, 8))
    return model


def saved(tmp_path, model, name="model.keras"):
    model.save(tmp_path / name)
    return tmp_path / name


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_the_range_becomes_a_part_of_the_network(tmp_path, name):
    model = network()
    opened = open_source(saved(tmp_path, model, name), TESTED)
    np.testing.assert_allclose(opened.network(IMAGES), model(IMAGES / 127.5 - 1), atol=1e-5)
    assert opened.metadata.outputs == "softmax" and opened.metadata.input_size == (SIZE, SIZE)


def test_a_sequential_model_of_models_opens(tmp_path):
    """As Teachable Machine's are built."""
    inner = keras.Sequential([network(layers.Identity())])
    model = keras.Sequential([keras.Input((SIZE, SIZE, 3)), inner, keras.Sequential([layers.Dense(3, "softmax")])])
    opened = open_source(saved(tmp_path, model), TESTED)
    np.testing.assert_allclose(opened.network(IMAGES), model(IMAGES / 127.5 - 1), atol=1e-5)


def test_a_saved_model_is_a_layer_of_the_network(tmp_path):
    model = network()
    model.export(tmp_path / "saved", verbose=False)
    opened = open_source(tmp_path / "saved", TESTED)
    np.testing.assert_allclose(opened.network(IMAGES), model(IMAGES / 127.5 - 1), atol=1e-5)
    assert opened.metadata.outputs == "softmax" and not opened.is_saveable
    with pytest.raises(UserError, match="a SavedModel has no layers"):
        workflow.import_model(tmp_path / "saved", tmp_path / "imported.keras", TESTED)


def test_gray_networks_take_the_luminance(tmp_path):
    model = network(channels=1)
    opened = open_source(saved(tmp_path, model), TESTED)
    gray = (IMAGES / 127.5 - 1) @ np.float32([[0.299], [0.587], [0.114]])
    np.testing.assert_allclose(opened.network(IMAGES), model(gray), atol=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", None])
def test_one_output_becomes_two_classes(tmp_path, activation):
    model = network(layers.Dense(1, activation=activation))
    opened = open_source(saved(tmp_path, model), Declaration(classes=["no", "yes"], input_range="0..255"))
    value = np.asarray(model(IMAGES))[:, 0]
    share = value if activation else 1 / (1 + np.exp(-value))
    raw = keras_predictor(opened.network, opened.metadata)(IMAGES)
    powers = np.exp(raw - raw.max(-1, keepdims=True))
    np.testing.assert_allclose((powers / powers.sum(-1, keepdims=True))[:, 1], share, atol=1e-4)


def test_a_network_for_any_size_gets_the_one_that_is_said(tmp_path):
    model = network(size=None)
    path = saved(tmp_path, model)
    with pytest.raises(UserError, match="--size must give the size"):
        open_source(path, TESTED)
    opened = open_source(path, Declaration(classes=CLASSES, input_range="0..1", size=(20, 28)))
    assert opened.network.input_shape == (None, 20, 28, 3)


def test_a_missing_range_is_asked_for_with_what_the_network_answers(tmp_path):
    with pytest.raises(UserError, match="on 16 drawn scenes it answers under 0..255: '[abc]' most often") as caught:
        open_source(saved(tmp_path, network()), Declaration(classes=CLASSES))
    text = str(caught.value)
    assert (
        text.startswith("--input-range must say") and "; -1..1: " in text and "; caffe: " in text and "\n" not in text
    )


@pytest.mark.parametrize(
    ("begin", "known"),
    [
        ((), False),
        ((layers.Rescaling(1 / 127.5, -1.0),), True),
        ((layers.Rescaling(1 / 255), layers.Normalization(mean=[0.4] * 3, variance=[0.05] * 3)), True),
        ((layers.Rescaling(255.0),), False),  # for images in 0..1
        ((layers.RandomFlip(), layers.Rescaling(1 / 255)), True),
        ((layers.Conv2D(3, 1), layers.Rescaling(1 / 255)), False),
    ],
)
def test_a_network_that_rescales_needs_no_range(begin, known):
    assert rescales(network(begin=begin)) == known


@pytest.mark.parametrize(
    ("end", "ending"),
    [
        ((layers.Dense(3),), "logits"),
        ((layers.Dense(3, activation="softmax"),), "softmax"),
        ((layers.Dense(3), layers.Activation("sigmoid")), "sigmoid"),
        ((layers.Dense(3), layers.Softmax()), "softmax"),
        ((layers.Dense(3), layers.Softmax(), layers.Dropout(0.1), layers.Flatten()), "softmax"),
        ((keras.Sequential([layers.Dense(3), layers.Softmax()]),), "softmax"),
        ((layers.Dense(3), keras.ops.softmax), "softmax"),
        ((layers.Dense(3), layers.UnitNormalization()), None),
        ((layers.Dense(3, activation="relu"),), None),
    ],
)
def test_the_last_layer_says_what_the_outputs_are(end, ending):
    assert ends_in(network(*end).outputs[0]) == ending


def test_a_model_of_others_is_exported_and_compared(tmp_path, capsys):
    path, folder = saved(tmp_path, network()), tmp_path / "images"
    folder.mkdir()
    for index, image in enumerate(IMAGES):
        keras.utils.save_img(folder / f"{index}.png", image)
    results = workflow.export_run(
        path,
        ["tflite", "tflite_int8"],
        overrides=[f"export.calibration={folder}", "data.crop_fraction=null"],
        declaration=TESTED,
        folder=tmp_path / "exports",
    )
    assert [result.file for result in results] == ["model.tflite", "model_int8.tflite"]
    assert results[0].parity.max_diff < 1e-5 and results[0].parity.images == len(IMAGES)
    assert not results[0].reference, "no data was given, so that no metric is measured"
    predictor = load_predictor(tmp_path / "exports" / "model.tflite")
    want = network()(IMAGES[:1] / 127.5 - 1)
    np.testing.assert_allclose(np.exp(predictor(IMAGES[:1])), want, atol=1e-4)
    [row] = workflow.predict_files(tmp_path / "exports" / "model.tflite", [str(folder / "0.png")])
    assert row["label"] == CLASSES[int(np.argmax(want))]


def test_an_imported_model_is_one_of_this_package(tmp_path):
    model = network()
    metadata = workflow.import_model(saved(tmp_path, model), tmp_path / "ours.keras", TESTED)
    assert json.loads(metadata.to_json())["classes"] == CLASSES
    assert not workflow.is_foreign(tmp_path / "ours.keras")
    np.testing.assert_allclose(
        np.exp(load_predictor(tmp_path / "ours.keras")(IMAGES)), model(IMAGES / 127.5 - 1), atol=1e-5
    )
    with pytest.raises(UserError, match="--input-range must be left out for .*ours.keras, which says so itself"):
        workflow.export_run(tmp_path / "ours.keras", ["tflite"], declaration=Declaration(input_range="0..1"))
    with pytest.raises(UserError, match="needs no import"):
        workflow.import_model(tmp_path / "ours.keras", tmp_path / "again.keras")


def test_several_inputs_and_recurrent_networks_are_one_line(tmp_path):
    first, second = keras.Input((SIZE, SIZE, 3)), keras.Input((4,))
    pooled = layers.GlobalAveragePooling2D()(first)
    two = keras.Model([first, second], layers.Dense(3)(layers.Concatenate()([pooled, second])))
    with pytest.raises(UserError, match="must take one input, images. Received: 2 inputs"):
        open_source(saved(tmp_path, two), TESTED)
    sequence = keras.Sequential([keras.Input((10, 8)), layers.LSTM(4), layers.Dense(3)])
    with pytest.raises(UserError, match="vectors or sequences"):
        open_source(saved(tmp_path, sequence), TESTED)


def test_names_need_weights_and_checkpoints_an_architecture(tmp_path):
    with pytest.raises(UserError, match="--weights must be imagenet or a .h5 file"):
        open_source("mobilenet_v1", TESTED)
    with pytest.raises(UserError, match="--weights must be given for the name of a network alone"):
        open_source(saved(tmp_path, network()), Declaration(weights="imagenet"))
    with pytest.raises(UserError, match="--architecture must be given for a checkpoint of PyTorch alone"):
        open_source(saved(tmp_path, network()), Declaration(architecture="mobilenet_v2"))


def test_a_network_of_keras_applications_holds_its_own_preprocessing(tmp_path):
    """The same weights by Keras's name and by ours give the same answers."""
    model = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(32, 32, 3), classes=3)
    model.save_weights(tmp_path / "net.weights.h5")
    said = Declaration(classes=CLASSES, weights=str(tmp_path / "net.weights.h5"), size=(32, 32))
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    theirs = open_source("MobileNet", said)
    np.testing.assert_allclose(theirs.network(images), model(images / 127.5 - 1), atol=1e-5)
    ours = open_source("mobilenet_v1", said)
    np.testing.assert_allclose(keras.ops.softmax(ours.network(images)), theirs.network(images), atol=1e-4)
