"""The commands as functions for programs and notebooks. Only this module finds a task by its name."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mobilenet_tf import config, config_aliases
from mobilenet_tf.config import Config
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.formats import ONNX, TFLITE, find_kind
from mobilenet_tf.prediction import Answers, batches, drawing_paths, find_images
from mobilenet_tf.task import AS_USUAL, Inference, Selection, Task
from mobilenet_tf.utils import files
from mobilenet_tf.utils.class_names import listed
from mobilenet_tf.utils.console import readable
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track
from mobilenet_tf.utils.run_folder import RunFolder

if TYPE_CHECKING:
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

CHECKPOINTS = (".pth", ".pt", ".safetensors")  # of PyTorch


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

    A run is continued where nothing that changes its result has changed since it began. A finished run stays as it is:
    the next one goes to NAME-2, NAME-3, …

    Args:
        name_or_path: the name of a shipped config or the path of a YAML file.
        overrides: changes to it, such as "train.batch_size=16".
        folder: the run folder; None: `runs/<name of the config>`.
        resume: continue the unfinished run in the folder with the config that it was started with, whatever this one
            says.
        new: start a new run; where the folder holds a run, in the first free one of NAME-2, NAME-3, …

    Returns:
        The folder, the trained model and its metrics on the validation split.

    Raises:
        UserError: the config has a mistake, something that it names does not exist, or the folder holds an unfinished
            run that was started otherwise.
    """
    if resume and new:
        raise UserError("--resume and --new must not be given together. Received: both")
    cfg = config.load(name_or_path, list(overrides))
    run = RunFolder(folder or Path("runs") / Path(name_or_path).stem)
    config.check_paths(cfg)
    taken = run.free() if new else run.unfinished()
    if resume and not taken.last_checkpoint.exists() and run.model.exists():
        raise UserError(f"--resume needs an unfinished run. Received: {run.path}, which is finished")
    if taken != run:
        what = "a run" if new else "a finished run"
        goes_on = "the one that was interrupted is continued in" if taken.is_run() else "the new one goes to"
        print(readable(f"{run.path} holds {what}, which stays as it is: {goes_on} {taken.path}"))
        run = taken
    for line in config_aliases.notes(cfg.to_dict(), list(overrides)):
        print(readable(line))
    cfg = _stored_config(run) if resume else config.with_absolute_root(cfg)
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
    """Examines the data of a config, reads every image, and draws samples with their annotations into a folder.

    Args:
        name_or_path: the name of a shipped config or the path of a YAML file.
        overrides: changes to it, such as "data.root=OTHER".
        folder: the folder for the drawn samples; None: `runs/check-<name of the config>`.

    Returns:
        The report as plain values, and the same report as lines of text.

    Raises:
        UserError: the train split has no usable sample.
    """
    cfg = config.load(name_or_path, list(overrides))
    config.check_paths(cfg)
    folder = folder or Path("runs") / f"check-{Path(name_or_path).stem}"
    name = f"mobilenet_tf.tasks.{cfg.task}.check"
    if importlib.util.find_spec(name) is None:  # a task without annotations that could be wrong
        from mobilenet_tf.training import check_images

        result = check_images.check(find_task(cfg.task)(cfg), folder)
        return result, check_images.lines(result)
    check = importlib.import_module(name)
    result = check.check(cfg, folder)
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
        is_ours = not is_foreign(model)
        if is_ours:
            config.check_paths(open_config(model, overrides), ("data.root", "data.split_file"))
        cfg, predictor = open_model(model, overrides, declaration, threads=threads, trust=trust)
        cfg = _with_splits_of_run(cfg, model, overrides) if is_ours else cfg
    import numpy as np

    from mobilenet_tf.data.skipped import skipped_line
    from mobilenet_tf.foreign.class_order import with_classes
    from mobilenet_tf.training.evaluate import evaluate

    task = find_task(cfg.task)(cfg)
    source = task.source(split)
    if task.closed_set and predictor.metadata:
        predictor = with_classes(predictor, source.classes)
    if task.closed_set and predictor.metadata is None:
        raw = predictor(np.zeros((1, *(predictor.input_size or cfg.model.input_size), 3), np.float32))
        width = raw.shape[-1] if isinstance(raw, np.ndarray) and raw.dtype.kind == "f" else len(source.classes)
        if width != len(source.classes):
            raise UserError(f"{model} must have {listed(source.classes)} as its outputs. Received: {width} outputs")
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
    """Turns a model of others into a .keras file of this package, which then evaluates, predicts and exports as ours.

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


def predict_files(model: Path, patterns: Sequence[str], **options: Any) -> list[dict]:
    """Predicts image files for people, as the table that `predict` prints.

    Args:
        model: a run folder or a model file.
        patterns: image files, folders (with their subfolders) and globs.
        options: those of `answer_files`, such as pictures=FOLDER.

    Returns:
        One row for each image. A file that cannot be read has a row with "error" instead. The embedding task compares
        all images with the first one and sorts the rows by their similarity to it.

    Raises:
        UserError: as `answer_files`.
    """
    answers = answer_files(model, patterns, **options)
    return [answer.row for answer in answers.ranked(answers)]


def answer_files(
    model: Path,
    patterns: Sequence[str],
    *,
    selection: Selection = AS_USUAL,
    pictures: Path | None = None,
    masks: Path | None = None,
    complete: bool = False,
    threads: int | None = None,
    trust: bool = False,
    overrides: Sequence[str] = (),
    declaration: Declaration | None = None,
) -> Answers:
    """Predicts image files for programs, as they are iterated over: `for answer in answer_files(model, [folder])`.

    TensorFlow is imported only for a .keras file, a SavedModel or a run folder.

    Args:
        model: a run folder or a model file.
        patterns: image files, folders (with their subfolders) and globs.
        selection: what is listed and drawn.
        pictures: the folder for copies of the images with the predictions drawn on them; None: none are drawn.
        masks: the folder for the masks of a segmentation model as PNG files, whose values are the indices of the
            classes; None: none are written.
        complete: whether each answer also has what COCO's results need, all objects whatever their score.
        threads: for .tflite and .onnx files; None: all cores.
        trust: open a SavedModel even where its graph reads or writes files, runs Python or reaches the network.
        overrides: changes to the config of a model of others, such as "data.crop_fraction=1".
        declaration: what a model of others does not say itself.

    Returns:
        The answers, one for each image, in the order of the files; their `values` are described in docs/answers.md. A
        file that cannot be read has "error" instead. The embedding task compares all images with the first one.

    Raises:
        UserError: a pattern matches no file, the model file contains no config, an option means nothing to the task, a
            file would be replaced that was not written here, or the first image cannot be read and the task compares
            the others with it.
    """
    is_foreign(model)  # raises UserError where there is no model
    paths = find_images(patterns)  # before TensorFlow may be imported
    if pictures and masks and pictures.resolve() == masks.resolve():
        raise UserError(f"drawn copies and masks must go to different places. Received: {pictures} for both")
    drawings, mask_files = (drawing_paths(paths, folder) if folder else {} for folder in (pictures, masks))
    cfg, predictor = open_model(model, overrides, declaration, threads=threads, trust=trust)
    inference = find_inference(cfg.task)(cfg, replace(selection, masks=selection.masks or masks is not None))
    inference.check_options(coco=complete)
    return Answers(inference, predictor, paths, drawings, mask_files, complete)


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
