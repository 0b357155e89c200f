"""All steps on the built-in images: train, evaluate, export, verify, predict, benchmark."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from mobilenet_tf import workflow
from mobilenet_tf.analysis import benchmark
from mobilenet_tf.data import scenes
from mobilenet_tf.export import convert, verification
from mobilenet_tf.utils.console import plain, print_table


def run(folder: Path) -> dict:
    """Runs the demo into `folder` (or the next free name beside it) and returns its numbers."""
    console, started = Console(), time.perf_counter()
    folder = _free(folder)

    console.rule("1  train a small MobileNet on drawn animals, from scratch")
    workflow.train_run("demo", folder=folder)

    console.rule("2  evaluate it on test images")
    scores = workflow.evaluate_model(folder, plots=folder / "plots" / "test")
    console.print({key: round(value, 4) for key, value in scores.items()})

    console.rule("3  export to TFLite, float32 and int8, and compare with the float model")
    results = workflow.export_run(folder)
    print_table(verification.table(results))

    console.rule("4  predict with the int8 file")
    images = scenes.write_folder(folder / "images", {"test": 12}, size=224, seed=7)
    int8 = folder / "exports" / convert.FORMATS["tflite_int8"].filename
    rows = workflow.predict_files(int8, [str(images)], pictures=folder / "predictions")
    for row in rows:
        console.print(f"{plain(row['file'])}: {plain(row['label'])} ({row['probability']:.0%})")

    console.rule("5  benchmark")
    files = [folder / "exports" / result.file for result in results]
    latencies = benchmark.compare([folder, *files], threads=(1, 2), runs=30)
    print_table(benchmark.table(latencies))

    console.rule(f"done in {time.perf_counter() - started:.0f} s")
    for name, path in {"plots": folder / "plots", "annotated images": folder / "predictions", "model": int8}.items():
        console.print(f"{name}: [bold]{plain(path)}[/bold]")
    return {
        "run": str(folder),
        "test": scores,
        "exports": [result.to_dict() for result in results],
        "latency": [latency.to_dict() for latency in latencies],
        "seconds": round(time.perf_counter() - started, 1),
    }


def _free(folder: Path) -> Path:
    number, candidate = 1, folder
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate
