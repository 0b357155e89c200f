"""Compares ways to compute BatchNormalization statistics by the length of a run: the table of docs/batch_norm.md.

    python benchmarks/batch_norm.py IMAGES [--weights mobilenet_v1_0.25_224.h5] [--steps 20 60 200 1000 5000]

IMAGES holds train/<class>/ and test/<class>/. MobileNetV1 0.25 is trained once for each number of steps; then its
weights, and their moving average, are scored on the test images with statistics computed in five ways. None of
them changes how the weights are trained.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from mobilenet_tf import config
from mobilenet_tf.models import graph
from mobilenet_tf.training import evaluate, optim  # before TensorFlow

# isort: split
import keras
import tensorflow as tf

from mobilenet_tf.data.source import steps_per_epoch, training_batches
from mobilenet_tf.inference.predict import keras_predictor
from mobilenet_tf.models.layers import BatchNormalization
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.training.batch_norm import Statistics
from mobilenet_tf.training.train import Trainer

DECAY = 0.998  # of the moving average of the weights, as in folder_v2
MOMENTUM = 0.99
STATISTICS_IMAGES = (128, 500, 2000)  # numbers of images that statistics are computed on


def experiment(root: Path, steps: int, size: int, weights: str | None, rate: float) -> None:
    """Trains for `steps` steps; prints a row for the weights as they are and two for their moving averages."""
    stage = {"train": "all", "duration": f"{steps} steps", "learning_rate": rate}
    model = {"backbone": "mobilenet_v1", "alpha": 0.25, "input_size": [size, size], "weights": weights}
    train = {"stages": [stage], "optimizer": {"name": "adamw"}, "schedule": {"name": "cosine", "warmup": "10 steps"}}
    data = {"reader": "folder", "root": str(root), "augment": {"color_jitter": 0.2}}
    cfg: Any = config.override(
        {"task": "classification", "model": model, "data": data, "train": train}, [], "benchmark"
    )
    keras.utils.set_random_seed(0)
    source, test = task(cfg).source("train"), task(cfg).source("test")
    network, scored = task(cfg).model(source), task(cfg).model(source)
    norms, twins = (
        [layer for layer in graph.leaves(n) if isinstance(layer, BatchNormalization)] for n in (network, scored)
    )
    ramp = Ramp(norms)
    averages = [optim.MovingAverage(network, DECAY) for _ in range(2)]
    uncapped, capped = averages[0].updater(network, 10**9), averages[1].updater(network, steps)

    def after_step(batch, logs):
        uncapped()
        capped()
        ramp.step.assign_add(1.0)

    trainer: Any = Trainer(network, task(cfg).loss())
    schedule = optim.schedule(cfg.train.schedule, rate, steps, steps, cfg.train.batch_size)
    trainer.compile(optim.optimizer(cfg.train.optimizer, schedule, network), jit_compile=False)
    transform, encode = task(cfg).transform(training=True), task(cfg).encode(source)
    batches = training_batches(source, transform, encode, batch_size=cfg.train.batch_size, seed=0)
    history = trainer.fit(
        batches,
        steps_per_epoch=steps,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=after_step)],
        shuffle=False,
        verbose=0,
    )
    images = batches.map(lambda images, targets: images)
    predictor, statistics = keras_predictor(scored), Statistics(scored, twins)

    def score() -> str:
        numbers = evaluate.evaluate(task(cfg), predictor, test, limit=1000)
        return f"{numbers['top1']:.3f} ({min(numbers['log_loss'], 99.99):5.2f})"

    seen = [v.numpy() for v in ramp.shadows]
    candidates = {"as they are": [v.numpy() for v in optim.floating(network)]}
    candidates |= {
        name: [v.numpy() for v in a.averages] for name, a in zip(("averaged", "short"), averages, strict=True)
    }
    for name, values in candidates.items():
        for variable, value in zip(optim.floating(scored), values, strict=True):
            variable.assign(value)
        cells = [score()]
        for variable, value in zip([v for t in twins for v in (t.moving_mean, t.moving_variance)], seen, strict=True):
            variable.assign(value)
        cells.append(score())
        for count in STATISTICS_IMAGES:
            taken = min(steps_per_epoch(count, cfg.train.batch_size), steps_per_epoch(source.count, 32))
            statistics.update(images.take(taken))
            cells.append(score())
        start = "scratch" if weights is None else "pretrained"
        print(f"| {start} | {steps} | {history.history['loss'][-1]:.3f} | {name} | {' | '.join(cells)} |", flush=True)


class Ramp:
    """Moving averages beside those of the layers, with a momentum that climbs from 0 (the bias-corrected average)."""

    def __init__(self, norms):
        self.step = tf.Variable(tf.constant(0.0))
        averages = [v for n in norms for v in (n.moving_mean, n.moving_variance)]
        self.shadows = [tf.Variable(tf.zeros_like(v)) for v in averages]
        shadow_of = {id(v): s for v, s in zip(averages, self.shadows, strict=True)}
        for norm in norms:
            norm.momentum = MOMENTUM
            norm._move = lambda average, value, move=norm._move: self.follow(
                shadow_of[id(average)], average, value, move
            )

    def follow(self, shadow, average, value, move):
        move(average, value)
        share = (1 - MOMENTUM) / (1 - tf.pow(MOMENTUM, self.step + 1))
        shadow.assign_add(share * (value - shadow))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--weights", help="pretrained weights; without them the runs start from scratch")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 60, 200, 1000, 5000])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.003)
    args = parser.parse_args()
    counts = " | ".join(f"{count} images" for count in STATISTICS_IMAGES)
    print(f"| start | steps | training loss | weights | moving | corrected | {counts} |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for steps in args.steps:
        experiment(args.images, steps, args.size, args.weights, args.rate)


if __name__ == "__main__":
    sys.exit(main())
