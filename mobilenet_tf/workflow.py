"""The commands as functions for programs and notebooks. Only this module finds a task by its name."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import os
import warnings
from collections import Counter
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

BATCH = 32  # images predicted at a time


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

    Returns:
        The folder, the trained model and its metrics on the validation split.

    Raises:
        UserError: the config has a mistake, or the folder holds a finished run.
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
        model: a run folder or a model file.
        overrides: changes to the config, such as "data.root=OTHER".
        name_or_path: a config to use instead, as the name of a shipped one or the path of a YAML file.

    Returns:
        The validated config.

    Raises:
        UserError: the file does not contain a config, or the config has a mistake.
    """
    if name_or_path:
        return config.load(name_or_path, list(overrides))
    metadata = artifact.read(model)
    if metadata is None or not metadata.config:
        from mobilenet_tf.inference.predict import load_predictor

        load_predictor(model)  # raises the better error for a truncated file, which has lost its metadata
        raise UserError(
            f"{model} carries no mobilenet_tf metadata (task, classes, config), so its preprocessing is unknown: "
            f"evaluate takes a config with --config; benchmark and inspect work without. Received: {model}"
        )
    return config.override(metadata.config, list(overrides), str(model))


def check_data(name_or_path: str, overrides: Sequence[str] = (), folder: Path | None = None) -> tuple[dict, list[str]]:
    """Examines the data of a config and draws samples with their annotations into a folder.

    Args:
        name_or_path: the name of a shipped config or the path of a YAML file.
        overrides: changes to it, such as "data.root=OTHER".
        folder: the folder for the drawn samples; None: `runs/check-<name of the config>`.

    Returns:
        The report as plain values, and the same report as lines of text.

    Raises:
        UserError: the task has no annotations to check, or the train split has no usable sample.
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
        model: a run folder or a model file.
        split: "train", "validation" or "test".
        overrides: changes to the config, such as "data.root=OTHER".
        name_or_path: a config to use instead of the one in the file, for files that do not contain one.
        limit: the number of samples to score, drawn evenly or class by class; None: all.
        threads: for .tflite and .onnx files; None: all cores.
        plots: the folder for plots and tables; None: none are made.

    Returns:
        The metrics by name.

    Raises:
        UserError: the class names in the file differ from those of the data.
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
    """Exports a run's model, compares every file with it on validation samples, and stores the results.

    Args:
        run: a run folder or a .keras file.
        formats: names such as "tflite" and "tflite_int8"; empty: `export.formats` of the config.
        overrides: changes to the config, such as "export.max_drop=0.02".
        folder: the folder for the files and report.html; None: `exports` beside the model.

    Returns:
        One `Verification` for each file, in the order of the formats.

    Raises:
        UserError: a format is unknown, or the model cannot be converted to it.
    """
    cfg = open_config(run, overrides)
    from mobilenet_tf.export import report
    from mobilenet_tf.export.exporter import Exporter
    from mobilenet_tf.inference.formats import FORMATS, find_format
    from mobilenet_tf.inference.predict import load_predictor

    names = list(formats or cfg.export.formats)
    if not names:
        raise UserError("export.formats must name a format, such as tflite. Received: none")
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
    examples = report.drawings(task, exporter.metadata.classes, exporter.images, predictors)
    title = f"{exporter.file.parent.name}: {task.name}"
    report.write(folder / "report.html", title, results, examples, notes)
    return results


def analyze_run(run: Path, *, overrides: Sequence[str] = (), folder: Path | None = None) -> Sensitivity:
    """Measures the int8 error of each layer of a run's model, and the metric with the worst layers left in float32.

    Args:
        run: a run folder or a .keras file.
        overrides: changes to the config, such as "export.verify_samples=100".
        folder: the folder for sensitivity.json and sensitivity.png; None: `exports` beside the model.

    Returns:
        The errors of the layers, and the metric and size of each file that was tried.

    Raises:
        UserError: the model comes from quantization-aware training.
    """
    cfg = open_config(run, overrides)
    from mobilenet_tf.export import sensitivity
    from mobilenet_tf.export.exporter import Exporter

    result = sensitivity.analyze(Exporter(find_task(cfg.task)(cfg), artifact.locate(run)[0]))
    sensitivity.save(result, folder or exports_of(run))
    return result


def exports_of(run: Path) -> Path:
    """Returns the folder for the exports of a run folder or model file."""
    return RunFolder(artifact.locate(run)[0].parent).exports


def prune_run(
    run: Path, path: Path, flops_reduction: float, criterion: str, overrides: Sequence[str] = ()
) -> PruningResult:
    """Removes the least important expansion channels of a run's model and writes the smaller model to a .keras file.

    Args:
        run: a run folder or a .keras file with a MobileNetV2 or V3.
        path: the .keras file to write; `train.network` takes it for fine-tuning.
        flops_reduction: the share of the multiply-adds to remove, between 0 and 1.
        criterion: how channels are scored, "l1" or "batch_norm"; see `prune.prune`.
        overrides: changes to the config.

    Returns:
        The smaller model and its cost beside that of the original.

    Raises:
        UserError: the path does not end in .keras, or the network cannot be pruned so far.
    """
    cfg = open_config(run, overrides)
    if path.suffix != ".keras":
        raise UserError(f"the pruned network must go to a .keras file. Received: {path}")
    from mobilenet_tf.inference.predict import load_keras
    from mobilenet_tf.prune import prune

    model, _ = artifact.locate(run)
    metadata = artifact.read(model)
    assert metadata is not None  # open_config has read it
    result = prune(
        load_keras(model), cfg.model.backbone, flops_reduction, criterion=criterion, input_size=cfg.model.input_size
    )
    with files.replacing(path) as temporary:
        result.model.save(temporary)
        artifact.write(temporary, metadata)
    return result


def predict_images(inference: Inference, predictor: Predictor, images: Sequence[np.ndarray]) -> list[Prediction]:
    """Predicts images in one batch.

    Args:
        inference: the preprocessing and decoding of the model's task.
        predictor: the model.
        images: RGB arrays uint8 [H, W, 3], each of any size.

    Returns:
        One prediction for each image.
    """
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
    """Predicts image files.

    TensorFlow is imported only for a .keras file, a SavedModel or a run folder.

    Args:
        model: a run folder or a model file.
        patterns: image files, folders (with their subfolders) and globs.
        pictures: the folder for copies of the images with the predictions drawn on them; None: none are drawn.
        threads: for .tflite and .onnx files; None: all cores.

    Returns:
        One row for each image. A file that cannot be read has a row with "error" instead. The embedding task compares
        all images with the first one and sorts the rows by their similarity to it.

    Raises:
        UserError: a pattern matches no file, the model file contains no config, or the first image cannot be read and
            the task compares the others with it.
    """
    cfg = open_config(model)

    import numpy as np

    from mobilenet_tf import viz
    from mobilenet_tf.data import images
    from mobilenet_tf.inference.predict import load_predictor

    inference, predictor, paths = (
        find_inference(cfg.task)(cfg),
        load_predictor(model, threads=threads),
        find_images(patterns),
    )
    assert predictor.metadata is not None  # open_config has read it
    drawn = drawing_paths(paths, pictures) if pictures else {}
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
                try:
                    viz.save_image(inference.draw(image, prediction, classes), drawn[path])
                except UserError as error:  # the predictions are worth more than one drawing
                    warnings.warn(str(error), stacklevel=2)
    if inference.sort_by:
        rows.sort(key=lambda row: row.get(inference.sort_by, -np.inf), reverse=True)
    return rows


def drawing_paths(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Returns where the drawn copy of each image goes: a .png below `folder`, in the subfolders that the images have.

    Images that differ in their suffix alone keep it in the name of the copy.

    Raises:
        UserError: a copy would take the place of one of the images, or of another file that was not drawn here.
    """
    from mobilenet_tf import viz

    resolved = {path: path.resolve() for path in paths}
    root = Path(os.path.commonpath([path.parent for path in resolved.values()])) if paths else folder
    stems = Counter(path.with_suffix("") for path in resolved.values())
    copies = {}
    for path, original in resolved.items():
        name = original.relative_to(root)
        copies[path] = folder / (name.with_suffix(".png") if stems[original.with_suffix("")] == 1 else f"{name}.png")
    originals = set(resolved.values())
    for copy in copies.values():
        if copy.resolve() in originals:
            raise UserError(f"drawn copies must not replace the images: choose another folder. Received: {copy}")
        if copy.exists() and not viz.is_made_here(copy):
            raise UserError(f"drawn copies must not replace other files: choose another folder. Received: {copy}")
    return copies


def inspect_model(model: Path, samples: Sequence[str] = ()) -> Inspection:
    """Reads the contents of a model file or run folder: inputs, outputs, operations, size, cost and metadata.

    Args:
        model: a run folder or a model file.
        samples: image files, folders and globs, on which the dead channels of a .keras file are found: those that are
            never active. The images are preprocessed as in evaluation.

    Returns:
        The contents of the file; `analysis.inspection.tables` prints them.

    Raises:
        UserError: the file cannot be read, or a pattern matches no image.
    """
    from mobilenet_tf.analysis import inspection

    return inspection.inspect(model, _sample_batches(model, samples) if samples else None)


def _sample_batches(model: Path, patterns: Sequence[str]):
    import numpy as np

    from mobilenet_tf.data import images

    cfg, paths = open_config(model), find_images(patterns)
    transform = find_task(cfg.task)(cfg).transform(training=False)
    for start in track(range(0, len(paths), BATCH), "find dead channels"):
        loaded = [images.read(path) for path in paths[start : start + BATCH]]
        yield np.stack([transform(cast("Sample", {"image": image}))["image"] for image in loaded])


def find_images(patterns: Sequence[str]) -> list[Path]:
    """Returns the image files that paths, folders (with their subfolders) and globs name.

    Args:
        patterns: paths of files, paths of folders, or globs.

    Returns:
        The paths, sorted within each pattern, each of them once.

    Raises:
        UserError: a pattern matches nothing.
    """
    from mobilenet_tf.data.images import files_below

    paths: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = files_below(path)
        else:
            matches = [path] if path.is_file() else sorted(Path(p) for p in glob.glob(pattern, recursive=True))
        if not matches:
            raise UserError(f"no image file, folder with images or matching glob has this name. Received: {pattern}")
        paths |= dict.fromkeys(matches)
    return list(paths)


def _names(classes: Sequence[str]) -> str:
    first = ", ".join(classes[:4])
    return f"{len(classes)} classes {first}{', …' if len(classes) > 4 else ''}"
