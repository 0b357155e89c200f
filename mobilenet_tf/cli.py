"""The command line. TensorFlow is imported by the commands that need it, once their arguments have been checked."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from mobilenet_tf.inference.formats import FORMATS, KINDS, suffixes
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Train, evaluate and export MobileNets.",
)
configs_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List or show the configs that come with the package."
)
app.add_typer(configs_app, name="configs")

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of config values, such as train.batch_size=16."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
THREADED = " and ".join(kind.suffix for kind in KINDS.values() if kind.threads)
Threads = Annotated[
    int | None, typer.Option(min=1, help=f"Number of threads for {THREADED} models. Default: all cores.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Open a SavedModel even if its graph reads or writes files, runs Python or uses the network."
    ),
]
# What a model of others does not say itself
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="For a model of others: classification, attributes, embedding or segmentation."),
]
Classes = Annotated[
    str | None,
    typer.Option(help="For a model of others: a file with the class names, one a line, or numbered for plain numbers."),
]
InputRange = Annotated[
    str | None,
    typer.Option(help="For a model of others: what it takes, such as 0..255, -1..1, 0..1, torch or caffe."),
]
EndsIn = Annotated[
    str | None, typer.Option(help="For a model of others: what its outputs are, logits, softmax or sigmoid.")
]
ImageSize = Annotated[
    str | None, typer.Option("--size", help="For a model of others that takes any: pixels, such as 224 or 224x320.")
]
WeightsOf = Annotated[
    str | None, typer.Option("--weights", help="For the name of a network: imagenet, or a .h5 file with its weights.")
]
Architecture = Annotated[
    str | None, typer.Option(help="For a checkpoint of PyTorch: what it holds, such as mobilenet_v3_large.")
]
DataRoot = Annotated[Path | None, typer.Option("--data", help="The data set to score on; the same as data.root=PATH.")]
Calibration = Annotated[
    Path | None,
    typer.Option(help="A folder of images for int8 to be calibrated on; the same as export.calibration=PATH."),
]
ModelPath = Annotated[Path, typer.Argument(help=f"A run folder, a SavedModel or a {suffixes()} file.")]


def _declaration(
    task: str | None,
    classes: str | None,
    input_range: str | None,
    ends_in: str | None,
    size: str | None,
    weights: str | None = None,
    architecture: str | None = None,
):
    from mobilenet_tf.foreign.declaration import Declaration

    pixels = _numbers(size, "x", "--size", (1, 2)) if size else None
    return Declaration(
        task=task,
        classes=Path(classes) if classes else None,
        input_range=input_range,
        ends_in=ends_in,
        size=(pixels[0], pixels[-1]) if pixels else None,
        weights=weights,
        architecture=architecture,
    )


def _with_paths(overrides: Sequence[str] | None, data: Path | None, calibration: Path | None = None) -> list[str]:
    """The overrides, with those that stand for --data and --calibration in front."""
    given = {"data.root": data, "export.calibration": calibration}
    return [*(f"{key}={path}" for key, path in given.items() if path is not None), *(overrides or ())]


def main() -> None:
    """Runs the command line; a user's mistake is one line on stderr and exit code 2."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for stream in (sys.stdout, sys.stderr):  # letters that the terminal lacks are printed as escapes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    gc.set_threshold(100_000, 50, 100)  # garbage collection of traced networks took a seventh of the start-up time
    warnings.formatwarning = lambda message, *_, **__: f"warning: {readable(message)}\n"
    # What Pillow warns of, such as damaged EXIF data, is no reason to stop, or told by an error of our own
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        app()
    except UserError as error:
        print(f"error: {readable(error)}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:  # beside the packages of requirements-runtime.txt alone
        package = (error.name or "").partition(".")[0]
        if package in ("", "mobilenet_tf"):
            raise
        print(f"error: this needs {package}, which is not installed: pip install mobilenet-tf", file=sys.stderr)
        sys.exit(2)


@app.command()
def demo(
    run_dir: Annotated[Path, typer.Option(help="The run folder to write.")] = Path("runs/demo"),
    as_json: Json = False,
):
    """Train, evaluate, export, verify, predict and benchmark on the built-in images, in under three minutes."""
    from mobilenet_tf.demo import run

    numbers = run(run_dir)
    if as_json:
        _print_json(numbers)


@app.command("check-data")
def check_data(
    config: Annotated[str, typer.Argument(help="The name of a shipped config or the path of a YAML file.")],
    overrides: Overrides = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the sample images. Default: runs/check-<config>.")
    ] = None,
    as_json: Json = False,
):
    """Check annotations before training: errors, counts, sizes and, for detection, how well the anchors fit.

    Also draws samples with their annotations.
    """
    from mobilenet_tf.workflow import check_data

    result, lines = check_data(config, overrides or (), folder)
    if as_json:
        _print_json(result)
    else:
        print("\n".join([*lines, *(f"image: {path}" for path in result["files"])]))


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="The name of a shipped config or the path of a YAML file.")],
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
        with _tables_to_stderr(as_json):
            run = train_run(config, overrides or (), run_dir, resume=resume, new=new)
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
    from mobilenet_tf.data.splits import SPLITS

    if split not in SPLITS:
        raise UserError(f"--split must be train, validation or test. Received: {split}")
    from mobilenet_tf.workflow import evaluate_model

    is_run = (model / "model.keras").is_file()
    with _tables_to_stderr(as_json):
        numbers = evaluate_model(
            model,
            split=split,
            overrides=_with_paths(overrides, data),
            name_or_path=config,
            declaration=_declaration(task, classes, input_range, ends_in, size),
            limit=limit,
            threads=threads,
            trust=trust,
            plots=plots or (model / "plots" / split if is_run else None),
        )
    if is_run:
        _merge_json(model / "metrics.json", {split: numbers})
    _print_json(numbers) if as_json else _print_numbers(split, numbers)


@app.command()
def export(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder, a .keras or .h5 file, a SavedModel, a checkpoint of PyTorch or the name of a network."
        ),
    ],
    overrides: Overrides = None,
    formats: Annotated[
        str | None,
        typer.Option(help=f"Comma-separated formats: {', '.join(FORMATS)}. Default: export.formats of the config."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the exported files. Default: exports/ in the run folder.")
    ] = None,
    allow_drop: Annotated[
        bool, typer.Option(help="Exit with code 0 even if the metric drops by more than export.max_drop.")
    ] = False,
    analyze: Annotated[
        bool,
        typer.Option(
            "--analyze",
            "--analyse",
            help="Export nothing; measure the quantization error of each layer and the effect of float32 layers.",
        ),
    ] = False,
    task: TaskName = None,
    classes: Classes = None,
    input_range: InputRange = None,
    ends_in: EndsIn = None,
    size: ImageSize = None,
    weights: WeightsOf = None,
    architecture: Architecture = None,
    data: DataRoot = None,
    calibration: Calibration = None,
    trust: Trust = False,
    as_json: Json = False,
):
    """Export a model of this package or of others, and compare the outputs and metrics of every file with it.

    The exit code is 3 if the comparison of a file fails.
    """
    from mobilenet_tf.workflow import export_run

    declaration = _declaration(task, classes, input_range, ends_in, size, weights, architecture)
    options = {"overrides": _with_paths(overrides, data, calibration), "declaration": declaration, "trust": trust}
    if analyze:
        _analyze(model, folder, as_json, options)
        return
    with _tables_to_stderr(as_json):
        results = export_run(model, formats.split(",") if formats else (), folder=folder, **options)
    if as_json:
        _print_json([result.to_dict() for result in results])
    else:
        from mobilenet_tf.export.verification import table
        from mobilenet_tf.workflow import exports_of

        _print(table(results))
        print(f"report with example images: {(folder or exports_of(model)) / 'report.html'}")
    failed = [result for result in results if not result.ok]
    if failed and not allow_drop:
        sys.exit(3)


def _analyze(model: str, folder: Path | None, as_json: bool, options: dict[str, Any]) -> None:
    from mobilenet_tf.workflow import analyze_run, exports_of

    with _tables_to_stderr(as_json):
        result = analyze_run(model, folder=folder, **options)
    if as_json:
        _print_json(result.to_dict())
        return
    from mobilenet_tf.export.sensitivity import tables

    for table in tables(result):
        _print(table)
    print(f"plot: {(folder or exports_of(model)) / 'sensitivity.png'}")


@app.command("import")
def import_model(
    source: Annotated[
        str, typer.Argument(help="A .keras or .h5 file, a checkpoint of PyTorch or the name of a network.")
    ],
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("--output", "--to", help="The .keras file to write.")] = Path("model.keras"),
    task: TaskName = None,
    classes: Classes = None,
    input_range: InputRange = None,
    ends_in: EndsIn = None,
    size: ImageSize = None,
    weights: WeightsOf = None,
    architecture: Architecture = None,
    data: DataRoot = None,
    as_json: Json = False,
):
    """Turn a model of others into a .keras file that evaluates, exports and fine-tunes like one of this package."""
    from mobilenet_tf.workflow import import_model

    declaration = _declaration(task, classes, input_range, ends_in, size, weights, architecture)
    with _tables_to_stderr(as_json):
        metadata = import_model(source, output, declaration, overrides=_with_paths(overrides, data))
    if as_json:
        _print_json({"file": str(output), **json.loads(metadata.to_json())})
    else:
        height, width = metadata.input_size
        print(f"{output}: {metadata.task}, {len(metadata.classes)} classes, {height}x{width} px, images in 0..255")


@app.command()
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
    _print_json(result.to_dict() | {"file": str(output)}) if as_json else _print(table(result))
    if not as_json:
        print(f"{output}: fine-tune it with mobilenet-tf train CONFIG train.network={output}")


@app.command()
def predict(
    model: ModelPath,
    paths: Annotated[list[str], typer.Argument(help="Image files, folders or globs.")],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", "--pictures", help="Folder for copies of the images with the predictions drawn on them."
        ),
    ] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Also write the predictions to this CSV file.")] = None,
    task: TaskName = None,
    classes: Classes = None,
    input_range: InputRange = None,
    ends_in: EndsIn = None,
    size: ImageSize = None,
    threads: Threads = None,
    trust: Trust = False,
    as_json: Json = False,
):
    """Predict images with a run or model file."""
    from mobilenet_tf.utils.files import check_replaceable, write_csv
    from mobilenet_tf.workflow import predict_files

    if csv_file:
        check_replaceable(csv_file)
    declaration = _declaration(task, classes, input_range, ends_in, size)
    rows = predict_files(model, paths, pictures=images, threads=threads, trust=trust, declaration=declaration)
    _print_json(rows) if as_json else _print_rows(rows)
    if csv_file:
        write_csv(csv_file, rows)
    if images:
        print(f"images: {images}", file=sys.stderr)
    if all("error" in row for row in rows):
        sys.exit(2)


@app.command()
def benchmark(
    models: Annotated[list[Path], typer.Argument(help=f"Run folders, SavedModels or {suffixes()} files.")],
    threads: Annotated[list[int], typer.Option(min=1, help="Number of threads; give it again for several.")] = [1, 2],  # noqa: B006
    runs: Annotated[int, typer.Option(min=3, help="Number of timed calls of each model.")] = 50,
    trust: Trust = False,
    as_json: Json = False,
):
    """Compare the latency and size of models."""
    from mobilenet_tf.analysis import benchmark

    results = benchmark.compare(models, threads=tuple(threads), runs=runs, trust=trust, compiled=True)
    _print_json([result.to_dict() for result in results]) if as_json else _print(benchmark.table(results))


@app.command()
def inspect(
    model: ModelPath,
    samples: Annotated[
        list[str] | None,
        typer.Option(help="Image files, folders or globs that are used to find dead channels of a .keras file."),
    ] = None,
    layers: Annotated[bool, typer.Option(help="List every operation or layer, not only types and totals.")] = False,
    as_json: Json = False,
):
    """Show the contents of a model file: inputs, outputs, operations, quantization, size, cost and metadata."""
    from mobilenet_tf.workflow import inspect_model

    inspection = inspect_model(model, samples or ())
    if as_json:
        _print_json(inspection.to_dict())
    else:
        from mobilenet_tf.analysis.inspection import tables

        for table in tables(inspection, by_layer=layers):
            _print(table)


@app.command()
def cost(
    network: Annotated[str, typer.Argument(help="The name of a backbone, such as mobilenet_v2, or a .keras file.")],
    alpha: Annotated[float, typer.Option(min=0.01, help="Width multiplier.")] = 1.0,
    size: Annotated[str, typer.Option(help="Input size in pixels: 224, or HEIGHTxWIDTH such as 224x320.")] = "224",
    layers: Annotated[bool, typer.Option(help="List every layer, not only types and totals.")] = False,
    full_convolutions: Annotated[
        bool, typer.Option(help="For V1: replace the depthwise separable convolutions by full ones.")
    ] = False,
    formulas: Annotated[
        str | None, typer.Option(help="Also compare four designs of one layer, given as KERNEL,IN,OUT,SIZE.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw a plot of the cost by width and resolution to this file.")
    ] = None,
    as_json: Json = False,
):
    """Count parameters and multiply-adds per layer, per type and in total."""
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
    """List the configs that come with the package, each with its first comment line."""
    from mobilenet_tf import config

    rows = [
        {"name": name, "about": path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")}
        for name, path in config.shipped().items()
    ]
    _print_json(rows) if as_json else _print_rows(rows)


@configs_app.command("show")
def show_config(
    name: Annotated[str, typer.Argument(help="The name of a shipped config or the path of a YAML file.")],
    overrides: Overrides = None,
    as_json: Json = False,
):
    """Print a config with all default values, as a run folder stores it."""
    import yaml

    from mobilenet_tf import config

    values = config.load(name, overrides or ()).to_dict()
    as_is = (sys.stdout.encoding or "").lower().startswith("utf")  # YAML has escapes of its own for other letters
    _print_json(values) if as_json else print(yaml.safe_dump(values, sort_keys=False, allow_unicode=as_is), end="")


@app.command()
def doctor(as_json: Json = False):
    """Show versions, devices, optional packages and threads."""
    from mobilenet_tf.doctor import examine

    values = examine()
    rows = [{"what": key, "found": str(value)} for key, value in values.items()]
    _print_json(values) if as_json else _print_rows(rows)


def _print(renderable) -> None:
    from rich.console import Console

    Console().print(renderable)


def _print_json(values) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # a terminal without these letters, or names of files that are not UTF-8
        text = json.dumps(values, indent=2)
    print(text)


def _print_numbers(title: str, numbers: dict) -> None:
    _print_rows(
        [{title: key, "value": f"{value:.4f}" if isinstance(value, float) else value} for key, value in numbers.items()]
    )


def _print_rows(rows: list[dict]) -> None:
    from rich.table import Table

    from mobilenet_tf.utils.console import plain

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*map(plain, columns))
    for row in rows:
        table.add_row(*(plain(row.get(column, "")) for column in columns))
    _print(table)


def _merge_json(path: Path, values: dict) -> None:
    from mobilenet_tf.utils.files import read_json, write_json

    try:
        write_json(path, (read_json(path) if path.exists() else {}) | values)
    except (OSError, ValueError, TypeError) as error:  # the numbers are printed all the same
        warnings.warn(f"the numbers are not stored in {path}: {error}", stacklevel=2)


def _tables_to_stderr(as_json: bool):
    """With --json, stdout holds JSON alone: whatever else is printed meanwhile goes to stderr."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


def _numbers(text: str, separator: str, option: str, counts: tuple[int, ...]) -> list[int]:
    parts = text.split(separator)
    if len(parts) not in counts or not all(part.isdigit() and int(part) for part in parts):
        wanted = " or ".join(separator.join(["N"] * count) for count in counts)
        raise UserError(f"{option} must look like {wanted} with whole numbers above 0. Received: {text}")
    return [int(part) for part in parts]
