"""Latency of one image: our exports against the same networks of keras.applications converted plainly, and others.

    python benchmarks/inference.py [--torch] [--json]

The plain conversion is what the TFLite guide shows: `model.export`, then the converter, with a representative data set
for int8. Both float files hold the same weights. All are called as a program would call them, on a uint8 image in
memory, in turns, and the figures are medians; TFLite files run in the same interpreter. Keras's V1 and V2 want their
input scaled by the caller, which is left out here to their advantage. ONNX files run in onnxruntime, torchvision's
networks in PyTorch, channels last. Also: the seconds and the memory of a conversion of V2 to int8 with 100 images.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import turns
from rich.console import Console
from rich.table import Table

THREADS = (1, 2)
CLASSES = 1000
CALIBRATION_IMAGES = 100
NETWORKS = {  # our builder, Keras's builder, torchvision's name
    "mobilenet_v1": ("MobileNetV1", "MobileNet", None),
    "mobilenet_v2": ("MobileNetV2", "MobileNetV2", "mobilenet_v2"),
    "mobilenet_v3_large": ("MobileNetV3Large", "MobileNetV3Large", "mobilenet_v3_large"),
    "mobilenet_v3_small": ("MobileNetV3Small", "MobileNetV3Small", "mobilenet_v3_small"),
}


def random_images(size, count=CALIBRATION_IMAGES):
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype("float32")


def networks(name, size):
    """(ours, Keras's) with the same weights; random, but with the statistics of real activations in BatchNorm."""
    import keras

    import mobilenet_tf

    keras.utils.set_random_seed(0)
    our_name, keras_name, _ = NETWORKS[name]
    options = {"input_shape": (size, size, 3), "weights": None, "classifier_activation": None, "classes": CLASSES}
    ours, theirs = getattr(mobilenet_tf, our_name)(**options), getattr(keras.applications, keras_name)(**options)
    for layer in ours.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    ours(random_images(size, 8), training=True)
    theirs.set_weights(ours.get_weights())
    return ours, theirs


def export_ours(model, folder, size, format):
    from mobilenet_tf.export import convert
    from mobilenet_tf.inference import artifact

    metadata = artifact.Metadata("classification", [str(i) for i in range(CLASSES)], (size, size))
    path = folder / f"ours_{convert.FORMATS[format].filename}"
    calibration = [random_images(size)] if convert.FORMATS[format].needs_calibration else None
    return convert.export(model, path, format, metadata=metadata, calibration=calibration)


def convert_plainly(model, folder, size, *, int8):
    import tensorflow as tf

    saved, path = folder / "plain", folder / f"plain_{'int8' if int8 else 'float32'}.tflite"
    model.export(saved, verbose=False, input_signature=[tf.TensorSpec((1, size, size, 3), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    if int8:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        rescales = any(layer.name.startswith("rescaling") for layer in model.layers)
        scaled = random_images(size) if rescales else random_images(size) / 127.5 - 1
        converter.representative_dataset = lambda: ([image[None]] for image in scaled)
    path.write_bytes(converter.convert())
    return path


def torch_predictor(name, size, threads):
    """torchvision's network as a Predictor."""
    modules: Any = sys.modules
    modules.setdefault("triton", None)  # it crashes when it is imported after TensorFlow
    import torch  # pyright: ignore[reportMissingImports] - optional, not installed for checks
    import torchvision  # pyright: ignore[reportMissingImports] - optional, not installed for checks

    from mobilenet_tf.inference.predict import Predictor

    torch.set_num_threads(threads)
    model = torchvision.models.get_model(NETWORKS[name][2], weights=None).eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(images):
        x = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32)  # a permuted NHWC array is channels last
        return {"logits": model(x).numpy()}

    return Predictor(run, "torch", "torchvision", (None, size, size, 3), threads=threads)


def measure(name, size, runs, with_torch):
    """{contender: {threads: median milliseconds}}"""
    from mobilenet_tf.analysis import benchmark

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        ours, theirs = networks(name, size)
        files = {export_ours(ours, folder, size, format) for format in ("tflite", "tflite_int8", "onnx")}
        files |= {convert_plainly(theirs, folder, size, int8=int8) for int8 in (False, True)}
        result = {}
        for threads in THREADS:
            extra = [torch_predictor(name, size, threads)] if with_torch and NETWORKS[name][2] else []
            for row in benchmark.compare([*sorted(files), *extra], threads=(threads,), runs=runs):
                result.setdefault(row.file, {})[threads] = round(row.median_ms, 3)
        return result


def serve(connection, key, size):
    """The process of a conversion: sends its seconds and the most memory that it had, in MiB."""
    connection.recv()
    with tempfile.TemporaryDirectory() as folder:
        model, _ = networks("mobilenet_v2", size)
        start = time.perf_counter()
        export_ours(model, Path(folder), size, "tflite_int8")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        connection.send({"seconds": round(time.perf_counter() - start, 1), "peak_mib": round(peak)})


OURS, PLAIN = "ours_model{}.tflite", "plain_{}.tflite"
RATIOS = {  # of our latency to theirs
    "float32": (OURS.format(""), PLAIN.format("float32")),
    "int8": (OURS.format("_int8"), PLAIN.format("int8")),
    "int8 to plain float32": (OURS.format("_int8"), PLAIN.format("float32")),
}


def ratios(row):
    return {
        label: {threads: round(row[ours][threads] / row[plain][threads], 3) for threads in THREADS}
        for label, (ours, plain) in RATIOS.items()
    }


def table(result, size) -> Table:
    rendered = Table("network", "file", title=f"Milliseconds of one image, {size}x{size} (median)")
    for threads in THREADS:
        rendered.add_column(f"{threads} thread{'s' * (threads > 1)}", justify="right")
    for name, row in result["networks"].items():
        for file, times in row["milliseconds"].items():
            rendered.add_row(name, file, *(f"{times[threads]:.2f}" for threads in THREADS))
        for label, values in row["ratios"].items():
            rendered.add_row("", f"ours to plain, {label}", *(f"{values[threads]:.2f}x" for threads in THREADS))
        rendered.add_section()
    conversion = result["conversion"]
    rendered.caption = (
        f"V2 to int8, {CALIBRATION_IMAGES} images: {conversion['seconds']} s, {conversion['peak_mib']} MiB"
    )
    return rendered


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--torch", action="store_true", help="measure torchvision too (needs torch)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    conversion = turns.start(serve, [turns.OURS], args.size)
    result = {"conversion": turns.ask(conversion[turns.OURS], "convert"), "networks": {}}
    for name in args.networks:
        row = measure(name, args.size, args.runs, args.torch)
        result["networks"][name] = {"milliseconds": row, "ratios": ratios(row)}
    if args.json:
        print(json.dumps(result))
    else:
        Console().print(table(result, args.size))


if __name__ == "__main__":
    main()
