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
from mobilenet_tf.training.intervals import (
    Interval,
    Scores,
    samples_for_drop,
    samples_for_share,
    standard_error,
    wilson,
    worst_drop,
)
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import plain
from mobilenet_tf.utils.errors import UserError

ROUNDING = 1e-3  # of the range of an output: float32 files differ by 1e-6 of it, int8 ones by 1e-2 and more
MOSTLY = 0.9  # of the images: where two of its scores are equal, a float32 detector may list two boxes in either order


@dataclass(frozen=True)
class Parity:
    """How far a file's outputs are from the model's, over all outputs on the same images."""

    max_diff: float
    mean_diff: float
    # The share of equal argmax over the last axis, or the task's own measure. None where the outputs say nothing: the
    # model gives the same outputs for all images, or neither detects anything in any of them.
    agreement: float | None
    images: int  # how many were compared
    exact: float  # the share of the images for which all outputs are the model's but for rounding
    compared: int = 0  # how many of the images the agreement is the mean of

    @property
    def is_exact(self) -> bool:
        """Whether file and model give the same numbers but for rounding, so that the file needs no statistics."""
        return self.exact >= MOSTLY

    @property
    def agreement_interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the agreement."""
        return None if self.agreement is None else wilson(self.agreement * self.compared, self.compared)


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
    diffs, same, spread, ranges = [], [], Spread(), Ranges()
    for start in range(0, len(images), batch):
        pair = [predictor(images[start : start + batch]) for predictor in (reference, candidate)]
        spread.update(pair[0])
        same.append(compare(*pair))
        for index, (want, got) in enumerate(zip(*map(leaves, pair), strict=True)):
            want = comparable(want).astype(np.float64)
            diffs.append(np.abs(want - comparable(got)).ravel())
            ranges.update(index, want, np.abs(want - comparable(got)))
    diff, same = np.concatenate(diffs), np.concatenate(same)
    defined = same[~np.isnan(same)]
    agreement = float(defined.mean()) if len(defined) and not spread.alike else None
    return Parity(
        max_diff=float(diff.max()),
        mean_diff=float(diff.mean()),
        agreement=agreement,
        images=len(images),
        exact=ranges.exact(),
        compared=len(defined),
    )


def _same_argmax(reference: Any, candidate: Any) -> np.ndarray:
    pairs = zip(leaves(reference), leaves(candidate), strict=True)
    return np.concatenate([(want.argmax(-1) == got.argmax(-1)).ravel() for want, got in pairs])


class Ranges:
    """The range of each output over all images, and the largest difference of a file's for each image."""

    def __init__(self):
        self.ranges: dict[int, tuple[float, float]] = {}  # by output: least, most
        self.differences: dict[int, list[np.ndarray]] = {}  # by output: [N] of each batch

    def update(self, index: int, values: np.ndarray, differences: np.ndarray) -> None:
        """Adds the values [N, ...] of an output for a batch and how far the file's are from them."""
        if values.size:
            least, most = self.ranges.get(index, (math.inf, -math.inf))
            self.ranges[index] = min(least, float(values.min())), max(most, float(values.max()))
            self.differences.setdefault(index, []).append(differences.reshape(len(differences), -1).max(1))

    def exact(self) -> float:
        """Returns the share of the images for which no output differs by more than rounding; NaN is a difference."""
        alike = [
            np.concatenate(self.differences[index]) <= ROUNDING * max(most - least, 1e-12)
            for index, (least, most) in self.ranges.items()
        ]
        return float(np.mean(np.all(alike, axis=0))) if alike else 1.0


OK, FAILED = "ok", "failed"  # verdicts
UNPROVEN = "unproven"  # the verdict where nothing shows that the file is as good as the model, or as bad


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
    min_agreement: float = 0.8  # the least accepted agreement
    drop_error: float | None = None  # the standard error of the drop; None where the samples were too few for one
    intervals: dict[str, Interval] = field(default_factory=dict)  # of the file's metrics
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
    def count(self) -> int:
        """The number of samples that the metrics are from."""
        return int(self.candidate.get("count", self.parity.images))

    @property
    def worst_drop(self) -> float:
        """How large the drop may be, with 95 % confidence, for the number of samples; see `intervals.worst_drop`."""
        return worst_drop(self.drop, self.drop_error, self.count)

    @property
    def verdict(self) -> str:
        """Either "ok", "failed" or "unproven"; `reason` says why."""
        return self._judged[0]

    @property
    def reason(self) -> str:
        """Why the verdict is not "ok", and what would help; empty where it is."""
        return self._judged[1]

    @property
    def _judged(self) -> tuple[str, str]:
        """The verdict and its reason: the first line that applies."""
        name, parity = self.monitor[0], self.parity
        if not self.reference:
            return UNPROVEN, "no metric was measured, as the validation images are not here: set data.root=PATH"
        if not self.drop <= self.max_drop + 1e-9:  # NaN fails; 1.0 - 0.98 is a little more than 0.02
            return FAILED, f"{name} drops by {self.drop:.3f}, more than export.max_drop={self.max_drop:g}"
        if parity.agreement is None:
            return UNPROVEN, f"the model predicts the same, or nothing, for all {parity.images} images"
        if parity.agreement < self.min_agreement:
            return FAILED, (
                f"it agrees with the model on {parity.agreement:.1%} of {parity.compared} images, less than "
                f"export.min_agreement={self.min_agreement:g}"
            )
        if parity.is_exact:
            return OK, ""
        return self._judged_by_samples()

    def _judged_by_samples(self) -> tuple[str, str]:
        """The verdict on a file whose numbers differ from the model's: are the samples enough to tell?"""
        name, parity, interval = self.monitor[0], self.parity, self.parity.agreement_interval
        if self.worst_drop > self.max_drop:
            needed = samples_for_drop(self.drop, self.drop_error, self.count, self.max_drop)
            cure = f"about {needed:,} would (export.verify_samples)" if needed else "it is at its limit"
            return UNPROVEN, (
                f"{self.count} samples cannot show that {name} drops by at most {self.max_drop:g}, as it may drop by "
                f"{self.worst_drop:.3f}: {cure}"
            )
        if interval and parity.agreement is not None and interval[0] < self.min_agreement:
            needed = samples_for_share(parity.agreement, self.min_agreement)
            cure = f"about {needed:,} would (export.parity_samples)" if needed else "it is at its limit"
            shown = "1 image" if parity.compared == 1 else f"{parity.compared} images"
            return UNPROVEN, (
                f"{shown} with something to compare cannot show that it agrees with the model on at least "
                f"{self.min_agreement:.0%}: {cure}"
            )
        return OK, ""

    def to_dict(self) -> dict[str, Any]:
        """Returns everything, with the verdict, as plain types for JSON."""
        values = {
            **asdict(self),
            "drop": self.drop if self.reference else None,
            "worst_drop": self.worst_drop if self.reference else None,
            "ok": self.ok,
            "verdict": self.verdict,
            "reason": self.reason,
        }
        return json.loads(json.dumps(values, default=lambda value: value.tolist()))  # numpy's scalars and arrays


def verify(
    reference: Predictor,
    candidate: Predictor,
    images: np.ndarray,
    evaluate: Callable[[Predictor], Scores],
    monitor: tuple[str, str],
    max_drop: float = 0.02,
    *,
    min_agreement: float = 0.8,
    reference_scores: Scores | None = None,
    agree: Callable[[Any, Any], Sequence[float]] | None = None,
) -> Verification:
    """Compares a file with the model it was made from, and writes the result beside the file.

    Args:
        images: [N, H, W, 3] in 0..255, real and preprocessed as for evaluation, for the parity check.
        evaluate: predictor -> its scores, on the same samples for both.
        monitor: (name, "max" or "min") of the metric that decides.
        max_drop: the largest drop of that metric that is accepted; see Verification.ok.
        min_agreement: the smallest agreement that is accepted.
        reference_scores: those of the reference, where they are known from the verification of another file.
        agree: see check_parity.
    """
    parity = check_parity(reference, candidate, images, agree=agree)
    if parity.agreement is None:
        warnings.warn(
            f"{candidate.name} is {UNPROVEN}: the model predicts the same, or nothing, for all {parity.images} images",
            stacklevel=2,
        )
    known, found = reference_scores or evaluate(reference), evaluate(candidate)
    verification = Verification(
        file=candidate.name,
        format=candidate.format,
        size=files.size(candidate.path) if candidate.path else 0,
        parity=parity,
        reference=known.numbers,
        candidate=found.numbers,
        monitor=(monitor[0], monitor[1]),
        max_drop=max_drop,
        min_agreement=min_agreement,
        drop_error=_drop_error(known, found, monitor[0]),
        intervals=found.intervals,
    )
    if candidate.path:
        files.write_json(verification_path(candidate.path), verification.to_dict())
    return verification


def _drop_error(reference: Scores, candidate: Scores, name: str) -> float | None:
    """The standard error of the difference of a metric: smaller than that of either, as both have the same samples."""
    pairs = zip(reference.partial, candidate.partial, strict=False)
    return standard_error([a[name] - b[name] for a, b in pairs if name in a and name in b])


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
    "needs TFLite",
    "verdict",
)
OPTIONAL = ("unsupported ops", "needs TFLite")  # columns that are left out where they say nothing of any file


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
                v.min_runtime or "-",
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
    reasons = "\n".join(plain(f"{v.file} is {v.verdict}: {v.reason}") for v in verifications if v.reason)
    result = Table(title=title, box=None, padding=(0, 1, 0, 0), caption=reasons or None, caption_justify="left")
    shown = [
        index
        for index, name in enumerate(header)
        if name not in OPTIONAL or {row[index] for row in rows} - {"none", "-"}
    ]
    for index in shown:
        result.add_column(header[index], justify="left" if header[index] == "file" else "right")
    for row in rows:
        color = "green" if row[-1] == OK else "red"
        result.add_row(*(plain(row[index]) for index in shown[:-1]), f"[{color}]{row[-1]}[/]")
    return result
