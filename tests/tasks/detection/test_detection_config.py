"""The keys of detection: what is refused, and that every shipped experiment fits its model and its loss."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from mobilenet_tf import config
from mobilenet_tf.data.source import training_batches
from mobilenet_tf.tasks.detection import loss
from mobilenet_tf.tasks.detection.anchors import anchors_for
from mobilenet_tf.tasks.detection.task import anchors, task
from mobilenet_tf.utils.errors import UserError

SHIPPED = sorted(name for name, path in config.shipped().items() if path.parent.name == "detection")
SMALL = {"task": "detection", "data": {"reader": "scenes"}, "train": {"stages": [{"learning_rate": 0.1}]}}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_give_anchors_and_a_loss(name):
    cfg = config.load(name, ["data.root=somewhere"])
    boxes = anchors(cfg)
    assert boxes.ndim == 2 and boxes.shape[1] == 4 and np.isfinite(boxes).all()
    keys = cfg.loss.model_dump(exclude={"match_iou", "ignore_iou"})
    assert callable(loss.loss(boxes, scores=cfg.model.scores, **keys))


@pytest.mark.parametrize("name", SHIPPED)
def test_headers_give_the_command(name):
    header = [line for line in config.find(name).read_text().splitlines() if line.startswith("#")]
    assert any(f"mobilenet-tf train {name}" in line for line in header)
    assert all(len(line) <= 120 for line in config.find(name).read_text().splitlines())


def test_the_torchvision_recipe_has_its_anchors():
    cfg = config.load("ssdlite_mobilenet_v3_large_torchvision", ["data.root=somewhere"])
    reference = anchors_for("mobilenet_v3_large", anchors={"layout": "ssd", "max_side": 1.0})
    np.testing.assert_array_equal(anchors(cfg), reference)
    assert len(reference) == 3234  # torchvision's, at 320


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.reader=coco", "data.root must be set for data.reader=coco"),
        ("data.reader=tfds", "data.name must be set"),
        ("model.anchors.layout=custom", "model.anchors.boxes must be set for layout=custom"),
        ("model.scores=tanh", "model.scores must be 'softmax' or 'sigmoid'"),
        ("model.anchor.clip=true", "unknown key model.anchor"),
        ("detections.iou_threshold=2", "detections.iou_threshold"),
        ("metric.backend=numpy", "metric.backend must be"),
    ],
)
def test_mistakes_are_one_line(override, message):
    with pytest.raises(UserError, match=message) as error:
        config.override(SMALL, [override], "small")
    assert "\n" not in str(error.value)


def test_a_config_survives_saving(tmp_path):
    cfg = config.load("ssdlite_mobilenet_v2_bccd", ["data.root=/data"])
    cfg.save(tmp_path / "config.yaml")
    assert config.load(tmp_path / "config.yaml") == cfg
    assert isinstance(cfg.data.root, Path)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_take_a_real_step(name):
    """On the built-in images at 32 px: the input, the network, the loss and its gradient are the config's."""
    small = ["data.root=somewhere", "model.weights=null", "model.input_size=[32, 32]", "model.alpha=0.35"]
    scenes = ["data.reader=scenes", "data.counts={train: 4, validation: 2, test: 2}"]
    cfg = config.load(name, [*small, *scenes])
    if cfg.model.anchors.boxes:  # of six maps; at 32 px there are two
        cfg = config.override(cfg.to_dict(), [f"model.anchors.boxes={json.dumps(cfg.model.anchors.boxes[:2])}"], name)
    source = task(cfg).source("train")
    batches = training_batches(source, task(cfg).transform(True), task(cfg).encode(source), batch_size=4, seed=0)
    images, targets = next(iter(batches))
    network = task(cfg).model(source)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(task(cfg).loss()(targets, network(images, training=True)))
    gradients = tape.gradient(loss, network.trainable_variables)
    assert np.isfinite(loss) and loss > 0
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
