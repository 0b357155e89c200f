"""Verifies that an exported file gives the outputs and reaches the metrics of the model it was made from."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from mobilenet_tf.inference.predict import Predictor
from mobilenet_tf.inference.spread import Spread, leaves
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import plain
from mobilenet_tf.utils.errors import UserError


@dataclass(frozen=True)
class Parity:
    """How far a file's outputs are from the model's, over all outputs on the same images."""

    max_diff: float
    mean_diff: float
    # The share of equal argmax over the last axis, or the task's own measure. None where the outputs say nothing: the
    # model gives the same outputs for all images, or neither detects anything in any of them.
    agreement: float | None
    images: int  # how many were compared


def check_parity(
    reference: Predictor,
    candidate: Predictor,
    images: np.ndarray,
    *,
    batch: int = 32,
    agree: Callable[[Any, Any], Sequence[float]] | None = None,
) -> Parity:
    """Compares the raw outputs of two predictors on images [N, H, W, 3] in 0..255.

    They are compared as logits, or as probabilities where one of the two ends in softmax or sigmoid. `agree` takes the
    raw outputs of both for a batch and returns numbers in 0..1, whose mean is the agreement; NaN where there is nothing
    to compare.
    """
    if not len(images):
        raise UserError("parity must be checked on real images. Received: none")
    endings = [p.metadata.ending for p in (reference, candidate) if p.metadata]
    comparable = next((ending.probabilities for ending in endings if ending.probabilities), lambda raw: raw)
    compare: Callable[[Any, Any], Any] = agree or _same_argmax
    diffs, same, spread = [], [], Spread()
    for start in range(0, len(images), batch):
        pair = [predictor(images[start : start + batch]) for predictor in (reference, candidate)]
        spread.update(pair[0])
        same.append(compare(*pair))
        for want, got in zip(*map(leaves, pair), strict=True):
            diffs.append(np.abs(comparable(want).astype(np.float64) - comparable(got)).ravel())
    diff, same = np.concatenate(diffs), np.concatenate(same)
    defined = same[~np.isnan(same)]
    agreement = float(defined.mean()) if len(defined) and not spread.alike else None
    return Parity(float(diff.max()), float(diff.mean()), agreement, len(images))


def _same_argmax(reference: Any, candidate: Any) -> np.ndarray:
    pairs = zip(leaves(reference), leaves(candidate), strict=True)
    return np.concatenate([(want.argmax(-1) == got.argmax(-1)).ravel() for want, got in pairs])


UNPROVEN = "unproven"  # the verdict where the outputs are the same for all images, as of an untrained model


@dataclass(frozen=True)
class Verification:
    """How a file compares with its model: the parity of their outputs, and the metrics of both on the same samples."""

    file: str
    format: str
    size: int  # bytes
    parity: Parity
    reference: dict[str, Any]
    candidate: dict[str, Any]
    monitor: tuple[str, str]  # the metric that decides, and "max" or "min": which way is better
    max_drop: float  # the largest accepted drop of that metric
    latency_ms: dict[str, float] = field(default_factory=dict)  # threads or "auto" -> median for one image
    peak_memory: int | None = None  # bytes that loading and running it once takes
    unsupported_ops: list[str] = field(default_factory=list)  # operations that the runtime does not have itself
    min_runtime: str | None = None  # the oldest TensorFlow Lite that runs a .tflite file, such as "2.17"

    @property
    def drop(self) -> float:
        """How much worse the file is than the model in the metric; negative when it is better, NaN if unmeasured."""
        name, mode = self.monitor
        if not self.reference:
            return math.nan
        worse = self.reference[name] - self.candidate[name]
        return float(worse if mode == "max" else -worse)

    @property
    def reference_score(self) -> str:
        """The metric of the model that decides, as text."""
        name = self.monitor[0]
        return f"{name} {self.reference[name]:.4f}" if self.reference else "no metric measured"

    @property
    def ok(self) -> bool:
        """Whether the verdict is "ok"; False where the drop is NaN."""
        return self.verdict == "ok"

    @property
    def verdict(self) -> str:
        """Either "ok", "failed", or "unproven": no metric was measured, or the outputs are alike for all images."""
        if not self.reference:
            return UNPROVEN
        if self.drop <= self.max_drop + 1e-9:  # 1.0 - 0.98 is a little more than 0.02
            return "ok" if self.parity.agreement is not None else UNPROVEN
        return "failed"

    def to_dict(self) -> dict[str, Any]:
        """Returns everything, with the verdict, as plain types for JSON."""
        values = {**asdict(self), "drop": self.drop if self.reference else None, "ok": self.ok}
        return json.loads(json.dumps(values, default=lambda value: value.tolist()))  # numpy's scalars and arrays


def verify(
    reference: Predictor,
    candidate: Predictor,
    images: np.ndarray,
    evaluate: Callable[[Predictor], dict[str, Any]],
    monitor: tuple[str, str],
    max_drop: float = 0.02,
    *,
    reference_metrics: dict[str, Any] | None = None,
    agree: Callable[[Any, Any], Sequence[float]] | None = None,
) -> Verification:
    """Compares a file with the model it was made from, and writes the result beside the file.

    Args:
        images: [N, H, W, 3] in 0..255, real and preprocessed as for evaluation, for the parity check.
        evaluate: predictor -> metrics, on the same samples for both.
        monitor: (name, "max" or "min") of the metric that decides.
        max_drop: the largest drop of that metric that is accepted; see Verification.ok.
        reference_metrics: the metrics of the reference, where they are known from the verification of another file.
        agree: see check_parity.
    """
    parity = check_parity(reference, candidate, images, agree=agree)
    if parity.agreement is None:
        warnings.warn(
            f"{candidate.name} is {UNPROVEN}: the model predicts the same, or nothing, for all {parity.images} images",
            stacklevel=2,
        )
    verification = Verification(
        file=candidate.name,
        format=candidate.format,
        size=files.size(candidate.path) if candidate.path else 0,
        parity=parity,
        reference=evaluate(reference) if reference_metrics is None else reference_metrics,
        candidate=evaluate(candidate),
        monitor=(monitor[0], monitor[1]),
        max_drop=max_drop,
    )
    if candidate.path:
        files.write_json(verification_path(candidate.path), verification.to_dict())
    return verification


def verification_path(path: Path) -> Path:
    """Returns where `verify` writes its result: model.tflite.json, or verification.json in a SavedModel's folder."""
    return path / "verification.json" if path.is_dir() else path.with_name(f"{path.name}.json")


HEADER = (
    "file",
    "MB",
    "metric",
    "drop",
    "agree",
    "ms, 1 thr.",
    "ms, 2 thr.",
    "peak MB",
    "unsupported ops",
    "needs",
    "verdict",
)


def columns(verifications: Iterable[Verification]) -> list[list[str]]:
    """Returns the verifications side by side as text: the header, then a row a file."""
    rows: list[list[str]] = [list(HEADER)]
    for v in verifications:
        times = [v.latency_ms.get(threads, v.latency_ms.get("auto")) for threads in ("1", "2")]
        rows.append(
            [
                v.file,
                f"{v.size / 1e6:.2f}",
                f"{v.candidate[v.monitor[0]]:.3f}" if v.candidate else "-",
                f"{v.drop:+.3f}" if v.reference else "-",
                "-" if v.parity.agreement is None else f"{v.parity.agreement:.1%}",
                *("-" if time is None else f"{time:.2f}" for time in times),
                "-" if v.peak_memory is None else f"{v.peak_memory / 1e6:.1f}",
                ", ".join(v.unsupported_ops) or "none",
                f"TFLite {v.min_runtime}" if v.min_runtime else "-",
                v.verdict,
            ]
        )
    return rows


def table(verifications: Iterable[Verification]) -> Table:
    """Returns the results as a table, a row a file; its title has the metric of the model that they were made from."""
    verifications = list(verifications)
    title = "Exported files"
    if verifications:
        title = f"Exported files against the model, {verifications[0].reference_score}"
    header, *rows = columns(verifications)
    result = Table(title=title, box=None, padding=(0, 1, 0, 0))
    for name, *cells in zip(header, *rows, strict=True):
        min_width = 4 if name in ("file", "unsupported ops") else max(map(len, cells), default=0)
        side = "left" if name == "file" else "right"
        result.add_column(name, justify=side, min_width=min_width, overflow="fold")
    for *cells, verdict in rows:
        color = "green" if verdict == "ok" else "red"
        result.add_row(*map(plain, cells), f"[{color}]{verdict}[/]")
    return result
