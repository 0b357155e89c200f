"""The page of a run: config, curves, classes, truth beside answers, exported files and how to use them."""

from __future__ import annotations

import csv
import dataclasses
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from mobilenet_tf import viz
from mobilenet_tf.analysis import benchmark, inspection
from mobilenet_tf.data.source import evaluation_batches, user_errors
from mobilenet_tf.data.subsets import subset
from mobilenet_tf.export import pages, usage
from mobilenet_tf.export.exporter import Exporter
from mobilenet_tf.export.verification import Verification, verification_path
from mobilenet_tf.inference.predict import Predictor, load_predictor
from mobilenet_tf.training.intervals import Interval, Scores, wilson
from mobilenet_tf.utils import files
from mobilenet_tf.utils.run_folder import RunFolder

RUNS, WARMUP = 20, 3  # timed calls of each file
THREADS = (1, 2)
EXAMPLE_IMAGES = 6  # whose truth and predictions are drawn, by the model and by each file
EXAMPLE_SIZE = 360  # the longer side of a drawn example, in pixels
PLOT_WIDTH = 1100  # pixels
MAX_CLASSES = 300  # in the table of classes
SECTIONS = {
    "files": "Files",
    "answers": "Answers",
    "metrics": "Metrics",
    "curves": "Training",
    "classes": "Classes",
    "plots": "Plots",
    "use": "Use",
    "config": "Config",
}
CLASS_TABLES = ("per_class.csv", "per_attribute.csv")  # of an evaluation


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what it is, its value, and what stands below that in small letters."""

    label: str
    text: str
    small: str = ""
    verdict: str = ""  # "ok", "failed" or "unproven", which colors it


@dataclass(frozen=True)
class Figure:
    """An image on the page."""

    url: str
    caption: str
    words: str = ""


def measure(verifications: Sequence[Verification], paths: Sequence[Path]) -> tuple[list[Verification], list[str]]:
    """Returns the verifications with latency, peak memory and unsupported operations, and warnings, one line each.

    The files are timed in turns, so that their times can be compared. The results that `verify` wrote beside the files
    are replaced.
    """
    times = benchmark.compare(paths, THREADS, warmup=WARMUP, runs=RUNS)
    measured = []
    for verification, path in zip(verifications, paths, strict=True):
        latencies = [time for time in times if time.file in (path.name, str(path))]
        contents = None if path.is_dir() else inspection.inspect(path)
        full = dataclasses.replace(
            verification,
            latency_ms={str(time.threads or "auto"): round(time.median_ms, 3) for time in latencies},
            peak_memory=benchmark.peak_memory(path),
            unsupported_ops=contents.unsupported_ops if contents else [],
            min_runtime=contents.min_runtime if contents else None,
        )
        files.write_json(verification_path(path), full.to_dict())
        measured.append(full)
    return measured, benchmark.warnings(times)


def write(
    path: Path,
    title: str,
    exporter: Exporter,
    verifications: Sequence[Verification],
    paths: Sequence[Path],
    notes: Sequence[str] = (),
    run: RunFolder | None = None,
) -> Path:
    """Writes the page as a single file and returns its path.

    Args:
        paths: the exported files that the verifications are of, in their order.
        notes: lines about the files, such as `measure` gives.
        run: the folder of the training, for its curves, plots and numbers.
    """
    name, cfg = verifications[0].monitor[0], exporter.cfg
    scores = exporter.reference_for(verifications[0].format)[1]
    content = {
        "title": title,
        "about": _about(exporter, run),
        "facts": facts(verifications, scores, name),
        "files": [file_cells(v) for v in verifications],
        "notes": [f"{v.file} is {v.verdict}: {v.reason}" for v in verifications if v.reason] + list(notes),
        "method": METHOD.format(name=name, runs=RUNS, images=verifications[0].parity.images),
        "examples": examples(exporter, {"model": exporter.reference, **{p.name: load_predictor(p) for p in paths}}),
        "metrics": metric_cells(scores, _stored(run), _shares(exporter)),
        "curves": _curves(run),
        "per_class": class_cells(run),
        "plots": _plots(run),
        "size": "{} x {} pixels (height x width)".format(*exporter.metadata.input_size),
        "uses": usage.of(exporter.metadata, [v.file for v in verifications], str(run.path if run else "RUN")),
        "config": yaml.safe_dump(cfg.to_dict(), sort_keys=False, allow_unicode=True).splitlines(),
        "version": exporter.metadata.version,
    }
    present = {
        "answers": "examples",
        "metrics": "metrics",
        "curves": "curves",
        "classes": "per_class",
        "plots": "plots",
    }
    sections = [(key, title) for key, title in SECTIONS.items() if content.get(present.get(key, "title"))]
    return pages.write(path, pages.render("report.html", sections=sections, **content))


METHOD = (
    "Drop: how much worse {name} is than the model's, and at most how much with 95 % confidence for the number of "
    "samples. Agreement: of the predictions for the same images, with its 95 % interval (Wilson). Latency: median of "
    "{runs} calls on this machine, batch 1. Peak memory: of a process that loads the file and runs it once."
)


def _about(exporter: Exporter, run: RunFolder | None) -> str:
    """The network in a line; the config of a model of others does not tell its backbone."""
    model, classes = exporter.cfg.model, exporter.metadata.classes
    parts = [f"{model.backbone} {model.alpha:g}"] if run else []
    parts += ["input {} x {}".format(*exporter.metadata.input_size)]
    parts += [f"{len(classes)} classes"] if classes else []
    return ", ".join([*parts, f"outputs: {exporter.metadata.outputs}"])


def facts(verifications: Sequence[Verification], scores: Scores, name: str) -> list[Cell]:
    """The few numbers at the top of the page."""
    smallest = min(verifications, key=lambda v: v.size)
    timed = [v for v in verifications if v.latency_ms]
    fastest = min(timed, key=lambda v: min(v.latency_ms.values()), default=None)
    worst = next((v for v in verifications if not v.ok), verifications[0])
    cells = []
    if name in scores.numbers:
        count = scores.numbers.get("count", 0)
        span = interval_text(scores.intervals.get(name))
        cells.append(Cell(f"{name} of the model", number(scores.numbers[name]), f"{span} on {count:,} samples".strip()))
    cells.append(Cell("smallest file", f"{smallest.size / 1e6:.2f} MB", smallest.file))
    if fastest:
        cells.append(
            Cell("fastest file", f"{min(fastest.latency_ms.values()):.2f} ms", f"{fastest.file}, this machine")
        )
    proven = sum(v.ok for v in verifications)
    cells.append(Cell("verified", f"{proven} of {len(verifications)} ok", "", worst.verdict))
    return cells


def file_cells(v: Verification) -> list[Cell]:
    """The row of a file in the table of files."""
    name, parity = v.monitor[0], v.parity
    agreement = [] if parity.agreement_interval is None else [f"{share:.1%}" for share in parity.agreement_interval]
    times = [v.latency_ms.get(threads, v.latency_ms.get("auto")) for threads in ("1", "2")]
    return [
        Cell("file", v.file, v.format),
        Cell("verdict", v.verdict, "", v.verdict),
        Cell("MB", f"{v.size / 1e6:.2f}"),
        Cell(name, number(v.candidate[name]) if v.candidate else "-", interval_text(v.intervals.get(name))),
        Cell("drop", f"{v.drop:+.3f}", f"at most {v.worst_drop:+.3f}" if not parity.is_exact else "same numbers")
        if v.reference
        else Cell("drop", "-"),
        Cell("samples", f"{v.count:,}" if v.candidate else "-"),
        Cell("agreement", "-", f"nothing to compare in {parity.images} images")
        if parity.agreement is None
        else Cell("agreement", f"{parity.agreement:.1%}", f"{' - '.join(agreement)}, images: {parity.compared}"),
        *(
            Cell(f"ms, {threads} thr.", "-" if time is None else f"{time:.2f}")
            for threads, time in zip((1, 2), times, strict=True)
        ),
        Cell("peak MB", "-" if v.peak_memory is None else f"{v.peak_memory / 1e6:.1f}"),
        Cell("unsupported ops", ", ".join(v.unsupported_ops) or "none"),
        Cell("needs", f"TFLite {v.min_runtime}" if v.min_runtime else "-"),
    ]


def examples(exporter: Exporter, predictors: Mapping[str, Predictor]) -> list[list[Figure]]:
    """Images of the validation split: the truth, then what the model and each file say; a row for each image."""
    task, classes = exporter.task, exporter.metadata.classes
    samples = list(_samples(exporter))
    images = np.stack([sample["image"] for sample in samples])
    sizes = np.array([images.shape[1:3]] * len(images), np.int32)
    names = exporter.validation.classes if exporter.validation else classes
    rows: list[list[Figure]] = []
    for sample in samples:
        drawn, words = task.annotation(sample, names) if "id" in sample else (np.rint(sample["image"]), "")
        rows.append([_example("truth" if words else "image", drawn, words)])
    for name, predictor in predictors.items():
        predictions = task.decode(predictor(images), sizes)
        if task.compares:
            predictions = [task.compare(predictions[0], prediction) for prediction in predictions]
        for row, image, prediction in zip(rows, images, predictions, strict=True):
            drawn = task.draw(np.rint(image).clip(0, 255).astype(np.uint8), prediction, classes)
            row.append(_example(name, drawn))
    return rows


def write_examples(exporter: Exporter, folder: Path) -> list[Path]:
    """Writes a few of the images that files were compared on, as evaluation prepared them, for `mobilenet-tf try`."""
    shown = np.rint(exporter.images[:EXAMPLE_IMAGES]).clip(0, 255).astype(np.uint8)
    return [viz.save_image(image, folder / f"{index + 1}.png") for index, image in enumerate(shown)]


def _samples(exporter: Exporter) -> Iterator[dict[str, np.ndarray]]:
    """Samples from all over the validation split as evaluation has them; without a split, images alone."""
    if exporter.validation is None:
        yield from ({"image": image} for image in exporter.images[:EXAMPLE_IMAGES])
        return
    source = subset(exporter.validation, EXAMPLE_IMAGES)
    with user_errors():
        for batch in evaluation_batches(source, exporter.task.transform(training=False), batch_size=EXAMPLE_IMAGES):
            arrays = {key: np.asarray(value) for key, value in batch.items()}
            yield from ({key: value[i] for key, value in arrays.items()} for i in range(len(arrays["image"])))


def _example(caption: str, drawn: np.ndarray, words: str = "") -> Figure:
    small = viz.thumbnail(drawn, EXAMPLE_SIZE)
    if max(small.shape[:2]) < EXAMPLE_SIZE:  # an image of 64 pixels is shown as pixels, not as a blur
        factor = max(1, EXAMPLE_SIZE // max(small.shape[:2]))
        small = np.asarray(Image.fromarray(small).resize((small.shape[1] * factor, small.shape[0] * factor), 0))
    return Figure(pages.data_url(small), caption, words)


def metric_cells(scores: Scores, stored: Mapping[str, Mapping[str, Any]], shares: Sequence[str]) -> list[list[Cell]]:
    """The rows of the table of metrics: validation, as measured for the export, and the splits that were evaluated.

    stored: the numbers of other splits, by split. shares: the metrics that are shares of the samples.
    """
    count = scores.numbers.get("count", 0)
    rows = []
    for name, value in scores.numbers.items():
        if name == "count" or not isinstance(value, (int, float)):
            continue
        row = [
            Cell("metric", name),
            Cell(f"validation ({count:,})", number(value), interval_text(scores.intervals.get(name))),
        ]
        for split, numbers in stored.items():
            if (other := numbers.get(name)) is not None:
                span = _interval_of_split(name, other, int(numbers.get("count", 0)), scores, shares)
                row.append(Cell(f"{split} ({numbers.get('count', 0):,})", number(other), interval_text(span)))
            else:
                row.append(Cell(f"{split} ({numbers.get('count', 0):,})", "-"))
        rows.append(row)
    return rows


def _interval_of_split(name: str, value: Any, count: int, scores: Scores, shares: Sequence[str]) -> Interval | None:
    """The interval of a stored number: Wilson's, or that of validation, which shrinks with the root of the samples."""
    if name in shares and count:
        return Interval(*wilson(round(value * count), count), "Wilson")
    known, samples = scores.intervals.get(name), int(scores.numbers.get("count", 0))
    if known is None or not count or not samples:
        return None
    half = (known.high - known.low) / 2 * math.sqrt(samples / count)
    return Interval(max(0.0, value - half), min(1.0, value + half) if value <= 1 else value + half, "scaled")


def class_cells(run: RunFolder | None) -> list[list[Cell]]:
    """The rows of the table of classes that the evaluation after the training wrote; none without it."""
    path = next((run.plots / name for name in CLASS_TABLES if run and (run.plots / name).is_file()), None)
    if path is None:
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, restkey="more", restval=""))[:MAX_CLASSES]
    except (OSError, ValueError, csv.Error) as error:
        warnings.warn(f"the page lacks {path}: {error}", stacklevel=3)
        return []
    return [[Cell(key, _rounded(value), _recall_interval(key, row)) for key, value in row.items()] for row in rows]


def _recall_interval(key: str, row: Mapping[str, str]) -> str:
    if key != "recall" or not row[key] or not row.get("support", "").isdigit():
        return ""
    support = int(row["support"])
    return interval_text(Interval(*wilson(round(float(row[key]) * support), support), "Wilson"))


def _rounded(text: Any) -> str:
    text = str(text)
    try:
        return text if text.lstrip("-").isdigit() else f"{float(text):.3f}"
    except ValueError:
        return text or "-"


def number(value: Any) -> str:
    """A number of a table as text."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def interval_text(interval: Interval | None) -> str:
    """An interval as text, with its method."""
    return f"{interval.low:.3f} - {interval.high:.3f} ({interval.method})" if interval else ""


def _stored(run: RunFolder | None) -> dict[str, Mapping[str, Any]]:
    """The numbers of the splits that were evaluated, without validation, by split."""
    if run is None or not run.metrics.is_file():
        return {}
    try:
        numbers = files.read_json(run.metrics)
        return {key: numbers[key] for key in ("train", "test") if isinstance(numbers.get(key), dict)}
    except (OSError, ValueError, AttributeError) as error:
        warnings.warn(f"the page has no numbers of {run.metrics}: {error}", stacklevel=3)
        return {}


def _shares(exporter: Exporter) -> Sequence[str]:
    return getattr(exporter.task.metric(exporter.validation), "shares", ()) if exporter.validation else ()


def _curves(run: RunFolder | None) -> Figure | None:
    path = run.plots / "curves.png" if run else None
    return _figure(path, "curves") if path and path.is_file() else None


def _plots(run: RunFolder | None) -> list[Figure]:
    if run is None or not run.plots.is_dir():
        return []
    found = sorted(path for path in run.plots.glob("*.png") if path.stem != "curves")
    drawn = [_figure(path, path.stem.replace("_", " ")) for path in found]
    return [figure for figure in drawn if figure]


def _figure(path: Path, caption: str) -> Figure | None:
    """A plot of a run; None, with a warning, where the file is damaged: an export is worth more than its page."""
    try:
        return Figure(pages.file_url(path, PLOT_WIDTH), caption)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        warnings.warn(f"the page lacks {path}: {error}", stacklevel=3)
        return None
