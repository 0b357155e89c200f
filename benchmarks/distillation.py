"""Measures what distillation gives a small student on the built-in images: MobileNetV1 0.25, teacher 1.0 or none.

    python benchmarks/distillation.py [--seeds 3] [--folder runs/distillation] [--json]

The teacher is trained first, on more images than the students see; the students, from scratch, differ in nothing but
`distill`. Finished runs in the folder are not trained again. About half an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mobilenet_tf import workflow
from mobilenet_tf.utils import files

TEACHER = ["model.alpha=1.0", "data.counts.train=4000", "train.stages.0.learning_rate=0.002", "seed=100"]
STUDENT = ["data.counts.train=1200", "train.stages.0.duration=20 epochs"]


def top1(folder: Path, overrides: list[str]) -> float:
    """The test top-1 of a run of the config `demo`, trained where it is not there yet."""
    if not (folder / "model.keras").exists():
        workflow.train_run("demo", ["data.counts.test=1000", "train.evaluate_every=4", *overrides], folder)
    return workflow.evaluate_model(folder)["top1"]


def measure(folder: Path, seeds: int, weight: float, temperature: float) -> dict:
    """{"teacher": top-1, "alone": [top-1 of each seed], "distilled": [...]}"""
    teacher = top1(folder / "teacher", TEACHER)
    distillation = [
        f"distill.teacher={folder / 'teacher'}",
        f"distill.weight={weight}",
        f"distill.temperature={temperature}",
    ]
    students = {"alone": [], "distilled": distillation}
    result: dict[str, float | list[float]] = {"teacher": teacher}
    for name, changes in students.items():
        runs = [(folder / f"{name}-{seed}", [*STUDENT, *changes, f"seed={seed}"]) for seed in range(seeds)]
        result[name] = [top1(*run) for run in runs]
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weight", type=float, default=0.9)
    parser.add_argument("--temperature", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measure(args.folder, args.seeds, args.weight, args.temperature)
    files.write_json(args.folder / "result.json", result)
    if args.json:
        print(json.dumps(result))
        return
    table = Table("", "test top-1", "of each seed", title="MobileNetV1 0.25 on the built-in images")
    table.add_row("teacher, 1.0", f"{result['teacher']:.3f}", "")
    for name in ("alone", "distilled"):
        table.add_row(name, f"{statistics.mean(result[name]):.3f}", " ".join(f"{x:.3f}" for x in result[name]))
    Console().print(table)


if __name__ == "__main__":
    main()
