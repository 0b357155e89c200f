"""Models that Keras 2 and tf.keras saved: their configs, as those versions write them, with weights of Keras 3."""

import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from mobilenet_tf.inference.keras2 import repaired
from mobilenet_tf.inference.keras_loading import load_keras
from mobilenet_tf.utils.errors import UserError

SIZE = 8


def layer(kind, name, options=(), inputs=None, **call):
    """A layer of a functional model as Keras 2 stores it; `inputs` is (name, call, output)."""
    entry = {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **dict(options)}}
    return entry | {"name": name, "inbound_nodes": [] if inputs is None else [[[*inputs, call]]]}


def operation(function, name, inputs, **call):
    """An operation of TensorFlow in such a model."""
    entry = layer("TFOpLambda", name, {"function": function})
    return entry | {"inbound_nodes": [[*inputs, {**call, "name": None}]]}


def functional(name, entries, output):
    """A functional model as Keras 2 stores it."""
    source = [entries[0]["name"], 0, 0]
    config = {"name": name, "layers": entries, "input_layers": [source], "output_layers": [output]}
    return {"class_name": "Functional", "config": config}


def image(name="input_1"):
    return layer("InputLayer", name, {"batch_input_shape": [None, SIZE, SIZE, 3], "ragged": False, "sparse": False})


def nested_config():
    """What tf.keras stores for preprocess_input, a nested backbone with slashes in its names, pooling and softmax."""
    depthwise = {"kernel_size": [3, 3], "padding": "same", "groups": 1, "use_bias": False}
    backbone = functional(
        "net",
        [
            image(),
            layer("DepthwiseConv2D", "expanded_conv/depthwise", depthwise, ("input_1", 0, 0)),
            layer("BatchNormalization", "expanded_conv/BatchNorm", {"axis": [3]}, ("expanded_conv/depthwise", 0, 0)),
        ],
        ["expanded_conv/BatchNorm", 0, 0],
    )
    inner = backbone | {"name": "net", "inbound_nodes": [[["tf.math.subtract", 0, 0, {"training": False}]]]}
    return functional(
        "model",
        [
            image("input_2"),
            operation("math.truediv", "tf.math.truediv", ("input_2", 0, 0), y=127.5),
            operation("math.subtract", "tf.math.subtract", ("tf.math.truediv", 0, 0), y=1.0),
            inner,
            layer("GlobalAveragePooling2D", "pool", {}, ("net", 1, 0)),  # the second call: the first one made the model
            layer("Dense", "dense", {"units": 3, "activation": "softmax"}, ("pool", 0, 0)),
        ],
        ["dense", 0, 0],
    )


def equivalent(flip=False):
    """The same network in Keras 3."""
    x = source = keras.Input((SIZE, SIZE, 3))
    if flip:
        x = keras.ops.flip(x, -1)
    x = layers.Rescaling(1 / 127.5, -1.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, layers.Dense(3, activation="softmax")(x))


def randomize(model):
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, value.shape).astype(np.float32) for value in model.get_weights()])
    return model


def write_h5(path, config, weights):
    """A whole model as Keras 2 writes it: a group a layer, the nested model's weights in its own."""
    groups = [("input_2", []), ("tf.math.truediv", []), ("tf.math.subtract", []), ("net", weights[:5])]
    groups += [("pool", []), ("dense", weights[5:])]
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = "2.8.0", "tensorflow"
        file.attrs["model_config"] = json.dumps(config)
        stored = file.create_group("model_weights")
        stored.attrs["layer_names"] = [name.encode() for name, _ in groups]
        for name, values in groups:
            group = stored.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{i}:0".encode() for i in range(len(values))]
            for i, value in enumerate(values):
                group[f"{name}/{i}:0"] = value


IMAGES = np.random.default_rng(1).uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)


def test_a_model_of_keras_2_computes_what_it_did(tmp_path):
    want = randomize(equivalent())
    write_h5(tmp_path / "model.h5", nested_config(), want.get_weights())
    model = load_keras(tmp_path / "model.h5")
    np.testing.assert_allclose(model(IMAGES), want(IMAGES), atol=1e-6)
    assert "expanded_conv_depthwise" in [each.name for each in model.get_layer("net").layers]


def test_the_preprocessing_of_caffe_networks_swaps_the_channels(tmp_path):
    config, want = nested_config(), randomize(equivalent(flip=True))
    reverse = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]
    entry = operation("__operators__.getitem", "tf.__operators__.getitem", ("input_2", 0, 0))
    entry |= {"class_name": "SlicingOpLambda", "inbound_nodes": [["input_2", 0, 0, {"slice_spec": reverse}]]}
    config["config"]["layers"].insert(1, entry)
    config["config"]["layers"][2]["inbound_nodes"][0][0] = entry["name"]
    write_h5(tmp_path / "model.h5", config, want.get_weights())
    np.testing.assert_allclose(load_keras(tmp_path / "model.h5")(IMAGES), want(IMAGES), atol=1e-6)


def test_a_keras_archive_of_tf_keras_loads(tmp_path):
    """Its configs name modules of tf_keras for models, and those of Keras for layers."""
    path, want = tmp_path / "model.keras", randomize(equivalent())
    want.save(path)
    config = {
        "module": "tf_keras.src.engine.sequential",
        "class_name": "Sequential",
        "registered_name": "Sequential",
        "config": {
            "name": "sequential",
            "layers": [
                {"module": "keras.layers", **image()},
                {
                    "module": "keras.layers",
                    **layer("Rescaling", "rescaling", {"scale": 1 / 127.5, "offset": -1.0}),
                },
                *(
                    {"module": "keras.layers", **layer(*arguments)}
                    for arguments in (
                        ("RandomFlip", "flip", {"rng_type": "stateful"}),
                        ("DepthwiseConv2D", "depthwise", {"kernel_size": 3, "padding": "same", "use_bias": False}),
                        ("BatchNormalization", "bn", {"axis": [3]}),
                        ("GlobalAveragePooling2D", "pool"),
                        ("Dense", "dense", {"units": 3, "activation": "softmax"}),
                    )
                ),
            ],
        },
    }
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members |= {"config.json": json.dumps(config).encode(), "metadata.json": b'{"keras_version": "2.15.0"}'}
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    np.testing.assert_allclose(load_keras(path)(IMAGES, training=False), want(IMAGES), atol=1e-6)


def test_configs_of_keras_3_stay_as_they_are():
    config = nested_config()
    assert repaired(config, "3.11.3") == config
    assert repaired(config, "2.4.0") != config


@pytest.mark.parametrize("function", ["math.rsqrt", "nn.conv2d"])
def test_other_operations_are_refused_by_their_name(tmp_path, function):
    config = nested_config()
    config["config"]["layers"][1]["config"]["function"] = function
    write_h5(tmp_path / "model.h5", config, randomize(equivalent()).get_weights())
    with pytest.raises(UserError, match="TFOpLambda"):
        load_keras(tmp_path / "model.h5")


def test_weights_alone_are_named_as_such(tmp_path):
    equivalent().save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(UserError, match="weights alone.*--weights"):
        load_keras(tmp_path / "model.weights.h5")
