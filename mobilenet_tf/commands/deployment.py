"""Commands around model files: export, import, predict, benchmark, inspect."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mobilenet_tf.commands import options, printing
from mobilenet_tf.commands.options import (
    Architecture,
    Calibration,
    Classes,
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
    WeightsOf,
)
from mobilenet_tf.inference.formats import FORMATS, suffixes
from mobilenet_tf.utils.console import print_table
from mobilenet_tf.utils.errors import UserError


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
    app: Annotated[
        str | None,
        typer.Option(help="Also write a program around the .tflite files: web, a page; android, a Gradle project."),
    ] = None,
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

    if app:
        from mobilenet_tf.export.apps import check_kind

        check_kind(app)
    declaration = options.declaration(task, classes, input_range, ends_in, size, weights, architecture)
    given = {
        "overrides": options.with_paths(overrides, data, calibration),
        "declaration": declaration,
        "trust": trust,
    }
    if analyze:
        _analyze(model, folder, as_json, given)
        return
    with printing.tables_to_stderr(as_json):
        results = export_run(model, formats.split(",") if formats else (), folder=folder, **given)
    if as_json:
        printing.print_json([result.to_dict() for result in results])
    else:
        from mobilenet_tf.export.verification import table
        from mobilenet_tf.workflow import exports_of

        print_table(table(results))
        print(f"report with example images: {(folder or exports_of(model)) / 'report.html'}")
    if app:
        from mobilenet_tf.workflow import exports_of, write_app

        written = write_app(app, folder or exports_of(model))
        print(f"{app}: {written}, see the README.md there", file=sys.stderr if as_json else sys.stdout)
    failed = [result for result in results if not result.ok]
    if failed and not allow_drop:
        sys.exit(3)


def _analyze(model: str, folder: Path | None, as_json: bool, given: dict[str, Any]) -> None:
    from mobilenet_tf.workflow import analyze_run, exports_of

    with printing.tables_to_stderr(as_json):
        result = analyze_run(model, folder=folder, **given)
    if as_json:
        printing.print_json(result.to_dict())
        return
    from mobilenet_tf.export.sensitivity import tables

    for table in tables(result):
        print_table(table)
    print(f"plot: {(folder or exports_of(model)) / 'sensitivity.png'}")


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
    """Turn a model of others into a .keras file that evaluates, predicts and exports like one of this package."""
    from mobilenet_tf.workflow import import_model

    declaration = options.declaration(task, classes, input_range, ends_in, size, weights, architecture)
    with printing.tables_to_stderr(as_json):
        metadata = import_model(source, output, declaration, overrides=options.with_paths(overrides, data))
    if as_json:
        printing.print_json({"file": str(output), **json.loads(metadata.to_json())})
    else:
        height, width = metadata.input_size
        print(f"{output}: {metadata.task}, {len(metadata.classes)} classes, {height}x{width} px, images in 0..255")


def predict(
    model: ModelPath,
    paths: Annotated[list[str], typer.Argument(help="Image files, folders or globs.")],
    images: Annotated[
        Path | None,
        typer.Option(
            "--images", "--pictures", help="Folder for copies of the images with the predictions drawn on them."
        ),
    ] = None,
    csv_file: Annotated[
        Path | None,
        typer.Option("--csv", help="Also write the predictions to this CSV file, a row for each class or object."),
    ] = None,
    coco: Annotated[
        Path | None, typer.Option(help="Also write the objects of a detector to this JSON file of COCO's results.")
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder for the masks of a segmentation model as PNG files; JSON then has run lengths, too."),
    ] = None,
    vectors: Annotated[
        bool, typer.Option("--vectors", help="Give the vectors of an embedding model in JSON and CSV.")
    ] = False,
    min_score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Lowest score of objects, classes or attributes. Default: 0.3 for objects."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Number of objects, classes or attributes, the best.")] = None,
    task: TaskName = None,
    classes: Classes = None,
    input_range: InputRange = None,
    ends_in: EndsIn = None,
    size: ImageSize = None,
    threads: Threads = None,
    trust: Trust = False,
    as_json: Json = False,
    as_lines: Annotated[
        bool, typer.Option("--jsonl", help="Print one JSON object a line for each image, as soon as it is predicted.")
    ] = False,
):
    """Predict images with a run or model file. docs/answers.md describes JSON and CSV."""
    from mobilenet_tf import answer_files
    from mobilenet_tf.task import Selection
    from mobilenet_tf.utils.files import write_csv
    from mobilenet_tf.workflow import answer_files as predicted

    if as_json and as_lines:
        raise UserError("--json and --jsonl must not be given together. Received: both")
    answer_files.check_places({"--csv": csv_file, "--coco": coco, "--images": images, "--masks": masks})
    answers = predicted(
        model,
        paths,
        selection=Selection(min_score, top, vectors),
        pictures=images,
        masks=masks,
        complete=coco is not None,
        threads=threads,
        trust=trust,
        declaration=options.declaration(task, classes, input_range, ends_in, size),
    )
    kept, any_read = [], False
    with answer_files.coco_file(coco, answers.paths, answers.classes) as add_to_coco:
        for answer in answers:
            any_read |= not answer.failed
            add_to_coco(answer)
            if as_lines:
                printing.print_json(answer.values, indent=None)
            if csv_file or not as_lines:
                kept.append(answer)
        kept = answers.ranked(kept)
        if as_json:
            printing.print_json([answer.values for answer in kept])
        elif not as_lines:
            printing.print_rows([answer.row for answer in kept])
    if csv_file:
        write_csv(csv_file, [row for answer in kept for row in answer_files.table_rows(answer.values)])
    for name, folder in (("images", images), ("masks", masks)):
        if folder:
            print(f"{name}: {folder}", file=sys.stderr)
    if not any_read:
        sys.exit(2)


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
    printing.print_json([result.to_dict() for result in results]) if as_json else print_table(benchmark.table(results))


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
        printing.print_json(inspection.to_dict())
    else:
        from mobilenet_tf.analysis.inspection import tables

        for table in tables(inspection, by_layer=layers):
            print_table(table)
