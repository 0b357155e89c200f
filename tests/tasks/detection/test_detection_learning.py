"""A detector learns a handful of photographs by heart, through the data, loss, decoding and metric of every run."""

import json
from collections import Counter

import keras
import pytest

from mobilenet_tf import config
from mobilenet_tf.data.source import evaluation_batches
from mobilenet_tf.inference.predict import keras_predictor
from mobilenet_tf.models import graph
from mobilenet_tf.tasks.detection.task import task
from mobilenet_tf.training.evaluate import evaluate
from mobilenet_tf.training.train import Trainer

OVERFIT_STEPS = (60, 20, 20)  # how far it has come is looked at after each


@pytest.mark.slow
@pytest.mark.real_data
def test_overfits_eight_photographs(real_data, tmp_path):
    root = real_data / "coco_mini"
    everything = json.loads((root / "annotations" / "instances_train2017.json").read_text())
    boxes = Counter(annotation["image_id"] for annotation in everything["annotations"])
    images = [image for image in everything["images"] if 1 <= boxes[image["id"]] <= 5][:8]
    ids = {image["id"] for image in images}
    annotations = [a for a in everything["annotations"] if a["image_id"] in ids]
    eight = tmp_path / "eight.json"
    eight.write_text(json.dumps(everything | {"images": images, "annotations": annotations}))
    cfg = config.load(
        "ssdlite_boxes",
        [
            f"data.root={root}",
            f"data.annotations={{train: {eight}, validation: {eight}}}",
            "data.images={train: train2017, validation: train2017}",
            f"model.weights={real_data / 'weights' / 'mobilenet_v2_160_dogs19.h5'}",
            "model.input_size=[224, 224]",
            "train.batch_size=8",
        ],
    )
    keras.utils.set_random_seed(0)
    source = task(cfg).source("train")
    [batch] = evaluation_batches(source, task(cfg).transform(training=False), batch_size=8)
    model = task(cfg).model(source)
    for layer in graph.leaves(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8
    trainer = Trainer(model, task(cfg).loss())
    rate = keras.optimizers.schedules.CosineDecay(0.002, sum(OVERFIT_STEPS))
    trainer.compile(keras.optimizers.Adam(rate, clipnorm=10), jit_compile=False)
    inputs, targets = task(cfg).encode(source)(batch)
    predictor = keras_predictor(model)

    def learned(steps: int) -> bool:
        for _ in range(steps):
            trainer.train_on_batch(inputs, targets)
        return evaluate(task(cfg), predictor, source)["AP"] >= 0.8

    assert any(learned(steps) for steps in OVERFIT_STEPS)
