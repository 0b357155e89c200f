"""What the commands do, as functions for programs and notebooks. The only module that finds a task by its name."""

from __future__ import annotations

import glob
import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mobilenet_tf import config
from mobilenet_tf.config import Config
from mobilenet_tf.inference import artifact
from mobilenet_tf.task import Inference, Prediction, Task
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track
from mobilenet_tf.utils.run_folder import RunFolder

if TYPE_CHECKING:
    import numpy as np

    from mobilenet_tf.analysis.inspection import Inspection
    from mobilenet_tf.data.source import Sample
    from mobilenet_tf.export.sensitivity import Sensitivity
    from mobilenet_tf.export.verification import Verification
    from mobilenet_tf.inference.predict import Predictor
    from mobilenet_tf.prune import PruningResult
    from mobilenet_tf.training.train import Run

BATCH = 32  # pictures predicted at a time


def find_task(name: str) -> type[Task]:
    """Returns the class `Task` of `mobilenet_tf.tasks.<name>.task`."""
    return importlib.import_module(f"mobilenet_tf.tasks.{name}.task").Task


def find_inference(name: str) -> type[Inference]:
    """Returns the class `Inference` of `mobilenet_tf.tasks.<name>.inference`, which imports no TensorFlow."""
    return importlib.import_module(f"mobilenet_tf.tasks.{name}.inference").Inference


def train_run(name_or_path: str, overrides: Sequence[str] = (), folder: Path | None = None) -> Run:
    """Trains a config into a run folder, or continues the run there that was interrupted.

    Args:
        name_or_path: the name of a shipped config or the path of a YAML file.
        overrides: changes to it, such as "train.batch_size=16".
        folder: the run folder; None: `runs/<name of the config>`.

    Raises:
        UserError: a mistake in the config, or a finished run in the folder.
    """
    cfg = config.load(name_or_path, list(overrides))
    folder = folder or Path("runs") / Path(name_or_path).stem
    if RunFolder(folder).model.exists():
        raise UserError(f"the run in {folder} is finished; choose another --run-dir or delete it. Received: {folder}")
    from mobilenet_tf.training.train import train

    return train(find_task(cfg.task), cfg, folder)


def open_config(model: Path, overrides: Sequence[str] = (), name_or_path: str | None = None) -> Config:
    """Returns the config that is stored in a model file or run folder, with overrides applied.

    Args:
        name_or_path: another config in its place, the name of a shipped one or a YAML file.

    Raises:
        UserError: a file that carries no config, or a mistake in the config.
    """
    if name_or_path:
        return config.load(name_or_path, list(overrides))
    metadata = artifact.read(model)
    if metadata is None or not metadata.config:
        from mobilenet_tf.inference.predict import load_predictor

        load_predictor(model)  # a file that is cut off, and so has lost it, is told as such
        raise UserError(
            f"{model} carries no mobilenet_tf metadata (task, classes, config), so its preprocessing is unknown: "
            f"evaluate takes a config with --config; benchmark and inspect work without. Received: {model}"
        )
    return config.override(metadata.config, list(overrides), str(model))


def check_data(name_or_path: str, overrides: Sequence[str] = (), folder: Path | None = None) -> tuple[dict, list[str]]:
    """Examines the data of a config and draws samples with their annotations into a folder.

    Args:
        folder: where the images go; None: `runs/check-<name of the config>`.

    Returns:
        The report as plain values, and the same as lines of text.

    Raises:
        UserError: the task has no annotations that could be checked.
    """
    cfg = config.load(name_or_path, list(overrides))
    name = f"mobilenet_tf.tasks.{cfg.task}.check"
    if importlib.util.find_spec(name) is None:
        raise UserError(f"check-data needs a task with annotations to check, such as detection. Received: {cfg.task}")
    check = importlib.import_module(name)
    result = check.check(cfg, folder or Path("runs") / f"check-{Path(name_or_path).stem}")
    return result, check.lines(result)


def evaluate_model(
    model: Path,
    *,
    split: str = "test",
    overrides: Sequence[str] = (),
    name_or_path: str | None = None,
    limit: int | None = None,
    threads: int | None = None,
    plots: Path | None = None,
) -> dict[str, float]:
    """Scores any model file or run folder on a split of its data.

    Args:
        split: "train", "validation" or "test".
        overrides: changes to the config, such as "data.root=OTHER".
        name_or_path: a config in place of the one in the file, for files that carry none.
        limit: score so many samples only, drawn evenly or class by class; None: all.
        threads: for .tflite and .onnx files; None: all cores.
        plots: a folder for plots and tables; None: none are made.

    Returns:
        The metrics by their names.

    Raises:
        UserError: the file's class names are not those of the data.
    """
    cfg = open_config(model, overrides, name_or_path)
    import numpy as np

    from mobilenet_tf.inference.predict import load_predictor
    from mobilenet_tf.training.evaluate import evaluate

    task, predictor = find_task(cfg.task)(cfg), load_predictor(model, threads=threads)
    source = task.source(split)
    if task.closed_set and predictor.metadata and list(predictor.metadata.classes) != list(source.classes):
        raise UserError(
            f"the classes of the data must be those of {model}: {_names(predictor.metadata.classes)}. "
            f"Received: {_names(source.classes)}"
        )
    if task.closed_set and predictor.metadata is None:
        raw = predictor(np.zeros((1, *(predictor.input_size or cfg.model.input_size), 3), np.float32))
        width = raw.shape[-1] if isinstance(raw, np.ndarray) and raw.dtype.kind == "f" else len(source.classes)
        if width != len(source.classes):
            raise UserError(f"{model} must have {_names(source.classes)} as its outputs. Received: {width} outputs")
    metric = task.metric(source)
    numbers = evaluate(task, task.tta(predictor), source, limit=limit, metric=metric)
    if plots:
        plots.mkdir(parents=True, exist_ok=True)
        task.report(metric, source.classes, plots)
    return numbers


def export_run(
    run: Path, formats: Sequence[str] = (), *, overrides: Sequence[str] = (), folder: Path | None = None
) -> list[Verification]:
    """Exports a run's model, compares every file with it on validation samples, and stores the figures.

    Args:
        run: a run folder or a .keras file.
        formats: such as "tflite" and "tflite_int8"; none: `export.formats` of the config.
        folder: where the files and report.html go; None: `exports` beside the model.

    Returns:
        One `Verification` a file, in the order of the formats.
    """
    cfg = open_config(run, overrides)
    from mobilenet_tf.export import report
    from mobilenet_tf.export.exporter import Exporter
    from mobilenet_tf.inference.formats import FORMATS, find_format
    from mobilenet_tf.inference.predict import load_predictor

    names = list(formats or cfg.export.formats)
    for name in names:
        find_format(name, "formats")
    task, folder = find_task(cfg.task)(cfg), folder or exports_of(run)
    exporter = Exporter(task, artifact.locate(run)[0])
    paths, results = [], []
    for name in names:
        paths.append(exporter.write(name, folder / FORMATS[name].filename))
        results.append(exporter.verify(name, paths[-1]))
    results, notes = report.measure(results, paths)
    predictors = {"model": exporter.reference, **{path.name: load_predictor(path) for path in paths}}
    pictures = report.drawings(task, exporter.metadata.classes, exporter.images, predictors)
    title = f"{exporter.file.parent.name}: {task.name}"
    report.write(folder / "report.html", title, results, pictures, notes)
    return results


def analyse_run(run: Path, *, overrides: Sequence[str] = (), folder: Path | None = None) -> Sensitivity:
    """Measures what each layer of a run's model loses by int8, and what is won back by leaving the worst in float32.

    Args:
        folder: where sensitivity.json and sensitivity.png go; None: `exports` beside the model.
    """
    cfg = open_config(run, overrides)
    from mobilenet_tf.export import sensitivity
    from mobilenet_tf.export.exporter import Exporter

    result = sensitivity.analyze(Exporter(find_task(cfg.task)(cfg), artifact.locate(run)[0]))
    sensitivity.save(result, folder or exports_of(run))
    return result


def exports_of(run: Path) -> Path:
    """Returns the folder that the exports of a run or a model file go to."""
    return RunFolder(artifact.locate(run)[0].parent).exports


def prune_run(run: Path, path: Path, fewer: float, by: str, overrides: Sequence[str] = ()) -> PruningResult:
    """Cuts a smaller network out of a run's model and writes it to a .keras file, which `train.network` takes."""
    cfg = open_config(run, overrides)
    if path.suffix != ".keras":
        raise UserError(f"the pruned network must go to a .keras file. Received: {path}")
    from mobilenet_tf.inference.predict import load_keras
    from mobilenet_tf.prune import prune

    model, _ = artifact.locate(run)
    metadata = artifact.read(model)
    assert metadata is not None  # open_config has read it
    result = prune(load_keras(model), cfg.model.backbone, fewer, criterion=by, input_size=cfg.model.input_size)
    with files.replacing(path) as temporary:
        result.model.save(temporary)
        artifact.write(temporary, metadata)
    return result


def predict_images(inference: Inference, predictor: Predictor, images: Sequence[np.ndarray]) -> list[Prediction]:
    """Predicts images uint8 [H, W, 3] of any size, all of them in one batch; returns one prediction for each."""
    import numpy as np

    inputs = np.stack([inference.preprocess(image) for image in images])
    sizes = np.array([image.shape[:2] for image in images], np.int32)
    return inference.decode(predictor(inputs), sizes)


def predict_files(
    model: Path,
    patterns: Sequence[str],
    *,
    pictures: Path | None = None,
    threads: int | None = None,
) -> list[dict]:
    """Predicts files, folders and globs. Returns one row a picture; annotated copies go to `pictures`.

    A file that cannot be read becomes a row with "error"; the others are predicted all the same. A task that compares
    pictures compares them with the first one, which then must be readable, and may put the rows in order.
    TensorFlow is imported for a .keras file, a SavedModel or a run folder only.
    """
    cfg = open_config(model)

    import numpy as np

    from mobilenet_tf import viz
    from mobilenet_tf.data import images
    from mobilenet_tf.inference.predict import load_predictor

    inference, predictor, paths = (
        find_inference(cfg.task)(cfg),
        load_predictor(model, threads=threads),
        find_pictures(patterns),
    )
    assert predictor.metadata is not None  # open_config has read it
    classes, rows, first = predictor.metadata.classes, [], None
    for start in track(range(0, len(paths), BATCH), "predict"):
        loaded = {}
        for path in paths[start : start + BATCH]:
            try:
                loaded[path] = images.read(path)
            except UserError as error:
                if inference.compares and path == paths[0]:
                    raise
                rows.append({"file": str(path), "error": str(error)})
        if not loaded:
            continue
        predictions = predict_images(inference, predictor, list(loaded.values()))
        for (path, image), prediction in zip(loaded.items(), predictions, strict=True):
            if inference.compares:
                first = first or prediction
                prediction = inference.compare(first, prediction)
            rows.append({"file": str(path)} | inference.to_row(prediction, classes))
            if pictures:
                pictures.mkdir(parents=True, exist_ok=True)
                viz.save_image(inference.draw(image, prediction, classes), pictures / f"{path.stem}.png")
    if inference.sort_by:
        rows.sort(key=lambda row: row.get(inference.sort_by, -np.inf), reverse=True)
    return rows


def inspect_model(model: Path, samples: Sequence[str] = ()) -> Inspection:
    """Finds out what is inside a model file or run folder.

    Args:
        samples: image files, folders and globs, by which the channels of a .keras file that are never active are
            found; the images go through the preprocessing of its evaluation.
    """
    from mobilenet_tf.analysis import inspection

    return inspection.inspect(model, _sample_batches(model, samples) if samples else None)


def _sample_batches(model: Path, patterns: Sequence[str]):
    import numpy as np

    from mobilenet_tf.data import images

    cfg, paths = open_config(model), find_pictures(patterns)
    transform = find_task(cfg.task)(cfg).transform(training=False)
    for start in track(range(0, len(paths), BATCH), "look"):
        loaded = [images.read(path) for path in paths[start : start + BATCH]]
        yield np.stack([transform(cast("Sample", {"image": image}))["image"] for image in loaded])


def find_pictures(patterns: Sequence[str]) -> list[Path]:
    """The picture files that paths, folders (searched whole) and globs name, sorted within each, without repeats."""
    from mobilenet_tf.data.images import files_below

    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = files_below(path)
        else:
            matches = [path] if path.is_file() else sorted(Path(p) for p in glob.glob(pattern, recursive=True))
        if not matches:
            raise UserError(f"no picture, folder with pictures or matching glob there. Received: {pattern}")
        found |= dict.fromkeys(matches)
    return list(found)


def _names(classes: Sequence[str]) -> str:
    shown = ", ".join(classes[:4])
    return f"{len(classes)} classes {shown}{', …' if len(classes) > 4 else ''}"
