"""The report of exported files: measures latency and memory, and writes an HTML page with example predictions."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from mobilenet_tf import viz
from mobilenet_tf.analysis import benchmark, inspection
from mobilenet_tf.export.verification import UNPROVEN, Verification, columns, verification_path
from mobilenet_tf.task import Task
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import readable

RUNS, WARMUP = 20, 3  # timed calls of each file
THREADS = (1, 2)
EXAMPLE_IMAGES = 4  # whose predictions are drawn, by the model and by each file
EXAMPLE_SIZE = 360  # the longer side of a drawn example, in pixels

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>$title</title><style>
body { font: 15px/1.45 system-ui, sans-serif; color: #1f2933; max-width: 1200px; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } th, td { padding: .3rem .8rem; border-bottom: 1px solid #cbd2d9; text-align: right }
th:first-child, td:first-child { text-align: left } .failed { color: #b83200; font-weight: bold }
.row { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.2rem 0 } figure { margin: 0 } img { max-width: ${side}px }
figcaption { color: #52606d; font-size: 13px }
</style></head><body><h1>$title</h1><p>$about</p>
<table><thead><tr>$header</tr></thead><tbody>$rows</tbody></table>$notes
<h2>Predictions of the model and of each file for the same images</h2>$examples
</body></html>
""")


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


def drawings(task: Task, classes: Sequence[str], images: np.ndarray, predictors: dict) -> list[list[tuple[str, str]]]:
    """Draws the predictions of each predictor for the first images.

    Args:
        images: float32 [N, H, W, 3] in 0..255, preprocessed as for evaluation.
        predictors: by the names to show.

    Returns:
        A row for each image: (name of the predictor, the drawing as a data URL).
    """
    images = images[:EXAMPLE_IMAGES]
    sizes = np.array([images.shape[1:3]] * len(images), np.int32)
    rows: list[list[tuple[str, str]]] = [[] for _ in images]
    for name, predictor in predictors.items():
        predictions = task.decode(predictor(images), sizes)
        if task.compares:
            predictions = [task.compare(predictions[0], prediction) for prediction in predictions]
        for row, image, prediction in zip(rows, images, predictions, strict=True):
            drawn = task.draw(np.rint(image).clip(0, 255).astype(np.uint8), prediction, classes)
            row.append((name, _data_url(viz.thumbnail(drawn, EXAMPLE_SIZE))))
    return rows


def _data_url(image: np.ndarray) -> str:
    jpeg = io.BytesIO()
    Image.fromarray(image).save(jpeg, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"


def write(
    path: Path,
    title: str,
    verifications: Sequence[Verification],
    examples: Iterable[Iterable[tuple[str, str]]],
    notes: Iterable[str] = (),
) -> Path:
    """Writes the page as a single file and returns its path; `examples` are rows of (caption, data URL)."""
    header, *rows = columns(verifications)
    first = verifications[0]
    text = PAGE.substitute(
        title=_escaped(title),
        about=_escaped(
            f"Model: {first.reference_score}. A file fails when it loses more than {first.max_drop}. "
            f"Latency: median of {RUNS} calls, batch 1. Peak memory: of a process that loads the file and runs it once."
        ),
        header="".join(f"<th>{_escaped(name)}</th>" for name in header),
        rows="".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows),
        notes="".join(f"<p>{_escaped(note)}</p>" for note in notes),
        examples="".join(f'<div class="row">{"".join(map(_figure, row))}</div>' for row in examples),
        side=EXAMPLE_SIZE,
    )
    with files.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _cell(text: str) -> str:
    return f'<td class="failed">{_escaped(text)}</td>' if text in ("failed", UNPROVEN) else f"<td>{_escaped(text)}</td>"


def _figure(example: tuple[str, str]) -> str:
    caption, url = map(_escaped, example)
    return f'<figure><img src="{url}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _escaped(text: str) -> str:
    """Returns text that is not ours, such as the name of a file or class, as the page shows it literally."""
    return escape(readable(text))
