"""Our exports of keras.applications' networks against what Keras and the plain converter make of the same model.

    python benchmarks/foreign_models.py [--networks MobileNetV2 ...] [--size 224] [--json]

Keras's float file is that of `model.export(format="litert")`, the plain int8 file that of TensorFlow's converter with a
representative data set, as TensorFlow's guide shows it. Ours are what `mobilenet-tf export MODEL.keras` writes for the
same .keras file, so that they hold the rescaling that the others leave to the caller. All files are called in turns on
a uint8 image in memory; the figures are medians. Sizes are those of the models without the metadata behind them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import zipfile
from pathlib import Path

from inference import CALIBRATION_IMAGES, convert_plainly, random_images
from PIL import Image
from rich.console import Console
from rich.table import Table

THREADS = (1, 2)
NETWORKS = ("MobileNet", "MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "ResNet50")
PAIRS = {"float32": ("model.tflite", "litert.tflite"), "int8": ("model_int8.tflite", "plain_int8.tflite")}


def network(name: str, size: int):
    """The network with random weights and the statistics of real activations in BatchNorm."""
    import keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(random_images(size, 8), training=True)
    return model


def export_ours(name: str, model, folder: Path, size: int) -> list[Path]:
    from mobilenet_tf import workflow
    from mobilenet_tf.foreign.declaration import Declaration
    from mobilenet_tf.foreign.keras_model import rescales
    from mobilenet_tf.foreign.named import find_application, preprocessing_of

    images = folder / "images"
    images.mkdir()
    for index, image in enumerate(random_images(size)):
        Image.fromarray(image.astype("uint8")).save(images / f"{index:03}.png")
    model.save(folder / "model.keras")
    function = find_application(name)
    assert function is not None
    wanted = preprocessing_of(function)
    text = "caffe" if wanted.is_bgr else "0..255" if wanted.is_identity else "-1..1"
    workflow.export_run(
        folder / "model.keras",
        ["tflite", "tflite_int8"],
        declaration=Declaration(classes="numbered", input_range=None if rescales(model) else text),
        overrides=[f"export.calibration={images}", f"export.calibration_samples={CALIBRATION_IMAGES}"],
        folder=folder,
    )
    return [folder / "model.tflite", folder / "model_int8.tflite"]


def size_of_model(path: Path) -> int:
    """Bytes of a .tflite file without the archive of metadata behind it."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return min(entry.header_offset for entry in archive.infolist())


def measure(name: str, size: int, runs: int) -> dict:
    from mobilenet_tf.analysis import benchmark

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = network(name, size)
        files = export_ours(name, model, folder, size)
        model.export(folder / "litert.tflite", format="litert", verbose=False)
        files += [folder / "litert.tflite", convert_plainly(model, folder, size, int8=True)]
        times: dict[str, dict[int, float]] = {}
        for row in benchmark.compare(files, threads=THREADS, runs=runs):
            if row.threads in THREADS:
                times.setdefault(row.file, {}).setdefault(row.threads, round(row.median_ms, 3))
        sizes = {path.name: size_of_model(path) for path in files}
    ratios = {
        label: {
            "size": round(sizes[ours] / sizes[plain], 4),
            **{str(threads): round(times[ours][threads] / times[plain][threads], 3) for threads in THREADS},
        }
        for label, (ours, plain) in PAIRS.items()
    }
    return {"milliseconds": times, "bytes": sizes, "ratios": ratios}


def table(result: dict, size: int) -> Table:
    rendered = Table("network", "file", "MB", *(f"{n} thread{'s' * (n > 1)}" for n in THREADS))
    rendered.title = f"Milliseconds of one image, {size}x{size} (median), and ratios of ours to theirs"
    for name, row in result.items():
        for file, times in row["milliseconds"].items():
            rendered.add_row(name, file, f"{row['bytes'][file] / 1e6:.2f}", *(f"{times[n]:.2f}" for n in THREADS))
        for label, values in row["ratios"].items():
            rendered.add_row("", label, f"{values['size']:.3f}x", *(f"{values[str(n)]:.2f}x" for n in THREADS))
        rendered.add_section()
    return rendered


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="names of keras.applications")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = {name: measure(name, args.size, args.runs) for name in args.networks}
    print(json.dumps(result)) if args.json else Console().print(table(result, args.size))


if __name__ == "__main__":
    main()
