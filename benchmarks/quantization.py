"""Measures what int8 costs finished runs: calibrated in three ways, and with quantization-aware training (QAT).

    python benchmarks/quantization.py RUN [RUN ...] [--epochs 2] [--split test] [--control] [--markdown FILE] [--json]

QAT trains every run for `--epochs` more (`quantize.qat`). With `--control`, the run is also trained for as many epochs
in float and then calibrated, to separate the effect of QAT from that of more epochs. All files are scored on a whole
split by `evaluate`. New runs, files and scores go to RUN/quantization/; what exists there is not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from mobilenet_tf import workflow
from mobilenet_tf.inference import artifact
from mobilenet_tf.utils import files

COLUMNS = {
    "float": "float",
    "calibrated": "int8, calibrated",
    "percentile": "int8, ranges of 99.99 %",
    "selective": "int8, {layers} layers in float",
    "qat": "int8, QAT",
}
CONTROL = {"longer_float": "float, more epochs", "longer_calibrated": "... int8, calibrated"}


def int8_file(run: Path, folder: Path, *changes: str) -> Path:
    path = folder / "model_int8.tflite"
    if not path.exists():
        overrides = ["export.float_layers=0", "export.verify_samples=100", *changes]
        workflow.export_run(run, ["tflite_int8"], overrides=overrides, folder=folder)
    return path


def train_on(run: Path, folder: Path, epochs: int, rate: float, qat: bool) -> Path:
    """Trains a run for some more epochs, all layers, with frozen BatchNorm; returns the new run folder."""
    if not (folder / "model.keras").exists():
        stage = f"{{train: all, duration: {epochs} epochs, learning_rate: {rate}, freeze_batch_norm: true}}"
        changes = [
            f"model.weights={run}/model.keras",
            f"train.stages=[{stage}]",
            f"quantize.qat={str(qat).lower()}",
        ]
        changes += ["train.ema=null", f"train.evaluate_every={epochs}", "export.float_layers=0"]
        workflow.train_run(str(run / "config.yaml"), changes, folder)
    return folder


def measure(run: Path, epochs: int, split: str, layers: int, control: bool) -> dict:
    """Returns {"run", "metric" (its name), and the metric of every column}."""
    metadata = artifact.read(run)
    assert metadata is not None
    task: Any = workflow.find_task(metadata.task)
    folder, name = run / "quantization", task.monitor[0]
    stages = yaml.safe_load((run / "config.yaml").read_text())["train"]["stages"]
    rate = stages[-1]["learning_rate"] / 10  # the run is trained already: a tenth of its last learning rate
    makers = {
        "float": lambda: run,
        "calibrated": lambda: int8_file(run, folder / "calibrated"),
        "percentile": lambda: int8_file(run, folder / "percentile", "export.calibration_percentile=99.99"),
        "selective": lambda: int8_file(run, folder / "selective", f"export.float_layers={layers}"),
        "longer_float": lambda: train_on(run, folder / "longer", epochs, rate, qat=False),
        "longer_calibrated": lambda: int8_file(folder / "longer", folder / "longer_calibrated"),
        "qat": lambda: int8_file(train_on(run, folder / "qat", epochs, rate, qat=True), folder / "qat_int8"),
    }
    if not control:
        makers = {key: make for key, make in makers.items() if key not in CONTROL}
    stored = folder / f"{split}.json"
    scores = files.read_json(stored) if stored.exists() else {}
    for key, make in makers.items():
        if key not in scores:
            scores[key] = round(workflow.evaluate_model(make(), split=split)[name], 4)
            files.write_json(stored, scores)
    print(f"{run.name}: {scores}", file=sys.stderr)
    return {"run": run.name, "metric": name} | scores


def lines(rows: list[dict], layers: int, control: bool) -> list[list[str]]:
    """Returns the header and a line a run."""
    columns = COLUMNS | (CONTROL if control else {})
    header = ["run", "metric", *(title.format(layers=layers) for title in columns.values())]
    return [header, *([row["run"], row["metric"], *(f"{row[key]:.3f}" for key in columns)] for row in rows)]


def markdown(header: list[str], *rows: list[str]) -> str:
    return "".join(f"| {' | '.join(line)} |\n" for line in [header, ["---"] * len(header), *rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument(
        "--layers", type=int, default=2, help="the number of layers that the selective file leaves in float"
    )
    parser.add_argument("--control", action="store_true", help="also train in float for as many epochs")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the results
        rows = [measure(run, args.epochs, args.split, args.layers, args.control) for run in args.runs]
    header, *body = lines(rows, args.layers, args.control)
    if args.markdown:
        args.markdown.write_text(markdown(header, *body))
    if args.json:
        print(json.dumps(rows))
        return
    table = Table(*header, title=f"On the {args.split} split")
    for row in body:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
