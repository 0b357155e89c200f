"""Every network below every head: shapes; and one step, both exports and the cost of one pair for each network."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from untrained import adjusted

from mobilenet_tf.analysis.cost import cost
from mobilenet_tf.analysis.inspection import inspect
from mobilenet_tf.export.convert import export, tflite_ops
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.models import specs
from mobilenet_tf.models.graph import leaves
from mobilenet_tf.models.heads import classifier
from mobilenet_tf.models.layers import AttentionLogits, AttentionValues, LayerScale
from mobilenet_tf.prune import prune
from mobilenet_tf.tasks.detection.anchors import anchors_for
from mobilenet_tf.tasks.detection.model import detector
from mobilenet_tf.tasks.embedding.model import embedder
from mobilenet_tf.tasks.segmentation.model import segmenter

pytestmark = pytest.mark.usefixtures("few_rows")

SIZE = (64, 64)
NAMES = [name for name, net in specs.NETS.items() if not net.sizes]
OPTIONS = {"alpha": 0.35}
HEADS = {
    "ssdlite": lambda name: detector(name, 3, input_size=SIZE, **OPTIONS),
    "fpnlite": lambda name: detector(
        name, 3, input_size=SIZE, head="fpnlite", fpn_channels=16, fpn_layers=1, **OPTIONS
    ),
    "deeplabv3": lambda name: segmenter(name, 3, head="deeplabv3", filters=16, rates=[2], separable=True, **OPTIONS),
    "deeplabv3plus": lambda name: segmenter(name, 3, head="deeplabv3plus", filters=16, rates=[], **OPTIONS),
    "lraspp": lambda name: segmenter(name, 3, head="lraspp", filters=16, **OPTIONS),
    "attributes": lambda name: classifier(name, 3, input_size=SIZE, **OPTIONS),
    "embedding": lambda name: embedder(name, None, input_size=SIZE, dimension=16, **OPTIONS),
}
DENSE = ("deeplabv3", "deeplabv3plus", "lraspp")


def images(count=4):
    return np.random.default_rng(0).uniform(0, 255, (count, *SIZE, 3)).astype("float32")


def shapes(name, head):
    """{output: its shape for one image} of a pair, as the head's own definition says."""
    if head in ("ssdlite", "fpnlite"):
        count = len(anchors_for(name, input_size=SIZE, head=head))
        return {"class_logits": (count, 4), "box_regressions": (count, 4)}
    return {"embedding": (16,)} if head == "embedding" else {"": (None, None, 3) if head in DENSE else (3,)}


def outputs_of(result):
    """{name: values} of a model or predictor; a predictor gives an only output without its name."""
    return result if isinstance(result, dict) else {"": result}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_head_fits_every_network(name):
    for head, build in HEADS.items():
        assert {key: tuple(x.shape[1:]) for key, x in outputs_of(build(name).output).items()} == shapes(name, head), (
            head
        )


def spread(model, x):
    """The model with the statistics of images, and with scales of channels of which something is left, in place."""
    for layer in leaves(model):
        if isinstance(layer, LayerScale):  # the 1e-5 at which it starts leaves nothing of an image
            layer.gamma.assign(tf.fill(layer.gamma.shape, 0.5))
    return adjusted(model, x)


def test_sharp_attention_of_tiny_values_is_a_whole_file(tmp_path):
    """int8 softmax takes logits of any range, and the scale of a product is that of both its factors."""
    image = keras.Input((8, 8, 3))
    queries, keys = (keras.layers.Conv2D(4, 1)(image) for _ in range(2))
    values = keras.layers.Conv2D(4, 1, kernel_initializer=keras.initializers.RandomNormal(stddev=1e-9))(image)
    shares = keras.layers.Softmax()(AttentionLogits()([queries, keys]))
    model = keras.Model(image, AttentionValues()([shares, values, queries]))
    metadata = Metadata(task="any", classes=[], input_size=(8, 8), outputs="raw")
    x = np.random.default_rng(0).uniform(0, 255, (100, 8, 8, 3)).astype("float32")
    path = export(model, tmp_path / "int8.tflite", "tflite_int8", calibration=[x], metadata=metadata)
    assert tflite_ops(path)["BATCH_MATMUL"] == 2 and load_predictor(path)(x[:1]).shape == (1, 8, 8, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_network_learns_is_exported_and_counted(name, tmp_path):
    head = list(HEADS)[NAMES.index(name) % len(HEADS)]
    x = images()
    model = spread(HEADS[head](name), x)
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        raw = keras.tree.flatten(model(x, training=True))
        loss = tf.add_n([tf.reduce_mean(tf.square(tf.cast(one, "float32") - 1.0)) for one in raw])
    gradients = tape.gradient(loss, variables)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    keras.optimizers.SGD(0.01).apply(gradients, variables)

    options = {"metadata": Metadata(task="any", classes=[], input_size=SIZE, outputs="raw")}
    float_file = export(model, tmp_path / "model.tflite", "tflite", **options)
    wanted = outputs_of(model(x))
    for key, found in outputs_of(load_predictor(float_file)(x)).items():
        expected = np.asarray(wanted.get(key, next(iter(wanted.values()))))
        np.testing.assert_allclose(found, expected, atol=1e-4 * max(1.0, np.abs(expected).max()))
    int8_file = export(model, tmp_path / "int8.tflite", "tflite_int8", calibration=[images(100)], **options)
    outputs = len(shapes(name, head))
    assert tflite_ops(int8_file).get("DEQUANTIZE", 0) <= outputs, "operations stay in float"

    counted = cost(model, SIZE)
    assert counted.parameters == model.count_params() and counted.mult_adds > 1e6
    assert inspect(float_file) and inspect(int8_file)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v4_hybrid_large", "mobilenet_edgetpu_v2_xs"])
def test_attention_gelu_and_groups_become_onnx(name, tmp_path):
    x = images()
    model = spread(HEADS["attributes"](name), x)
    metadata = Metadata(task="any", classes=[], input_size=SIZE, outputs="raw")
    found = load_predictor(export(model, tmp_path / "model.onnx", "onnx", metadata=metadata))(x)
    np.testing.assert_allclose(found, model(x), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mobilenet_v4_conv_small", "mobilenet_v4_hybrid_medium", "mobiledet_edgetpu", "mobilenet_edgetpu_v2_xs"]
)
def test_expansions_of_every_kind_are_pruned(name):
    """Those with a depthwise convolution behind them and those without; groups and attention stay whole."""
    pruned = prune(classifier(name, 4, input_size=SIZE), name, 0.15)
    assert pruned.after.mult_adds <= 0.85 * pruned.before.mult_adds
    net = specs.find(name)
    assert len(pruned.widths) == sum(block.expand is not None and block.carried is not None for block in net.blocks)
    assert np.isfinite(pruned.model(images(1))).all()
