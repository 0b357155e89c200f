"""Training step and inference of SSDLite320 on V3-Large, on this CPU: ours, its parts, and torchvision's if there.

    python benchmarks/detection.py [--torch] [--json]

Both train torchvision's network (halved tail, its anchors and thresholds) from random weights on the same images and
boxes, with SGD; PyTorch works channels last, its fastest layout. Matching boxes to anchors is a part of either's step.
Every contender has a process of its own; they take turns, call by call, and the figures are medians. For inference the
BatchNorm statistics become those of the batch, the boxes the anchors, nearly, and the class scores are spread until the
share `--candidates` of them passes the threshold, since the work of non-max suppression depends on that. "raw" are the
heads alone, "decode" our NumPy decoding and class-wise suppression of them, "inside" a file with decoding in it, where
each anchor has only its most probable class; torchvision's call ends in decoding and class-wise suppression as well.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import turns
from rich.console import Console
from rich.table import Table

CONFIG = "ssdlite_mobilenet_v3_large_torchvision"
CLASSES = 90  # of COCO with the ids it left out, as in torchvision
BOXES = 7  # an image, about as many as in COCO
LEARNING_RATE = 0.01
SPREAD = 3.0  # standard deviation of the class logits in inference
THREADS = (1, 2)


def data(size, batch):
    """(images [N, H, W, 3] in 0..255, boxes [N, T, 4] yxyx in 0..1, labels [N, T])"""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (batch, size, size, 3)).astype("float32")
    sides = rng.uniform(0.05, 0.5, (batch, BOXES, 2))
    corners = rng.uniform(0, 1 - sides)
    boxes = np.concatenate([corners, corners + sides], -1).astype("float32")
    return images, boxes, rng.integers(0, CLASSES, (batch, BOXES)).astype("int32")


def offset(logits, threshold, share):
    """What the background's logit, the first of [A, C + 1], needs so that a share of the softmax scores passes."""
    objects = np.exp(logits[:, 1:].astype(np.float64))
    low, high = -30.0, 30.0
    for _ in range(40):
        middle = (low + high) / 2
        total = objects.sum(-1, keepdims=True) + np.exp(logits[:, :1].astype(np.float64) + middle)
        low, high = (middle, high) if (objects / total > threshold).mean() > share else (low, middle)
    return middle


def ours(size, batch, candidates):
    """The calls to be timed of each phase: {phase: function that prepares {name: call}}."""
    import keras
    import tensorflow as tf

    from mobilenet_tf import config
    from mobilenet_tf.export import convert
    from mobilenet_tf.inference import artifact
    from mobilenet_tf.inference.predict import load_predictor
    from mobilenet_tf.models.graph import leaves
    from mobilenet_tf.tasks.detection.task import task
    from mobilenet_tf.training.train import Trainer

    keras.utils.set_random_seed(0)
    overrides = ["data.reader=scenes", f"model.input_size=[{size}, {size}]"]
    cfg: Any = config.load(CONFIG, overrides)
    source: Any = SimpleNamespace(classes=[str(i) for i in range(CLASSES)])
    images, boxes, labels = data(size, batch)
    model, sample = task(cfg).model(source), {"image": images, "boxes": boxes, "labels": labels}

    def training():
        objective, encode = task(cfg).loss(), task(cfg).encode(source)
        trainer: Any = Trainer(model, objective)
        trainer.compile(keras.optimizers.SGD(LEARNING_RATE, momentum=0.9), jit_compile=False)
        trainer.make_train_function()
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False  # it would match boxes while the others are timed
        batches = iter(tf.data.Dataset.from_tensors(sample).repeat().map(encode).with_options(options))
        encoded = tf.function(lambda: encode({key: tf.convert_to_tensor(value) for key, value in sample.items()})[1])
        targets, raw = encoded(), model(images, training=False)

        @tf.function
        def loss():
            with tf.GradientTape() as tape:
                tape.watch(raw)
                value = tf.reduce_mean(objective(targets, raw))
            return tape.gradient(value, raw)

        return {"step": lambda: trainer.train_function(batches), "encode": encoded, "loss": loss}

    def inference():
        layers = list(leaves(model))
        for layer in layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        model(images, training=True)
        logits = model(images, training=False)["class_logits"][0].numpy()
        gain = SPREAD / logits.std()
        shift = offset(logits * gain, cfg.detections.score_threshold, candidates)
        for head in (layer for layer in layers if re.fullmatch(r"class_\d+", layer.name)):
            head.kernel.assign(head.kernel * gain)
            bias = head.bias.numpy() * gain
            bias[:: CLASSES + 1] += shift
            head.bias.assign(bias)
        for head in (layer for layer in layers if re.fullmatch(r"box_\d+", layer.name)):
            head.kernel.assign(tf.zeros_like(head.kernel))
        calls, folder, sizes = {}, Path(tempfile.mkdtemp()), np.array([[size, size]], np.int32)
        for outputs in ("raw", "detections"):
            metadata = artifact.Metadata("detection", source.classes, (size, size), outputs=outputs)
            export_config: Any = config.load(CONFIG, [*overrides, f"export.outputs={outputs}"])
            deployed = task(export_config).serving_model(model)
            path = convert.export(deployed, folder / f"{outputs}.tflite", "tflite", metadata=metadata)
            for threads in THREADS:
                predictor = load_predictor(path, threads=threads)
                calls[f"{outputs} {threads}"] = lambda predictor=predictor: predictor(images[:1])
        raw = calls["raw 1"]()
        calls["decode"] = lambda: task(cfg).decode(raw, sizes)
        return calls

    return {"training": training, "inference": inference}


def theirs(size, batch, candidates):
    """The same in PyTorch."""
    modules: Any = sys.modules
    modules.setdefault("triton", None)  # it crashes when it is imported after TensorFlow
    import torch  # pyright: ignore[reportMissingImports] - optional, not installed for checks
    import torchvision  # pyright: ignore[reportMissingImports] - optional, not installed for checks

    torch.manual_seed(0)
    build = torchvision.models.detection.ssdlite320_mobilenet_v3_large
    model = build(weights=None, weights_backbone=None, num_classes=CLASSES + 1).to(memory_format=torch.channels_last)
    model.transform.fixed_size = (size, size)
    images, boxes, labels = data(size, batch)
    x = list(torch.from_numpy(images.transpose(0, 3, 1, 2) / 255).contiguous())
    corners = torch.from_numpy(boxes[..., [1, 0, 3, 2]] * size)
    y = [{"boxes": b, "labels": n} for b, n in zip(corners, torch.from_numpy(labels).long() + 1, strict=True)]

    def training():
        optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9)

        def step():
            optimizer.zero_grad()
            total: Any = sum(model(x, y).values())
            total.backward()
            optimizer.step()

        model.train()
        return {"step": step}

    @torch.inference_mode()
    def inference():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 1.0
        model(x, y)
        model.eval()
        features = list(model.backbone(model.transform(x[:1])[0].tensors).values())
        logits = model.head(features)["cls_logits"][0].numpy()
        gain = SPREAD / logits.std()
        shift = float(offset(logits * gain, model.score_thresh, candidates))
        for module in model.head.classification_head.module_list:
            module[-1].weight.mul_(gain)
            module[-1].bias.mul_(gain)
            module[-1].bias[:: CLASSES + 1] += shift
        for module in model.head.regression_head.module_list:
            module[-1].weight.zero_()
        return {f"detections {threads}": call(threads) for threads in THREADS}

    def call(threads):
        @torch.inference_mode()
        def run():
            torch.set_num_threads(threads)
            model(x[:1])

        return run

    return {"training": training, "inference": inference}


CONTENDERS = {"mobilenet_tf": ours, "torchvision": theirs}


def serve(connection, key, *arguments):
    """The process of one contender: prepares a phase and sends its calls, or sends the seconds of one call."""
    phases, calls = CONTENDERS[key](*arguments), {}
    while order := connection.recv():
        if order in phases:
            calls = phases[order]()
            connection.send(list(calls))
            continue
        start = time.perf_counter()
        calls[order]()
        connection.send(time.perf_counter() - start)


def measure(keys, size, batch, candidates, counts, warmup):
    """{phase: {contender: {call: median milliseconds}}}; `counts`: how often each phase is timed."""
    connections = turns.start(serve, keys, size, batch, candidates)
    result = {}
    for phase, count in counts.items():
        times = {key: {name: [] for name in turns.ask(connection, phase)} for key, connection in connections.items()}
        for turn in range(warmup + count):
            for key, connection in connections.items():
                for name, taken in times[key].items():
                    if phase == "inference":
                        turns.ask(connection, name)  # untimed: brings the weights back into the cache
                    seconds = turns.ask(connection, name)
                    if turn >= warmup:
                        taken.append(seconds)
        medians = {key: {n: 1e3 * statistics.median(t) for n, t in calls.items()} for key, calls in times.items()}
        result[phase] = {key: {name: round(ms, 3) for name, ms in calls.items()} for key, calls in medians.items()}
    turns.stop(connections)
    return result


def figures(times, batch):
    """The measured milliseconds with what follows from them: images a second and the shares of our parts."""
    training, inference = times["training"]["mobilenet_tf"], times["inference"]["mobilenet_tf"]
    shares = {name: training[name] / training["step"] for name in ("encode", "loss")}
    shares |= {f"decode {n}": inference["decode"] / (inference[f"raw {n}"] + inference["decode"]) for n in THREADS}
    return {
        "milliseconds": times,
        "images_per_second": {key: round(1e3 * batch / calls["step"], 2) for key, calls in times["training"].items()},
        "shares": {name: round(share, 4) for name, share in shares.items()},
    }


def table(result, title) -> Table:
    times, shares = result["milliseconds"], result["shares"]
    rendered = Table(title=title)
    rendered.add_column("")
    for name in ("mobilenet_tf", "torchvision", "share"):
        rendered.add_column(name, justify="right")
    training, inference = ({"torchvision": {}} | times[phase] for phase in ("training", "inference"))

    def row(label, ours, theirs=None, share=None):
        cells = [f"{ours:.2f}", "-" if theirs is None else f"{theirs:.2f}", "" if share is None else f"{share:.1%}"]
        rendered.add_row(label, *cells)

    rate = result["images_per_second"]
    row("training, images/s", rate["mobilenet_tf"], rate.get("torchvision"))
    for name, label in (("encode", "match and encode"), ("loss", "loss and its gradient")):
        row(f"  {label}, ms", training["mobilenet_tf"][name], share=shares[name])
    for n in THREADS:
        mine, other = inference["mobilenet_tf"], inference["torchvision"].get(f"detections {n}")
        rendered.add_section()
        row(f"raw, {n} thread{'s' * (n > 1)}, ms", mine[f"raw {n}"])
        row("  decode, ms", mine["decode"], share=shares[f"decode {n}"])
        row("  raw + decode, ms", mine[f"raw {n}"] + mine["decode"], other)
        row("inside, ms", mine[f"detections {n}"], other)
    return rendered


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--candidates", type=float, default=0.02, help="share of the scores that passes the threshold")
    parser.add_argument("--rounds", type=int, default=7, help="timed training steps of each")
    parser.add_argument("--calls", type=int, default=30, help="timed inferences of each")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--torch", action="store_true", help="measure torchvision too (needs torch)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.torch and not importlib.util.find_spec("torchvision"):
        parser.error('torchvision is not installed; this needs: pip install "mobilenet-tf[torch]"')
    keys = ["mobilenet_tf", *(["torchvision"] if args.torch else [])]
    counts = {"training": args.rounds, "inference": args.calls}
    result = figures(measure(keys, args.size, args.batch, args.candidates, counts, args.warmup), args.batch)
    if args.json:
        print(json.dumps(result))
    else:
        title = f"V3-Large SSDLite, {args.size}x{args.size}, batch {args.batch}, {os.cpu_count()} cores (medians)"
        Console().print(table(result, title))


if __name__ == "__main__":
    main()
