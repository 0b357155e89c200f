"""Commands around training: demo, check-data, train, evaluate, prune."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilenet_tf.commands import options, printing
from mobilenet_tf.commands.options import (
    Classes,
    ConfigName,
    DataRoot,
    EndsIn,
    ImageSize,
    InputRange,
    Json,
    ModelPath,
    Overrides,
    TaskName,
    Threads,
    Trust,
)
from mobilenet_tf.utils.console import print_table, readable
from mobilenet_tf.utils.errors import UserError

if TYPE_CHECKING:
    from mobilenet_tf.training.train import Run


def demo(
    run_dir: Annotated[Path, typer.Option(help="The run folder to write.")] = Path("runs/demo"),
    as_json: Json = False,
):
    """Train, evaluate, export, verify, predict and benchmark on the built-in images, in under three minutes."""
    from mobilenet_tf.demo import run

    numbers = run(run_dir)
    if as_json:
        printing.print_json(numbers)


def check_data(
    config: ConfigName,
    overrides: Overrides = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the sample images. Default: runs/check-<config>.")
    ] = None,
    as_json: Json = False,
):
    """Check images and annotations before training: errors, counts, sizes and, for detection, how well anchors fit.

    Also draws samples with their annotations.
    """
    from mobilenet_tf.workflow import check_data

    result, lines = check_data(config, overrides or (), folder)
    if as_json:
        printing.print_json(result)
    else:
        print("\n".join([*lines, *(f"image: {path}" for path in result["files"])]))


def train(
    config: ConfigName,
    overrides: Overrides = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="The run folder. Default: runs/<config>. An interrupted run is continued.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run with the config that it was started with.")
    ] = False,
    new: Annotated[
        bool, typer.Option("--new", help="Start a new run; where the folder holds one, in the next free <folder>-N.")
    ] = False,
    as_json: Json = False,
):
    """Train a model and write its weights, metrics, plots and log to a run folder."""
    from mobilenet_tf.workflow import train_run

    try:
        with printing.tables_to_stderr(as_json):
            run = train_run(config, overrides or (), run_dir, resume=resume, new=new)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues from the last finished epoch", file=sys.stderr)
        sys.exit(130)
    if as_json:
        printing.print_json({"run": str(run.folder), "validation": run.metrics})
    else:
        printing.print_numbers("validation", run.metrics)
        _print_end(run)


def _print_end(run: Run) -> None:
    """Prints what a training took, where its results are, and what can be done with them."""
    from mobilenet_tf.training.rows import duration
    from mobilenet_tf.utils.run_folder import RunFolder

    folder = RunFolder(run.folder)
    if run.epochs:
        print(
            f"best epoch {run.best_epoch or 'unknown'} of {run.epochs} · {duration(run.seconds)} · "
            f"{run.images_per_second:.1f} images/s in training"
        )
    for title, path in (("model", folder.model), ("plots", folder.plots), ("log", folder.log)):
        print(f"{title}: {printing.link(path)}")
    print("next:")
    for command in (f"evaluate {run.folder}", f"export {run.folder}", f"predict {run.folder} IMAGES --images drawn"):
        print(f"  mobilenet-tf {readable(command)}")


def evaluate(
    model: ModelPath,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(help="The split to score: train, validation or test.")] = "test",
    config: Annotated[
        str | None, typer.Option(help="Name or path of a config, for a model file that does not contain one.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score only this number of samples.")] = None,
    plots: Annotated[
        Path | None, typer.Option(help="Folder for plots. Default: plots/<split> in a run folder, otherwise no plots.")
    ] = None,
    task: TaskName = None,
    classes: Classes = None,
    input_range: InputRange = None,
    ends_in: EndsIn = None,
    size: ImageSize = None,
    data: DataRoot = None,
    threads: Threads = None,
    trust: Trust = False,
    as_json: Json = False,
):
    """Score a run or model file on a split of its data, with the preprocessing it was trained with."""
    from mobilenet_tf.data.folder_names import splits_of_names
    from mobilenet_tf.data.splits import SPLITS

    split = splits_of_names([split]).get(split, split)  # val is validation
    if split not in SPLITS:
        raise UserError(f"--split must be train, validation or test. Received: {split}")
    from mobilenet_tf.workflow import evaluate_model

    is_run = (model / "model.keras").is_file()
    with printing.tables_to_stderr(as_json):
        numbers = evaluate_model(
            model,
            split=split,
            overrides=options.with_paths(overrides, data),
            name_or_path=config,
            declaration=options.declaration(task, classes, input_range, ends_in, size),
            limit=limit,
            threads=threads,
            trust=trust,
            plots=plots or (model / "plots" / split if is_run else None),
        )
    if is_run:
        printing.merge_json(model / "metrics.json", {split: numbers})
    printing.print_json(numbers) if as_json else printing.print_numbers(split, numbers)


def prune(
    run: Annotated[Path, typer.Argument(help="A run folder or .keras file with a MobileNetV2 or V3.")],
    overrides: Overrides = None,
    flops_reduction: Annotated[
        float, typer.Option("--flops-reduction", "--fewer", help="The share of the multiply-adds to remove.")
    ] = 0.3,
    criterion: Annotated[
        str, typer.Option("--criterion", "--by", help="How channels are scored: l1 or batch_norm.")
    ] = "l1",
    output: Annotated[Path, typer.Option("--output", "--to", help="The .keras file to write.")] = Path("pruned.keras"),
    as_json: Json = False,
):
    """Remove the least important expansion channels. Fine-tune the result with train.network=FILE."""
    from mobilenet_tf.prune import table
    from mobilenet_tf.workflow import prune_run

    result = prune_run(run, output, flops_reduction, criterion, overrides or ())
    printing.print_json(result.to_dict() | {"file": str(output)}) if as_json else print_table(table(result))
    if not as_json:
        print(f"{output}: fine-tune it with mobilenet-tf train CONFIG train.network={output}")
