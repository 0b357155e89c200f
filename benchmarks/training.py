"""Images a second of one training step: our networks against keras.applications, and torchvision if it is there.

    python benchmarks/training.py [--torch] [--json]

Every contender has a process of its own, set up as its users run it: ours as the harness does it (float32, SGD, no XLA,
oneDNN on), keras.applications with the defaults of TensorFlow, `compile` and `fit`. They take turns, step by step, on
the same images and, ours and Keras's, from the same weights; the figure is the median step. Their losses are compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import turns
from rich.console import Console
from rich.table import Table

import mobilenet_tf
from mobilenet_tf.utils.progress import track

# name: our builder, Keras's builder, dropout off (so that losses can be compared), torchvision's name
NETWORKS = {
    "mobilenet_v1": (mobilenet_tf.MobileNetV1, keras.applications.MobileNet, {"dropout": 0.0}, None),
    "mobilenet_v2": (mobilenet_tf.MobileNetV2, keras.applications.MobileNetV2, {}, "mobilenet_v2"),
    "mobilenet_v3_large": (
        mobilenet_tf.MobileNetV3Large,
        keras.applications.MobileNetV3Large,
        {"dropout_rate": 0.0},
        "mobilenet_v3_large",
    ),
}
LEARNING_RATE = 0.01
CLASSES = 1000


def keras_step(model, images, labels, **compile_options):
    """A function that takes one step of `fit` and returns the loss."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(LEARNING_RATE, momentum=0.9), loss, **compile_options)
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())

    def step():
        model.reset_metrics()
        return float(model.train_function(batches)["loss"])

    return step


def torch_step(name, images, labels):
    """The same in PyTorch, channels last (its fastest layout on CPUs)."""
    modules: Any = sys.modules
    modules.setdefault("triton", None)  # it crashes when it is imported after TensorFlow
    import torch  # pyright: ignore[reportMissingImports] - optional, not installed for checks
    import torchvision  # pyright: ignore[reportMissingImports] - optional, not installed for checks

    x = torch.from_numpy(images.transpose(0, 3, 1, 2) / 127.5 - 1.0).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(labels).long()
    model = torchvision.models.get_model(name, weights=None).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9)

    def step():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def contender(key, name, size, batch):
    """The step function of one contender; ours and Keras's start from the same weights."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (batch, size, size, 3)).astype("float32")
    labels = rng.integers(0, CLASSES, batch).astype("int32")
    build_ours, build_keras, no_dropout, torch_name = NETWORKS[name]
    if key == "torchvision":
        return torch_step(torch_name, images, labels)
    options = {"input_shape": (size, size, 3), "weights": None, "classifier_activation": None, **no_dropout}
    theirs = build_keras(**options)
    if key == "mobilenet_tf":
        ours = build_ours(**options)
        ours.set_weights(theirs.get_weights())
        return keras_step(ours, images, labels, jit_compile=False)
    rescales = any(isinstance(layer, keras.layers.Rescaling) for layer in theirs.layers)
    return keras_step(theirs, images if rescales else images / 127.5 - 1, labels)


def serve(connection, key, *arguments):
    """The process of one contender: takes a step and sends (seconds, loss) whenever it is asked to."""
    step = contender(key, *arguments)
    while connection.recv():
        start = time.perf_counter()
        loss = step()
        connection.send((time.perf_counter() - start, loss))


def measure(name, size, batch, rounds, warmup, torch):
    """One row: images a second of every contender, our gain over Keras, and how far the two losses are apart."""
    keys = ["mobilenet_tf", "keras.applications", *(["torchvision"] if torch and NETWORKS[name][3] else [])]
    connections = turns.start(serve, keys, name, size, batch)
    seconds, losses = {key: [] for key in keys}, {key: [] for key in keys}
    for turn in range(warmup + rounds):
        for key, connection in connections.items():
            duration, loss = turns.ask(connection, "step")
            losses[key].append(loss)
            if turn >= warmup:
                seconds[key].append(duration)
    turns.stop(connections)
    ours, theirs = (np.array(losses[key]) for key in keys[:2])
    rate = {key: batch / statistics.median(times) for key, times in seconds.items()}
    return {
        "network": name,
        "images_per_second": {key: round(value, 2) for key, value in rate.items()},
        "gain": round(rate["mobilenet_tf"] / rate["keras.applications"], 3),
        "losses": {key: [round(value, 5) for value in losses[key]] for key in keys[:2]},
        "max_loss_difference": float(np.abs(ours / theirs - 1).max()),
    }


def table(rows, size, batch) -> Table:
    result = Table(title=f"Training step, {size}x{size}, batch {batch}: images/s (median)")
    for column in ("network", "mobilenet_tf", "keras.applications", "gain", "torchvision", "loss difference"):
        result.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        rate = {key: f"{value:.1f}" for key, value in row["images_per_second"].items()}
        result.add_row(
            row["network"],
            rate["mobilenet_tf"],
            rate["keras.applications"],
            f"{row['gain']:.2f}x",
            rate.get("torchvision", "-"),
            f"{row['max_loss_difference']:.1e}",
        )
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--torch", action="store_true", help="measure torchvision too (needs torch)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.torch and not importlib.util.find_spec("torchvision"):
        parser.error('torchvision is not installed; this needs: pip install "mobilenet-tf[torch]"')
    rows = []
    for name in track(args.networks, "networks"):
        rows.append(measure(name, args.size, args.batch, args.rounds, args.warmup, args.torch))
        print(f"{name}: {rows[-1]['images_per_second']}, gain {rows[-1]['gain']}", file=sys.stderr)
    if args.json:
        print(json.dumps(rows))
    else:
        Console().print(table(rows, args.size, args.batch))


if __name__ == "__main__":
    main()
