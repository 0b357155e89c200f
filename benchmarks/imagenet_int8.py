"""Measures what float16 and int8 cost networks with real ImageNet weights: top-1 and agreement with the float model.

    python benchmarks/imagenet_int8.py PICTURES mobilenet_v1:1.0=FILE.h5 mobilenet_v2=FILE.pth
        --calibration FOLDER [FOLDER ...] [--work FOLDER] [--count 1000] [--markdown FILE] [--json]

PICTURES is a folder whose files, sorted by name, are of class 0, 1, 2 ...; of fewer than all, every n-th is taken.
A network is a name of `mobilenet_tf.models.specs`, its width and its weights, or torchvision's name and checkpoint.
Calibration pictures are drawn from all images in the folders; no label is used but to count what is right. All images
go through the evaluation preprocessing at 224 px (crop_fraction 0.875). With `--calibration` left out, every second
picture calibrates and the others are scored. Files and their outputs go to --work; what exists there is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from mobilenet_tf.data import preprocess
from mobilenet_tf.export import convert
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.tflite import open_tflite
from mobilenet_tf.models import specs, weights
from mobilenet_tf.models.builder import network
from mobilenet_tf.training.intervals import wilson
from mobilenet_tf.utils.progress import track

SIZE, CROP = (224, 224), 0.875
INT8 = "tflite_int8"
# title -> (format, options of convert.export); the first is what others are compared with
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "float32": ("tflite", {}),
    "float16": ("tflite_float16", {}),
    "int8 weights (dynamic)": ("tflite_dynamic", {}),
    "int8, TensorFlow's own": (INT8, {"refine": False}),
    "int8, TensorFlow's own, 1 layer in float": (INT8, {"refine": False, "float_layers": 1}),
    "int8, TensorFlow's own, 2 layers in float": (INT8, {"refine": False, "float_layers": 2}),
    "int8, TensorFlow's own, 3 layers in float": (INT8, {"refine": False, "float_layers": 3}),
    "int8, the default": (INT8, {}),
    "int8, the default, 1 layer in float": (INT8, {"float_layers": 1}),
}


def load(spec: str) -> tuple[str, keras.Model]:
    """Returns (a title, the network that gives logits) for "NAME[:WIDTH]=FILE"."""
    name, _, path = spec.partition("=")
    name, _, width = name.partition(":")
    if Path(path).suffix in (".pth", ".npz", ".safetensors"):
        return f"{name}, torchvision", weights.from_torchvision(name, path)
    alpha = float(width or 1)
    net = network(specs.find(name), input_shape=(*SIZE, 3), alpha=alpha, weights=path, classifier_activation=None)
    return f"{name} {alpha:g}", net


def read(path: Path) -> np.ndarray:
    return preprocess.resize(np.asarray(Image.open(path).convert("RGB")), SIZE, CROP)


def drawn(folders: list[Path], count: int) -> list[Path]:
    """Returns some of the images in the folders, the same each time."""
    suffixes = {".jpg", ".jpeg", ".png"}
    paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes]
    return [paths[i] for i in np.random.default_rng(0).permutation(len(paths))[:count]]


def make(model: keras.Model, path: Path, title: str, calibration: list[np.ndarray]) -> Path:
    """Writes the file of that title, unless it is there."""
    format, options = FILES[title]
    if path.exists():
        return path
    classes = [str(number) for number in range(model.output_shape[-1])]
    metadata = Metadata(task="classification", classes=classes, input_size=SIZE, outputs="logits")
    needs = convert.FORMATS[format].needs_calibration and calibration
    return convert.export(model, path, format, metadata=metadata, calibration=calibration if needs else None, **options)


def outputs(path: Path, pictures: np.ndarray) -> np.ndarray:
    """Returns the logits of a file [N, classes], kept beside it."""
    stored = path.with_suffix(".npy")
    if not stored.exists():
        interpreter = open_tflite(path, threads=2)
        first, last = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
        logits = []
        for picture in track(pictures, path.stem):
            interpreter.set_tensor(first, picture[None])
            interpreter.invoke()
            logits.append(interpreter.get_tensor(last)[0])
        np.save(stored, np.array(logits))
    return np.load(stored)


def share(hits: np.ndarray) -> dict[str, float]:
    low, high = wilson(float(hits.sum()), len(hits))
    return {"value": float(hits.mean()), "low": low, "high": high}


def measure(spec: str, args: argparse.Namespace, pictures: np.ndarray, labels: np.ndarray, images: list) -> dict:
    """Returns the scores of one network's files by their titles."""
    title, model = load(spec)
    rows, reference = {}, None
    for number, kind in enumerate(FILES):
        file = args.work / f"{title} {number} {kind}.tflite".replace(" ", "_").replace("%", "")
        answers = outputs(make(model, file, kind, images), pictures).argmax(1)
        reference = answers if reference is None else reference
        rows[kind] = {"top1": share(answers == labels), "agreement": share(answers == reference)}
        rows[kind]["megabytes"] = file.stat().st_size / 1e6
        print(f"{title}: {kind}: {rows[kind]}", file=sys.stderr)
    return {"network": title, "samples": len(pictures), "files": rows}


def lines(results: list[dict]) -> list[list[str]]:
    """Returns the header and a line for each kind of file."""

    def text(number: dict) -> str:
        return f"{number['value']:.3f} ({number['low']:.3f} – {number['high']:.3f})"

    header = ["file", *(f"{result['network']}: {what}" for result in results for what in ("top-1", "agreement"))]
    rows = [
        [kind, *(text(result["files"][kind][what]) for result in results for what in ("top1", "agreement"))]
        for kind in FILES
    ]
    return [header, *rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("networks", nargs="+", metavar="NAME[:WIDTH]=FILE")
    parser.add_argument("--calibration", nargs="+", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--calibration-count", type=int, default=100)
    parser.add_argument("--count", type=int, default=1000, help="pictures that are scored")
    parser.add_argument("--work", type=Path, default=Path("imagenet_int8"))
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    every = sorted(path for path in args.pictures.iterdir() if path.is_file())
    labels = np.arange(len(every))
    if args.calibration:
        calibration = drawn(args.calibration, args.calibration_count)
    else:
        calibration, labels = [every[i] for i in labels[1::2]][:: max(1, len(every) // 200)], labels[::2]
    labels = labels[:: max(1, len(labels) // args.count)][: args.count]
    images = [np.stack([read(path) for path in calibration])]
    pictures = np.stack([read(every[i]) for i in track(labels, "reading")])
    results = [measure(spec, args, pictures, labels, images) for spec in args.networks]
    header, *body = lines(results)
    if args.markdown:
        rows = [header, ["---"] * len(header), *body]
        args.markdown.write_text("".join(f"| {' | '.join(row)} |\n" for row in rows))
    if args.json:
        print(json.dumps(results))
        return
    table = Table(*header, title=f"{results[0]['samples']} pictures, calibrated on {len(images[0])}")
    for row in body:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
