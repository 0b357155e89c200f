"""The commands as functions for programs and notebooks. Only this module finds a task by its name."""

from __future__ import annotations

import glob
import importlib
import importlib.util
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from mobilenet_tf import config
from mobilenet_tf.config import Config
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.formats import ONNX, TFLITE, find_kind
from mobilenet_tf.task import Inference, Prediction, Task
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError, some
from mobilenet_tf.utils.progress import track
from mobilenet_tf.utils.run_folder import RunFolder

if TYPE_CHECKING:
    import numpy as np

    from mobilenet_tf.analysis.inspection import Inspection
    from mobilenet_tf.data.source import Sample
    from mobilenet_tf.export.exporter import Exporter
    from mobilenet_tf.export.sensitivity import Sensitivity
    from mobilenet_tf.export.verification import Verification
    from mobilenet_tf.foreign.declaration import Declaration
    from mobilenet_tf.foreign.sources import Opened
    from mobilenet_tf.inference.artifact import Metadata
    from mobilenet_tf.inference.predict import Predictor
    from mobilenet_tf.prune import PruningResult
    from mobilenet_tf.training.train import Run

T = TypeVar("T")
BATCH = 32  # images predicted at a time, at most
CHECKPOINTS = (".pth", ".pt", ".safetensors")  # of PyTorch
BATCH_PIXELS = 2**25  # of the images that are held at a time, at most: a photograph of 48 megapixels takes 144 MB


def find_task(name: str) -> type[Task]:
    """Returns the class `Task` of `mobilenet_tf.tasks.<name>.task`."""
    return importlib.import_module(f"mobilenet_tf.tasks.{name}.task").Task


def find_inference(name: str) -> type[Inference]:
    """Returns the class `Inference` of `mobilenet_tf.tasks.<name>.inference`, which imports no TensorFlow."""
    return importlib.import_module(f"mobilenet_tf.tasks.{name}.inference").Inference


def train_run(
    name_or_path: str,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    *,
    resume: bool = False,
    new: bool = False,
) -> Run:
    """Trains a config into a run folder, or continues the run there that was interrupted.

    A run is continued where nothing that changes its result has changed since it began.

    Args:
        name_or_path: the name of a shipped config or the path of a YAML file.
        overrides: changes to it, such as "train.batch_size=16".
        folder: the run folder; None: `runs/<name of the config>`.
        resume: continue the run in the folder with the config that it was started with, whatever this one says.
        new: start a new run; where the folder holds a run, in the first free one of NAME-2, NAME-3, …

    Returns:
        The folder, the trained model and its metrics on the validation split.

    Raises:
        UserError: the config has a mistake, the folder holds a finished run, or an unfinished one that was started
            otherwise.
    """
    if resume and new:
        raise UserError("--resume and --new must not be given together. Received: both")
    cfg = config.load(name_or_path, list(overrides))
    run = RunFolder(folder or Path("runs") / Path(name_or_path).stem)
    if new and run.free() != run:
        print(f"{run.path} holds a run, which stays as it is: the new one goes to {run.free().path}")
        run = run.free()
    if run.model.exists():
        raise UserError(f"the run in {run.path} is finished; --new starts a new one beside it. Received: {run.path}")
    if resume:
        cfg = _stored_config(run)
    from mobilenet_tf.training.train import train

    return train(find_task(cfg.task), cfg, run.path, resume=resume)


def _stored_config(run: RunFolder) -> Config:
    """The config that the unfinished run in a folder was started with. Raises UserError where there is none."""
    from mobilenet_tf.training.setup import Setup

    path = run.last_checkpoint
    setup = Setup.load(path) if path.exists() else None
    if setup is None:
        raise UserError(f"--resume needs an unfinished run with a checkpoint. Received: {run.path}, which has none")
    cfg = setup.parsed(path)
    if cfg.data.root and not cfg.data.root.exists():
        raise UserError(
            f"--resume needs the data where they were, in {cfg.data.root}; where they have moved, continue in a new "
            f"folder: --run-dir NEW train.resume={run.path} data.root=PLACE. Received: no such folder or file"
        )
    print(f"--resume: the config is that of the run in {run.path}")
    return cfg


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
            f"{model} carries no mobilenet_tf metadata (task, classes, config), so its preprocessing is unknown. "
            f"Received: {model}"
        )
    return config.override(metadata.config, list(overrides), str(model))


def _with_splits_of_run(cfg: Config, model: Path, overrides: Sequence[str]) -> Config:
    """The config with the splits of the run that a model file lies in, for reading images; what is overridden wins.

    They are those of the data that the run was trained on: of other data, validation and test are drawn.
    """
    from mobilenet_tf.data import split_lists

    keys = {item.partition("=")[0] for item in overrides}
    run = RunFolder.with_splits(artifact.locate(model)[0])
    if cfg.data.reader in config.SPLIT_READERS or cfg.data.root is None or keys & {"data", "data.split_file"}:
        return cfg
    metadata = artifact.read(model)
    stored = metadata.config if metadata else {}
    if run is None:
        if stored and "schema" not in stored:
            warnings.warn(
                f"{model} is of version 0.1.0, which drew splits otherwise: where {cfg.data.root} has none of its own, "
                "some of the images were trained on",
                stacklevel=3,
            )
        return cfg
    trained_on = Path(stored.get("data", {}).get("root") or cfg.data.root)
    is_other = cfg.data.root.exists() and trained_on.exists() and not cfg.data.root.samefile(trained_on)
    if is_other or not (trained_on.exists() or split_lists.lists_images_of(run.splits, cfg.data.root)):
        warnings.warn(
            f"{cfg.data.root} is not the data that the run was trained on: its splits are drawn anew; "
            f"data.split_file={run.splits} takes those of the run",
            stacklevel=3,
        )
        return cfg
    return split_lists.with_lists(cfg, run.splits)


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
    trust: bool = False,
    plots: Path | None = None,
    declaration: Declaration | None = None,
) -> dict[str, float]:
    """Scores any model file or run folder on a split of its data.

    Args:
        model: a run folder or a model file.
        split: "train", "validation" or "test".
        overrides: changes to the config, such as "data.root=OTHER".
        name_or_path: a config to use instead of the one in the file, for files that do not contain one.
        limit: the number of samples to score, drawn evenly or class by class; None: all.
        threads: for .tflite and .onnx files; None: all cores.
        trust: open a SavedModel even where its graph reads or writes files, runs Python or reaches the network.
        plots: the folder for plots and tables; None: none are made.
        declaration: what a model of others does not say itself.

    Returns:
        The metrics by name.

    Raises:
        UserError: the class names in the file differ from those of the data.
    """
    from mobilenet_tf.inference.predict import load_predictor

    if name_or_path:
        cfg, predictor = (
            open_config(model, overrides, name_or_path),
            load_predictor(model, threads=threads, trust=trust),
        )
    else:
        cfg, predictor = open_model(model, overrides, declaration, threads=threads, trust=trust)
        cfg = cfg if is_foreign(model) else _with_splits_of_run(cfg, model, overrides)
    import numpy as np

    from mobilenet_tf.data.skipped import skipped_line
    from mobilenet_tf.foreign.class_order import with_classes
    from mobilenet_tf.training.evaluate import evaluate

    task = find_task(cfg.task)(cfg)
    source = task.source(split)
    if task.closed_set and predictor.metadata:
        if not is_foreign(model):
            _check_classes(model, predictor.metadata.classes, source.classes)
        predictor = with_classes(predictor, source.classes)
    if task.closed_set and predictor.metadata is None:
        raw = predictor(np.zeros((1, *(predictor.input_size or cfg.model.input_size), 3), np.float32))
        width = raw.shape[-1] if isinstance(raw, np.ndarray) and raw.dtype.kind == "f" else len(source.classes)
        if width != len(source.classes):
            raise UserError(f"{model} must have {_names(source.classes)} as its outputs. Received: {width} outputs")
    metric = task.metric(source)
    for note in source.notes:
        print(readable(note))
    numbers = evaluate(task, task.tta(predictor), source, limit=limit, metric=metric)
    if line := skipped_line(source):
        warnings.warn(f"the {split} split: {line}; the scores are of the others", stacklevel=2)
    if plots:
        try:
            plots.mkdir(parents=True, exist_ok=True)
            task.report(metric, source.classes, plots)
        except (OSError, UserError) as error:  # the numbers are worth more than their plots
            warnings.warn(f"no plots in {plots}: {error}", stacklevel=2)
    return numbers


def export_run(
    run: str | Path,
    formats: Sequence[str] = (),
    *,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    declaration: Declaration | None = None,
    trust: bool = False,
) -> list[Verification]:
    """Exports a model, compares every file with it on validation samples, and stores the results.

    Args:
        run: a run folder or a .keras file; or a model of others: a .keras or .h5 file, a SavedModel, a checkpoint of
            PyTorch, the name of a network.
        formats: names such as "tflite" and "tflite_int8"; empty: `export.formats` of the config.
        overrides: changes to the config, such as "export.max_drop=0.02".
        folder: the folder for the files and report.html; None: `exports` beside the model.
        declaration: what a model of others does not say itself.
        trust: open a SavedModel even where its graph reads or writes files, runs Python or reaches the network.

    Returns:
        One `Verification` for each file, in the order of the formats.

    Raises:
        UserError: a format is unknown, the model cannot be converted to it, or something about a model of others must
            be said; the line names the option.
    """
    from mobilenet_tf.export import apps, report
    from mobilenet_tf.inference.formats import FORMATS, check_engine, find_format

    for name in formats:
        find_format(name, "formats")
    cfg, make_exporter = _exporter(run, overrides, declaration, trust)
    names = list(formats or cfg.export.formats)
    if not names:
        raise UserError("export.formats must name a format, such as tflite. Received: none")
    for name in names:
        check_engine(find_format(name, "formats"), cfg.export.engine)
    exporter, folder = make_exporter(), folder or exports_of(run)
    if any(map(exporter.needs_calibration, names)):
        _ = exporter.calibration  # before anything is written: the images may be missing
    paths, results = [], []
    for name in names:
        paths.append(exporter.write(name, folder / FORMATS[name].filename))
        results.append(exporter.verify(name, paths[-1]))
    results, notes = report.measure(results, paths)
    report.write_examples(exporter, folder / apps.EXAMPLES)
    of_run = None if is_foreign(run) else RunFolder(artifact.locate(run)[0].parent)
    report.write(folder / "report.html", f"{exporter.name}: {cfg.task}", exporter, results, paths, notes, of_run)
    return results


def write_app(kind: str, model: Path, folder: Path | None = None) -> Path:
    """Writes a program around exported .tflite files.

    Args:
        kind: "web", a page that runs them in the browser, or "android", a Gradle project.
        model: a run folder with exports, a folder of exported files, or a .tflite file.
        folder: the folder for the program; None: a folder of that name beside the files.

    Returns:
        The folder of the program.

    Raises:
        UserError: the kind is unknown, or there is no file that it can run.
    """
    from mobilenet_tf.data import images
    from mobilenet_tf.export import apps

    if not model.exists():
        raise UserError(f"a run folder or a .tflite file must exist. Received: {model}")
    folders = (model.parent, RunFolder(model).exports, model)  # of a file, of a run, of exported files
    exports = next(path for path in folders[model.is_dir() :] if path.is_dir())
    models = [model] if model.is_file() else sorted(exports.glob("*.tflite"), key=lambda path: len(path.name))
    if not models:
        raise UserError(f"mobilenet-tf export {model} must write a .tflite file first. Received: none in {exports}")
    examples = [images.read(path) for path in sorted((exports / apps.EXAMPLES).glob("*.png"))]
    return apps.write_app(kind, folder or exports / kind, models, examples)


def _exporter(
    run: str | Path, overrides: Sequence[str], declaration: Declaration | None, trust: bool
) -> tuple[Config, Callable[[], Exporter]]:
    """Returns the config of a model of ours or of others, and what makes its exporter, which reads images."""
    from mobilenet_tf.foreign.declaration import Declaration

    declaration = declaration or Declaration()
    if not is_foreign(run):
        _check_nothing_is_declared(run, declaration)
        cfg = _with_splits_of_run(open_config(Path(run), overrides), Path(run), overrides)
        return cfg, lambda: _exporter_of_file(find_task(cfg.task)(cfg), artifact.locate(run)[0])
    if find_kind(Path(run)) is TFLITE:
        return _exporter_of_tflite(Path(run), overrides, declaration)
    opened = _open_foreign(run, overrides, declaration, trust)
    cfg = config.override(dict(opened.metadata.config), (), str(run))
    from mobilenet_tf.export.exporter import KerasExporter

    return cfg, lambda: KerasExporter(find_task(cfg.task)(cfg), opened.network, opened.metadata, Path(run).name)


def _exporter_of_file(task: Task, file: Path) -> Exporter:
    from mobilenet_tf.export.exporter import KerasExporter, TfliteExporter
    from mobilenet_tf.foreign.declaration import Range
    from mobilenet_tf.inference.predict import load_predictor

    if find_kind(file) is TFLITE:
        return TfliteExporter(task, file, Range(), load_predictor(file))
    return KerasExporter.of_file(task, file)


def _exporter_of_tflite(
    file: Path, overrides: Sequence[str], declaration: Declaration
) -> tuple[Config, Callable[[], Exporter]]:
    from mobilenet_tf.foreign.runtime_files import open_predictor

    predictor, description = open_predictor(file, declaration, overrides, classes_of=_classes_of)
    if description.is_binary or predictor.input_shape[-1] != 3:
        raise UserError(f"{file} must take images in color and have an output for each class. Received: another one")
    from mobilenet_tf.export.exporter import TfliteExporter

    cfg = description.cfg
    return cfg, lambda: TfliteExporter(find_task(cfg.task)(cfg), file, description.range, predictor)


def is_foreign(model: str | Path) -> bool:
    """Whether this is no run and no file of this package: a model of others, or the name of a network.

    Raises UserError for a path where nothing is, and for a damaged file.
    """
    path = Path(model)
    is_name = not path.exists() and str(model) == path.name and not path.suffix
    if is_name or path.suffix in CHECKPOINTS:
        return True
    metadata = artifact.read(path)
    return metadata is None or not metadata.config


def _check_nothing_is_declared(model: str | Path, declaration: Declaration) -> None:
    if given := declaration.given():
        raise UserError(f"{given[0]} must be left out for {model}, which says so itself. Received: {', '.join(given)}")


def _open_foreign(model: str | Path, overrides: Sequence[str], declaration: Declaration, trust: bool) -> Opened:
    from mobilenet_tf.foreign.sources import open_source

    return open_source(model, declaration, overrides, trust=trust, classes_of=_classes_of)


def _classes_of(cfg: Config) -> list[str]:
    """The classes of the data of a config."""
    return list(find_task(cfg.task)(cfg).source("train").classes)


def import_model(
    source: str | Path,
    path: Path,
    declaration: Declaration | None = None,
    *,
    overrides: Sequence[str] = (),
    trust: bool = False,
) -> Metadata:
    """Turns a model of others into a .keras file of this package, which then trains, evaluates and exports as ours.

    Args:
        source: a .keras or .h5 file, a checkpoint of PyTorch, or the name of a network.
        path: the .keras file to write.
        declaration: what the model does not say itself.
        overrides: changes to the config that is stored in the file, such as "data.crop_fraction=1".
        trust: see `export_run`.

    Returns:
        What the file carries.

    Raises:
        UserError: something must be said, with the line that names the option; the path does not end in .keras; or
            a SavedModel, whose layers Keras does not know.
    """
    from mobilenet_tf.foreign.declaration import Declaration

    if path.suffix != ".keras":
        raise UserError(f"the imported model must go to a .keras file. Received: {path}")
    files.check_replaceable(path)
    if not is_foreign(source):
        raise UserError(f"{source} is a model of this package already, and needs no import. Received: {source}")
    opened = _open_foreign(source, overrides, declaration or Declaration(), trust)
    if not opened.is_saveable:
        raise UserError(f"a SavedModel has no layers that a .keras file could hold: export it. Received: {source}")
    with files.replacing(path) as temporary:
        opened.network.save(temporary)
        artifact.write(temporary, opened.metadata)
    return opened.metadata


def analyze_run(
    run: str | Path,
    *,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    declaration: Declaration | None = None,
    trust: bool = False,
) -> Sensitivity:
    """Measures the int8 error of each layer of a model, and the metric with the worst layers left in float32.

    Args:
        run: as for `export_run`.
        overrides: changes to the config, such as "export.verify_samples=100".
        folder: the folder for sensitivity.json and sensitivity.png; None: `exports` beside the model.
        declaration: what a model of others does not say itself.
        trust: see `export_run`.

    Returns:
        The errors of the layers, and the metric and size of each file that was tried.

    Raises:
        UserError: the model comes from quantization-aware training.
    """
    _, make_exporter = _exporter(run, overrides, declaration, trust)
    from mobilenet_tf.export import sensitivity

    result = sensitivity.analyze(make_exporter())
    sensitivity.save(result, folder or exports_of(run))
    return result


def exports_of(run: str | Path) -> Path:
    """Returns the folder for the exports of a run folder, a model file or a network by its name."""
    path = Path(run)
    if not path.exists():
        return RunFolder(Path("runs") / path.name).exports
    return RunFolder((path if path.is_file() else artifact.locate(path)[0]).parent).exports


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


def open_model(
    model: str | Path,
    overrides: Sequence[str] = (),
    declaration: Declaration | None = None,
    *,
    threads: int | None = None,
    trust: bool = False,
) -> tuple[Config, Predictor]:
    """Opens a model file or run of this package, or a model of others with what is said of it.

    TensorFlow is imported only for Keras models, SavedModels, checkpoints and run folders.

    Returns:
        The config, with the preprocessing, and a predictor that takes 0..255 and has metadata.

    Raises:
        UserError: the file is damaged, or something about a model of others must be said; the line names the option.
    """
    from mobilenet_tf.foreign.declaration import Declaration
    from mobilenet_tf.inference.predict import keras_predictor, load_predictor

    declaration = declaration or Declaration()
    if not is_foreign(model):
        _check_nothing_is_declared(model, declaration)
        return open_config(Path(model), overrides), load_predictor(model, threads=threads, trust=trust)
    if find_kind(Path(model)) in (TFLITE, ONNX):
        from mobilenet_tf.foreign.runtime_files import open_predictor

        predictor, _ = open_predictor(Path(model), declaration, overrides, threads=threads, classes_of=_classes_of)
    else:
        opened = _open_foreign(model, overrides, declaration, trust)
        predictor = keras_predictor(opened.network, opened.metadata)
    assert predictor.metadata is not None  # open_predictor and open_source make it
    return config.override(dict(predictor.metadata.config), (), str(model)), predictor


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
    trust: bool = False,
    overrides: Sequence[str] = (),
    declaration: Declaration | None = None,
) -> list[dict]:
    """Predicts image files.

    TensorFlow is imported only for a .keras file, a SavedModel or a run folder.

    Args:
        model: a run folder or a model file.
        patterns: image files, folders (with their subfolders) and globs.
        pictures: the folder for copies of the images with the predictions drawn on them; None: none are drawn.
        threads: for .tflite and .onnx files; None: all cores.
        trust: open a SavedModel even where its graph reads or writes files, runs Python or reaches the network.
        overrides: changes to the config of a model of others, such as "data.crop_fraction=1".
        declaration: what a model of others does not say itself.

    Returns:
        One row for each image. A file that cannot be read has a row with "error" instead. The embedding task compares
        all images with the first one and sorts the rows by their similarity to it.

    Raises:
        UserError: a pattern matches no file, the model file contains no config, or the first image cannot be read and
            the task compares the others with it.
    """
    cfg, predictor = open_model(model, overrides, declaration, threads=threads, trust=trust)
    assert predictor.metadata is not None  # open_model has read or made it

    import numpy as np

    from mobilenet_tf import viz
    from mobilenet_tf.data import images

    inference, paths = find_inference(cfg.task)(cfg), find_images(patterns)
    drawn = drawing_paths(paths, pictures) if pictures else {}
    classes, results, first = predictor.metadata.classes, {path: {"file": str(path)} for path in paths}, None

    def load(path: Path) -> np.ndarray | None:
        try:
            return images.read(path, cfg.data.rendering)
        except UserError as error:
            if inference.compares and path == paths[0]:
                raise
            results[path]["error"] = str(error)
            return None

    def draw(path: Path, image: np.ndarray, prediction: Prediction) -> None:
        try:
            viz.save_image(inference.draw(image, prediction, classes), drawn[path])
        except UserError as error:  # the predictions are worth more than one drawing
            warnings.warn(str(error), stacklevel=2)

    for batch in batches(track(paths, "predict"), load):
        predictions = predict_images(inference, predictor, [image for _, image in batch])
        for index, prediction in enumerate(predictions):
            path = batch[index][0]
            if inference.compares:
                first = first or prediction
                prediction = inference.compare(first, prediction)
            results[path] |= inference.to_row(prediction, classes)
            if pictures:
                draw(*batch[index], prediction)
    rows = list(results.values())
    if column := inference.sort_by:
        rows.sort(key=lambda row: row.get(column, -np.inf), reverse=True)
    return rows


def batches(items: Iterable[T], load: Callable[[T], np.ndarray | None]) -> Iterator[list[tuple[T, np.ndarray]]]:
    """Loads images in batches of at most 32 images and 33 million pixels; a larger image is a batch of its own.

    Args:
        items: what the images are loaded from, such as paths.
        load: item -> uint8 [H, W, 3], or None for an item that is left out.

    Yields:
        (item, image) of each image in the batch. The list is emptied once the next batch is asked for, so that no more
        than one is in memory.
    """
    batch, pixels = [], 0
    for item in items:
        image = load(item)
        if image is None:
            continue
        size = image.shape[0] * image.shape[1]
        if batch and (len(batch) == BATCH or pixels + size > BATCH_PIXELS):
            yield batch
            batch.clear()
            pixels = 0
        batch.append((item, image))
        pixels += size
    if batch:
        yield batch


def drawing_paths(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Returns where the drawn copy of each image goes: a .png below `folder`, in the subfolders that the images have.

    Images that differ in their suffix alone keep it in the name of the copy.

    Raises:
        UserError: the folder cannot be written, or a copy would take the place of one of the images, or of another file
            that was not drawn here.
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
    files.check_writable(folder)
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
    for batch in batches(track(paths, "find dead channels"), lambda path: images.read(path, cfg.data.rendering)):
        yield np.stack([transform(cast("Sample", {"image": image}))["image"] for _, image in batch])


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
        found = [path] if path.exists() else sorted(map(Path, glob.glob(pattern, recursive=True)))
        folders = [path for path in found if path.is_dir()]
        matches = [path for path in found if path not in folders]
        matches += [path for folder in folders for path in files_below(folder)]
        if not matches:
            raise UserError(f"no image file, folder with images or matching glob has this name. Received: {pattern}")
        paths |= dict.fromkeys(matches)
    return list(paths)


def _check_classes(model: Path, classes: Sequence[str], of_data: Sequence[str]) -> None:
    """A run is scored on data with its own classes in their order."""
    from mobilenet_tf.data.folder_names import standard_form

    if list(map(standard_form, classes)) != list(map(standard_form, of_data)):
        raise UserError(
            f"the classes of the data must be those of {model}: {_names(classes)}. Received: {_names(of_data)}"
        )


def _names(classes: Sequence[str]) -> str:
    return f"{len(classes)} classes {some(classes, 4)}"
