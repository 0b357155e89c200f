"""How fast and how large model files are. Several are timed in turns, so that the times can be compared."""

from __future__ import annotations

import re
import subprocess
import sys
import warnings as standard_warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mobilenet_tf.analysis.inspect_tflite import inspect_tflite
from mobilenet_tf.analysis.timing import Contender, contender, in_compiled_model
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.formats import KINDS, TFLITE, resolve
from mobilenet_tf.inference.predict import Predictor, load_predictor
from mobilenet_tf.inference.tflite import open_tflite
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import plain
from mobilenet_tf.utils.errors import UserError

SLOW_QUANTIZED = {"HARD_SWISH"}  # operations that leave XNNPACK once they are quantized
CALLS_PER_TURN = 10  # calls in a row before the next file has its turn


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call, from a batch of uint8 images in memory to the raw outputs as float32 arrays."""

    file: str
    format: str
    size: int | None  # bytes; None for a model in memory
    quantized: bool  # whether it is a .tflite file with int8 or uint8 tensors
    input_shape: tuple[int, ...]
    threads: int | None  # None: TensorFlow's own pool
    runs: int
    median_ms: float
    p90_ms: float
    min_ms: float
    runtime: str  # what ran it: "LiteRT", "LiteRT CompiledModel", "TensorFlow Lite", "TensorFlow", "ONNX Runtime"
    slow_operations: tuple[str, ...] = ()  # in a quantized .tflite file: those without a fast quantized kernel on x86

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain types for JSON."""
        return {
            **asdict(self),
            "input_shape": list(self.input_shape),
            "slow_operations": list(self.slow_operations),
        }


def latency(
    model: Predictor | str | Path,
    *,
    threads: int | None = None,
    warmup: int = 10,
    runs: int = 100,
    batch: int = 1,
    trust: bool = False,
) -> Latency:
    """Times one predictor or model file on random images. Raises UserError as `load_predictor` does.

    `threads` (None: all cores) is for .tflite and .onnx files given by path, `trust` for SavedModels.
    """
    predictor = model if isinstance(model, Predictor) else load_predictor(model, threads=threads, trust=trust)
    _check(warmup, runs, batch)
    [result] = _time([contender(predictor, batch)], warmup, runs)
    return result


def compare(
    models: Iterable[Predictor | str | Path],
    threads: Sequence[int] = (1, 2),
    *,
    warmup: int = 10,
    runs: int = 100,
    batch: int = 1,
    trust: bool = False,
    compiled: bool = False,
) -> list[Latency]:
    """Times predictors and model files of any kind and origin in turns, the files with each number of threads.

    Keras and SavedModel run on TensorFlow's pool, which a process sizes once: they are timed once.

    Args:
        trust: open a SavedModel that does more than compute, see `load_predictor`.
        compiled: time .tflite files in LiteRT's CompiledModel too, where it is installed. A file that it cannot run is
            warned about.
    """
    _check(warmup, runs, batch)
    models, results = list(models), []
    for i, count in enumerate(threads):
        predictors = [m if isinstance(m, Predictor) else load_predictor(m, threads=count, trust=trust) for m in models]
        contenders = [contender(predictor, batch) for predictor in predictors if predictor.threads or i == 0]
        with ExitStack() as processes:
            if compiled:
                contenders = list(_with_compiled(contenders, processes, warn=i == 0))
            results += _time(contenders, warmup, runs)
    return results


def _with_compiled(contenders: list[Contender], processes: ExitStack, warn: bool) -> Iterator[Contender]:
    for each in contenders:
        yield each
        try:
            again = processes.enter_context(in_compiled_model(each))
        except UserError as error:
            again = None
            if warn:
                standard_warnings.warn(f"not timed: {error}", stacklevel=2)
        if again:
            yield again


def _check(warmup: int, runs: int, batch: int) -> None:
    for name, value, least in (("warmup", warmup, 0), ("runs", runs, 1), ("batch", batch, 1)):
        if value < least:
            raise UserError(f"{name} must be at least {least}. Received: {name}={value}")


def peak_memory(path: str | Path) -> int | None:
    """Returns how many bytes it takes to load a model file and run it once, without the runtime itself.

    It is measured with one thread in a new process, which has loaded no other file. Returns None on systems that have
    no /proc, as Linux has.
    """
    code = f"import sys; from {__name__} import measure_peak_memory; print(measure_peak_memory(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(Path(path).resolve())], capture_output=True, text=True)
    last = done.stdout.strip().rpartition("\n")[2]
    return int(last) if done.returncode == 0 and last.isdigit() else None


def measure_peak_memory(path: str) -> int:
    """Returns the peak memory of this process while it loads and runs a model file, less what it has before."""
    file, kind = artifact.locate(path)
    resolve(KINDS[kind].runtime)()  # importing the runtime is not counted
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmRSS")
    predictor = load_predictor(file, threads=1)
    predictor(contender(predictor, 1).images)
    return _status("VmHWM") - before


def _status(key: str) -> int:
    """Returns a figure of this process's memory in bytes."""
    match = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return 1024 * int(match[1])


def _time(contenders: list[Contender], warmup: int, runs: int) -> list[Latency]:
    for each in contenders:
        if warmup:
            each.turn(warmup)
    times: list[list[float]] = [[] for _ in contenders]
    for calls in _turns(runs):
        for each, taken in zip(contenders, times, strict=True):
            taken += each.turn(calls)
    names = [(c.predictor.name, c.runtime) for c in contenders]
    whole = len(set(names)) < len(names)  # files of the same name in several folders
    return [_latency(c, taken, whole) for c, taken in zip(contenders, times, strict=True)]


def _turns(runs: int) -> Iterator[int]:
    """Yields the number of calls of each turn. Progress is drawn between turns: a thread that draws would be timed."""
    with Progress(console=Console(stderr=True), auto_refresh=False, transient=True) as progress:
        bar = progress.add_task("benchmark", total=runs)
        for start in range(0, runs, CALLS_PER_TURN):
            progress.update(bar, completed=start, refresh=True)
            yield min(CALLS_PER_TURN, runs - start)


def _latency(timed: Contender, times: list[float], whole_path: bool) -> Latency:
    predictor, path = timed.predictor, timed.predictor.path
    quantized = path is not None and predictor.format == TFLITE.name and _is_quantized(path)
    return Latency(
        file=str(path) if whole_path and path else predictor.name,
        format=predictor.format,
        size=files.size(path) if path else None,
        quantized=quantized,
        input_shape=timed.images.shape,
        threads=predictor.threads,
        runs=len(times),
        median_ms=float(np.median(times)),
        p90_ms=float(np.percentile(times, 90)),
        min_ms=float(np.min(times)),
        runtime=timed.runtime,
        slow_operations=_slow_operations(path) if path and quantized else (),
    )


def _is_quantized(path: Path) -> bool:
    return any(np.dtype(tensor["dtype"]) in (np.int8, np.uint8) for tensor in open_tflite(path).get_tensor_details())


def _slow_operations(path: Path) -> tuple[str, ...]:
    found = {row.type for row in inspect_tflite(path)["rows"]}
    return tuple(sorted(found & SLOW_QUANTIZED))


def warnings(results: Iterable[Latency]) -> list[str]:
    """Returns a line for each quantized .tflite file that is slower than the fastest float one with as many threads."""
    results = list(results)
    first = {r.file: r for r in reversed(results) if r.quantized}  # with the first number of threads
    lines = []
    for slow in reversed(first.values()):
        alike = [
            r for r in results if r.format == TFLITE.name and (r.threads, r.runtime) == (slow.threads, slow.runtime)
        ]
        floats = [r for r in alike if not r.quantized]
        best = min(floats, key=lambda r: r.median_ms, default=None)
        if best and slow.median_ms > best.median_ms:
            kernels = f"no fast quantized kernel of {', '.join(slow.slow_operations)} on x86"
            why = f"there is {kernels}" if slow.slow_operations else "its quantized kernels are the slower ones here"
            lines.append(
                f"{slow.file} is slower than {best.file} on this machine ({slow.median_ms:.2f} ms against "
                f"{best.median_ms:.2f}, threads: {slow.threads}): {why}. Measure on the phone before you choose."
            )
    return lines


def table(results: Iterable[Latency]) -> Table:
    """Returns the latencies as a table, a row for each file, runtime and number of threads, with the warnings below."""
    results = list(results)
    rendered = Table(
        title="Latency of one call in milliseconds", caption="\n".join(map(plain, warnings(results))) or None
    )
    rendered.caption_justify = "left"
    rendered.add_column("file", overflow="fold")
    rendered.add_column("runtime", overflow="fold")
    for name in ("input", "threads", "MB", "median", "p90"):
        rendered.add_column(name, justify="right")
    for r in results:
        rendered.add_row(
            plain(r.file),
            r.runtime,
            "x".join(map(str, r.input_shape)),
            str(r.threads or "auto"),
            "-" if r.size is None else f"{r.size / 1e6:.2f}",
            f"{r.median_ms:.2f}",
            f"{r.p90_ms:.2f}",
        )
    return rendered
