"""What int8 costs finished runs: calibrated, calibrated with some layers left in float, and trained for int8.

    python benchmarks/quantisation.py RUN [RUN ...] [--epochs 2] [--split test] [--markdown FILE] [--json]

Every run is trained on for `--epochs` with the roundings of int8 (`quantize.aware`) and, to tell what these give from
what the epochs give, for as long without them; the latter is then calibrated. All files are scored on a whole split by
`evaluate`. New runs and files go to RUN/quantisation/; what is there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from mobilenet_tf import artifact, workflow

COLUMNS = {
    "float": "float",
    "calibrated": "int8, calibrated",
    "selective": "int8, {layers} layers in float",
    "longer_float": "float, trained on",
    "longer_calibrated": "... int8, calibrated",
    "aware": "int8, trained for it",
}


def int8_file(run: Path, folder: Path, float_layers: int = 0) -> Path:
    path = folder / "model_int8.tflite"
    if not path.exists():
        overrides = [f"export.float_layers={float_layers}", "export.verify_samples=1"]
        workflow.export_run(run, ["tflite_int8"], overrides=overrides, folder=folder)
    return path


def train_on(run: Path, folder: Path, epochs: int, rate: float, aware: bool) -> Path:
    """The run that continues another one for some epochs, everything trained, BatchNorm frozen."""
    if not (folder / "model.keras").exists():
        stage = f"{{train: all, duration: {epochs} epochs, learning_rate: {rate}, freeze_batch_norm: true}}"
        changes = [
            f"model.weights={run}/model.keras",
            f"train.stages=[{stage}]",
            f"quantize.aware={str(aware).lower()}",
        ]
        changes += ["train.ema=null", f"train.evaluate_every={epochs}"]
        workflow.train_run(str(run / "config.yaml"), changes, folder)
    return folder


def measure(run: Path, epochs: int, split: str, layers: int) -> dict:
    """{"run", "metric", and the metric of every column}"""
    task = workflow.find_task(artifact.read(run).task)
    folder, name = run / "quantisation", task.monitor[0]
    stages = yaml.safe_load((run / "config.yaml").read_text())["train"]["stages"]
    rate = stages[-1]["learning_rate"] / 10  # the run has come to its end: a tenth of where it began
    longer = train_on(run, folder / "longer", epochs, rate, aware=False)
    aware = train_on(run, folder / "aware", epochs, rate, aware=True)
    files = {
        "float": run,
        "calibrated": int8_file(run, folder / "calibrated"),
        "selective": int8_file(run, folder / "selective", layers),
        "longer_float": longer,
        "longer_calibrated": int8_file(longer, folder / "longer_calibrated"),
        "aware": int8_file(aware, folder / "aware_int8"),
    }
    scores = {key: round(workflow.evaluate_model(path, split=split)[name], 4) for key, path in files.items()}
    print(f"{run.name}: {scores}", file=sys.stderr)
    return {"run": run.name, "metric": name} | scores


def titles(layers: int) -> list[str]:
    return ["run", "metric", *(title.format(layers=layers) for title in COLUMNS.values())]


def cells(row: dict) -> list[str]:
    return [row["run"], row["metric"], *(f"{row[key]:.3f}" for key in COLUMNS)]


def markdown(rows: list[dict], layers: int) -> str:
    lines = [titles(layers), ["---"] * len(titles(layers)), *map(cells, rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--split", default="test", choices=["validation", "test"])
    parser.add_argument("--layers", type=int, default=2, help="left in float by the selective file")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = [measure(run, args.epochs, args.split, args.layers) for run in args.runs]
    if args.markdown:
        args.markdown.write_text(markdown(rows, args.layers))
    if args.json:
        print(json.dumps(rows))
        return
    table = Table(*titles(args.layers), title=f"On the {args.split} split")
    for row in rows:
        table.add_row(*cells(row))
    Console().print(table)


if __name__ == "__main__":
    main()
