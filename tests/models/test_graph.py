"""Walking through Keras networks, held against a network whose parts are known."""

import keras
import pytest

from mobilenet_tf.models import graph


@pytest.fixture(scope="module")
def model():
    x = keras.Input((4,), name="inner_input")
    a = keras.layers.Dense(3, name="a")(x)
    inner = keras.Model(x, {"a": a, "b": keras.layers.Dense(2, name="b")(a)}, name="inner")
    image = keras.Input((4,), name="image")
    maps = inner(image)
    total = keras.layers.Concatenate(name="total")([maps["a"], maps["a"]])
    return keras.Model(image, {"total": total, "b": maps["b"]}, name="outer")


def names(layers):
    return [layer.name for layer in layers]


def test_layers(model):
    assert names(graph.child_layers(model)) == ["image", "inner", "total"]
    assert set(names(graph.all_layers(model))) == {"outer", "image", "inner", "total", "inner_input", "a", "b"}
    assert names(graph.leaves(model)) == ["image", "inner_input", "a", "b", "total"]


def test_inputs_and_consumers(model):
    inner = model.get_layer("inner")
    assert [tensor.shape for tensor in graph.inputs_of(model.get_layer("total"))] == [(None, 3), (None, 3)]
    assert graph.only_consumer(inner.get_layer("a")) is inner.get_layer("b")
    assert graph.only_consumer(inner.get_layer("b")) is None


def test_tensors_know_where_they_come_from(model):
    inner = model.get_layer("inner")
    taken = [graph.producer(tensor) for tensor in graph.consumed_tensors(model)]
    assert [index for layer, index in taken if layer is inner] == [0, 0, 1], "twice by total, and an output"
    assert graph.producer(inner.output["b"]) == (inner.get_layer("b"), 0)


def test_calls_come_in_the_order_of_computation(model):
    assert names(node.operation for node in graph.calls(model)) == ["inner", "total"]
    assert set(graph.output_structure(model)) == {"total", "b"}
    assert keras.tree.flatten(graph.input_structure(model)) == model.inputs
