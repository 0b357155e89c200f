"""The command line. TensorFlow is imported by the commands that need it, once their arguments have been checked."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mobilenet_tf.inference.formats import FORMATS, KINDS, suffixes
from mobilenet_tf.utils.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="MobileNets from training to the phone.",
)
configs_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="List or show the shipped configs.")
app.add_typer(configs_app, name="configs")

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="changes to the config")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]
THREADED = " and ".join(kind.suffix for kind in KINDS.values() if kind.threads)
Threads = Annotated[int | None, typer.Option(min=1, help=f"threads for {THREADED}; default: all cores")]
ModelPath = Annotated[Path, typer.Argument(help=f"run folder, SavedModel, {suffixes()} file")]


def main() -> None:
    """Runs the command line; a user's mistake is one line on stderr and exit code 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    gc.set_threshold(100_000, 50, 100)  # looking through the objects of traced networks took a seventh of a start
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    # An image over the size limit is refused with an error of our own, so that Pillow's warning says nothing new
    warnings.filterwarnings("ignore", message="Image size .* could be decompression bomb")
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@app.command()
def demo(
    run_dir: Annotated[Path, typer.Option(help="where the run goes")] = Path("runs/demo"),
    as_json: Json = False,
):
    """Train, evaluate, export, verify, predict and benchmark on the built-in pictures, in under three minutes."""
    from mobilenet_tf.demo import run

    numbers = run(run_dir)
    if as_json:
        _print_json(numbers)


@app.command("check-data")
def check_data(
    config: Annotated[str, typer.Argument(help="a shipped config's name or a YAML path")],
    overrides: Overrides = None,
    folder: Annotated[Path | None, typer.Option(help="for the pictures; default: runs/check-<config>")] = None,
    as_json: Json = False,
):
    """Check annotations before training: faults, counts, sizes, how well the anchors fit; draws samples."""
    from mobilenet_tf.workflow import check_data

    result, lines = check_data(config, overrides or (), folder)
    if as_json:
        _print_json(result)
    else:
        print("\n".join([*lines, *(f"picture: {path}" for path in result["files"])]))


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="a shipped config's name or a YAML path")],
    overrides: Overrides = None,
    run_dir: Annotated[Path | None, typer.Option(help="default: runs/<config>; an interrupted run continues")] = None,
    as_json: Json = False,
):
    """Train a model; the run folder holds everything that comes of it."""
    from mobilenet_tf.workflow import train_run

    try:
        with _tables_to_stderr(as_json):
            run = train_run(config, overrides or (), run_dir)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues from the last finished epoch", file=sys.stderr)
        sys.exit(130)
    if as_json:
        _print_json({"run": str(run.folder), "validation": run.metrics})
    else:
        _print_numbers("validation", run.metrics)
        print(f"model, plots and log: {run.folder}")


@app.command()
def evaluate(
    model: ModelPath,
    overrides: Overrides = None,
    split: Annotated[str, typer.Option(help="train, validation or test")] = "test",
    config: Annotated[str | None, typer.Option(help="a config, for a file that carries none")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="score so many samples only")] = None,
    plots: Annotated[Path | None, typer.Option(help="folder for plots; default for a run: its plots/<split>")] = None,
    threads: Threads = None,
    as_json: Json = False,
):
    """Score any artifact on a split, with the preprocessing it was trained with."""
    from mobilenet_tf.data.splits import SPLITS

    if split not in SPLITS:
        raise UserError(f"--split must be train, validation or test. Received: {split}")
    from mobilenet_tf.workflow import evaluate_model

    is_run = (model / "model.keras").is_file()
    numbers = evaluate_model(
        model,
        split=split,
        overrides=overrides or (),
        name_or_path=config,
        limit=limit,
        threads=threads,
        plots=plots or (model / "plots" / split if is_run else None),
    )
    if is_run:
        _merge_json(model / "metrics.json", {split: numbers})
    _print_json(numbers) if as_json else _print_numbers(split, numbers)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="run folder or .keras file")],
    overrides: Overrides = None,
    formats: Annotated[
        str | None, typer.Option(help=f"comma-separated, of {', '.join(FORMATS)}; default: export.formats")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="default: exports/ in the run folder")] = None,
    allow_drop: Annotated[
        bool, typer.Option(help="exit with 0 even when the metric drops over export.max_drop")
    ] = False,
    analyse: Annotated[
        bool, typer.Option("--analyse", help="no files: what int8 costs each layer, and which few to leave in float32")
    ] = False,
    as_json: Json = False,
):
    """Export a model and prove that every file still gives its answers; exit code 3 when one does not."""
    from mobilenet_tf.workflow import export_run

    if analyse:
        _analyse(run, overrides or (), folder, as_json)
        return
    with _tables_to_stderr(as_json):
        results = export_run(run, formats.split(",") if formats else (), overrides=overrides or (), folder=folder)
    if as_json:
        _print_json([result.to_dict() for result in results])
    else:
        from mobilenet_tf.export.verification import table
        from mobilenet_tf.workflow import exports_of

        _print(table(results))
        print(f"with pictures: {(folder or exports_of(run)) / 'report.html'}")
    failed = [result for result in results if not result.ok]
    if failed and not allow_drop:
        sys.exit(3)


def _analyse(run: Path, overrides: Sequence[str], folder: Path | None, as_json: bool) -> None:
    from mobilenet_tf.workflow import analyse_run, exports_of

    with _tables_to_stderr(as_json):
        result = analyse_run(run, overrides=overrides, folder=folder)
    if as_json:
        _print_json(result.to_dict())
        return
    from mobilenet_tf.export.sensitivity import tables

    for table in tables(result):
        _print(table)
    print(f"as a picture: {(folder or exports_of(run)) / 'sensitivity.png'}")


@app.command()
def prune(
    run: Annotated[Path, typer.Argument(help="run folder or .keras file with a MobileNetV2 or V3")],
    overrides: Overrides = None,
    fewer: Annotated[
        float, typer.Option("--flops-reduction", "--fewer", help="the share of the multiply-adds to cut away")
    ] = 0.3,
    by: Annotated[str, typer.Option("--criterion", "--by", help="how channels are scored: l1 or batch_norm")] = "l1",
    to: Annotated[Path, typer.Option(help="the .keras file to write")] = Path("pruned.keras"),
    as_json: Json = False,
):
    """Cut the expansion channels that matter least; fine-tune what is left with train.network=FILE."""
    from mobilenet_tf.prune import table
    from mobilenet_tf.workflow import prune_run

    result = prune_run(run, to, fewer, by, overrides or ())
    _print_json(result.to_dict() | {"file": str(to)}) if as_json else _print(table(result))
    if not as_json:
        print(f"{to}: fine-tune it with mobilenet-tf train CONFIG train.network={to}")


@app.command()
def predict(
    model: ModelPath,
    paths: Annotated[list[str], typer.Argument(help="pictures, folders, globs")],
    pictures: Annotated[Path | None, typer.Option(help="folder for annotated copies")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="write the rows to a CSV file")] = None,
    threads: Threads = None,
    as_json: Json = False,
):
    """Predict pictures with any artifact."""
    from mobilenet_tf.utils.files import write_csv
    from mobilenet_tf.workflow import predict_files

    rows = predict_files(model, paths, pictures=pictures, threads=threads)
    if csv_file:
        write_csv(csv_file, rows)
    _print_json(rows) if as_json else _print_rows(rows)
    if pictures:
        print(f"pictures: {pictures}", file=sys.stderr)
    if all("error" in row for row in rows):
        sys.exit(2)


@app.command()
def benchmark(
    models: Annotated[list[Path], typer.Argument(help=f"run folders, SavedModels, {suffixes()} files")],
    threads: Annotated[list[int], typer.Option(min=1, help="repeat for several")] = [1, 2],  # noqa: B006
    runs: Annotated[int, typer.Option(min=3, help="timed calls of each")] = 50,
    as_json: Json = False,
):
    """Latency and size of artifacts, side by side."""
    from mobilenet_tf.analysis import benchmark

    results = benchmark.compare(models, threads=tuple(threads), runs=runs)
    _print_json([result.to_dict() for result in results]) if as_json else _print(benchmark.table(results))


@app.command()
def inspect(
    model: ModelPath,
    samples: Annotated[
        list[str] | None, typer.Option(help="pictures, folders, globs: finds channels of a .keras that never answer")
    ] = None,
    layers: Annotated[bool, typer.Option(help="every operation or layer, not only types and totals")] = False,
    as_json: Json = False,
):
    """What is inside a model file: inputs, outputs, operations, quantization, size, cost, metadata, dead kernels."""
    from mobilenet_tf.workflow import inspect_model

    found = inspect_model(model, samples or ())
    if as_json:
        _print_json(found.to_dict())
    else:
        from mobilenet_tf.analysis.inspection import tables

        for table in tables(found, by_layer=layers):
            _print(table)


@app.command()
def cost(
    network: Annotated[str, typer.Argument(help="a backbone's name such as mobilenet_v2, or a .keras file")],
    alpha: Annotated[float, typer.Option(min=0.01, help="width")] = 1.0,
    size: Annotated[str, typer.Option(help="input size, 224 or 224x320")] = "224",
    layers: Annotated[bool, typer.Option(help="every layer, not only types and totals")] = False,
    full_convolutions: Annotated[bool, typer.Option(help="V1: the same network without depthwise separation")] = False,
    formulas: Annotated[str | None, typer.Option(help="one layer built four ways: KERNEL,IN,OUT,SIZE")] = None,
    plot: Annotated[Path | None, typer.Option(help="draw the width x resolution grid to this picture")] = None,
    as_json: Json = False,
):
    """Parameters and multiply-adds per layer, per type and in total."""
    pixels = _numbers(size, "x", "--size", (1, 2))
    values = _numbers(formulas, ",", "--formulas", (4,)) if formulas else None
    is_file = Path(network).suffix == ".keras"
    if not is_file:
        from mobilenet_tf.models import specs

        specs.find(network)
    from mobilenet_tf.analysis import cost as costs
    from mobilenet_tf.inference.predict import load_keras

    image = (pixels[0], pixels[-1])
    if is_file:
        result = costs.cost(load_keras(network), image)
    else:
        result = costs.net_cost(network, alpha, image, full_convolutions)
    rows = costs.layer_formulas(*values) if values else []
    if plot:
        costs.plot_grid(plot, "mobilenet_v1" if is_file else network)
    if as_json:
        _print_json(result.to_dict() | ({"formulas": [asdict(row) for row in rows]} if rows else {}))
    else:
        _print(costs.table(result, by_layer=layers))
        if rows:
            _print(costs.formula_table(rows))


@configs_app.command("list")
def list_configs(as_json: Json = False):
    """The shipped configs, each with its first comment line."""
    from mobilenet_tf import config

    rows = [
        {"name": name, "about": path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")}
        for name, path in config.shipped().items()
    ]
    _print_json(rows) if as_json else _print_rows(rows)


@configs_app.command("show")
def show_config(name: str, overrides: Overrides = None, as_json: Json = False):
    """A config with all defaults filled in, as a run would store it."""
    import yaml

    from mobilenet_tf import config

    values = config.load(name, overrides or ()).to_dict()
    _print_json(values) if as_json else print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")


@app.command()
def doctor(as_json: Json = False):
    """Versions, devices, optional extras, threads."""
    from mobilenet_tf.doctor import examine

    found = examine()
    _print_json(found) if as_json else _print_rows([{"what": key, "found": str(value)} for key, value in found.items()])


def _print(renderable) -> None:
    from rich.console import Console

    Console().print(renderable)


def _print_json(values) -> None:
    print(json.dumps(values, indent=2, ensure_ascii=False))


def _print_numbers(title: str, numbers: dict) -> None:
    _print_rows(
        [{title: key, "value": f"{value:.4f}" if isinstance(value, float) else value} for key, value in numbers.items()]
    )


def _print_rows(rows: list[dict]) -> None:
    from rich.table import Table

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    _print(table)


def _merge_json(path: Path, values: dict) -> None:
    from mobilenet_tf.utils.files import read_json, write_json

    write_json(path, (read_json(path) if path.exists() else {}) | values)


def _tables_to_stderr(as_json: bool):
    """With --json, stdout holds JSON alone: whatever else is printed meanwhile goes to stderr."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


def _numbers(text: str, separator: str, option: str, counts: tuple[int, ...]) -> list[int]:
    parts = text.split(separator)
    if len(parts) not in counts or not all(part.isdigit() and int(part) for part in parts):
        wanted = " or ".join(separator.join(["N"] * count) for count in counts)
        raise UserError(f"{option} must look like {wanted} with whole numbers above 0. Received: {text}")
    return [int(part) for part in parts]
