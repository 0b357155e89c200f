"""Training step and inference of DeepLabV3 and LR-ASPP on V3-Large: ours against torchvision's, on this CPU.

    python benchmarks/segmentation.py [--size 520] [--batch 4] [--json]

Both train the same network from random weights: torchvision's recipe without its auxiliary classifier (SGD with
momentum, mean cross entropy), on the same images, channels last in PyTorch, the fastest it has. Every contender has a
process of its own; they take turns, step by step, and the figure is the median. Inference is of one image, in TFLite
and in PyTorch (eval, no gradients), on the same number of threads. "plain" is our network with Keras's own dilated
convolutions.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import turns
from rich.console import Console
from rich.table import Table

HEADS = {"deeplabv3": {"rates": [12, 24, 36]}, "lraspp": {}}
CLASSES = 21
LEARNING_RATE = 0.01
CONTENDERS = ("mobilenet_tf", "plain", "torchvision")


def data(size, batch):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (batch, size, size, 3)).astype("float32")
    return images, rng.integers(0, CLASSES, (batch, size, size)).astype("uint8")


def ours(head, size, batch, plain=False):
    """(a step of training, a call of the exported TFLite file)"""
    import keras
    import tensorflow as tf

    from mobilenet_tf.export import convert
    from mobilenet_tf.inference import artifact
    from mobilenet_tf.inference.predict import load_predictor
    from mobilenet_tf.tasks.segmentation import export, loss
    from mobilenet_tf.tasks.segmentation import model as models
    from mobilenet_tf.training.train import Trainer

    if plain:
        models.Conv2D = keras.layers.Conv2D
    keras.utils.set_random_seed(0)
    model = models.segmenter("mobilenet_v3_large", CLASSES, head=head, **HEADS[head])
    trainer: Any = Trainer(model, loss.loss())
    trainer.compile(keras.optimizers.SGD(LEARNING_RATE, momentum=0.9), jit_compile=False)
    images, mask = data(size, batch)
    targets = {"mask": tf.constant(mask), "weights": tf.ones(mask.shape)}
    trainer.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((images, targets)).repeat())

    def exported():
        metadata = artifact.Metadata("segmentation", [str(i) for i in range(CLASSES)], (size, size))
        path = Path(tempfile.mkdtemp()) / "model.tflite"
        convert.export(export.serving_model(model), path, "tflite", metadata=metadata)
        predictor = load_predictor(path, threads=os.cpu_count())
        return lambda: predictor(images[:1])

    return lambda: trainer.train_function(batches), exported


def theirs(head, size, batch):
    """(a step of training, a call)"""
    modules: Any = sys.modules
    modules.setdefault("triton", None)  # it crashes when it is imported after TensorFlow
    import torch  # pyright: ignore[reportMissingImports] - optional, not installed for checks
    from torchvision.models import segmentation  # pyright: ignore[reportMissingImports] - optional, not installed for checks

    torch.manual_seed(0)
    build = getattr(segmentation, f"{head}_mobilenet_v3_large")
    model = build(weights=None, weights_backbone=None, num_classes=CLASSES).to(memory_format=torch.channels_last)
    images, mask = data(size, batch)
    x = torch.from_numpy(images.transpose(0, 3, 1, 2) / 127.5 - 1).contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(mask).long()
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9)

    def step():
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x)["out"], y).backward()
        optimizer.step()

    def call():
        with torch.inference_mode():
            model(x[:1])

    def ready():
        model.eval()
        return call

    return step, ready


def serve(connection, key, head, size, batch):
    """The process of one contender: does what it is asked to and sends the seconds it took."""
    step, ready = theirs(head, size, batch) if key == "torchvision" else ours(head, size, batch, key == "plain")
    call: Any = None
    while order := connection.recv():
        if order == "infer" and call is None:
            call = ready()
        start = time.perf_counter()
        (step if order == "train" else call)()
        connection.send(time.perf_counter() - start)


def measure(head, keys, size, batch, rounds, calls):
    """{contender: {"train": images a second, "infer": milliseconds an image}}"""
    connections = turns.start(serve, keys, head, size, batch, ours=(turns.OURS, "plain"))
    seconds = {key: {"train": [], "infer": []} for key in keys}
    for order, count in (("train", rounds), ("infer", calls)):
        for turn in range(count + 2):
            for key, connection in connections.items():
                if order == "infer" and key == "plain":  # exports are the same
                    continue
                duration = turns.ask(connection, order)
                if turn >= 2:
                    seconds[key][order].append(duration)
    turns.stop(connections)
    return {
        key: {
            "train": round(batch / statistics.median(times["train"]), 3),
            "infer": round(1000 * statistics.median(times["infer"]), 1) if times["infer"] else None,
        }
        for key, times in seconds.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=["mobilenet_tf", "torchvision"])
    parser.add_argument("--size", type=int, default=520)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5, help="timed training steps of each")
    parser.add_argument("--calls", type=int, default=15, help="timed inferences of each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for head in options.heads:
        results[head] = measure(head, options.contenders, options.size, options.batch, options.rounds, options.calls)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    table = Table(
        "network",
        "",
        *options.contenders,
        title=f"V3-Large at {options.size}, batch {options.batch}, {os.cpu_count()} cores",
    )
    for head, row in results.items():
        table.add_row(head, "training, images/s", *(f"{row[key]['train']:.2f}" for key in options.contenders))
        table.add_row("", "inference, ms", *(str(row[key]["infer"] or "") for key in options.contenders))
    Console().print(table)


if __name__ == "__main__":
    main()
