"""What is timed: a predictor in this process, or a .tflite file in a process with LiteRT's CompiledModel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.inference.formats import KINDS, TFLITE
from mobilenet_tf.inference.predict import Predictor, load_predictor
from mobilenet_tf.inference.tflite import runtime_name
from mobilenet_tf.inference.tflite_compiled import compiled_runner, has_compiled_model
from mobilenet_tf.utils.errors import UserError

PAUSE = 0.05  # seconds before a turn: the threads of the last file go on spinning for a while (onnxruntime, OpenMP)
DEFAULT_SIZE = 224  # height and width where neither the file nor its metadata tells them
COMPILED = "LiteRT CompiledModel"


@dataclass(frozen=True)
class Contender:
    """A predictor, the images that it is timed with, what runs it, and its turn: number of calls -> milliseconds."""

    predictor: Predictor
    images: np.ndarray
    runtime: str
    turn: Callable[[int], list[float]]


def contender(predictor: Predictor, batch: int) -> Contender:
    """Returns a predictor of this process as a contender, with random images."""
    images = _images(predictor, batch)
    runtime = KINDS[predictor.format].runtime_name if predictor.format in KINDS else predictor.format
    runtime = runtime_name() if predictor.format == TFLITE.name else runtime
    return Contender(predictor, images, runtime, partial(_turn, predictor, images))


@contextmanager
def in_compiled_model(other: Contender) -> Iterator[Contender | None]:
    """Yields the same .tflite file in LiteRT's CompiledModel; None where that is not installed, or of another file.

    It has a process of its own, since it logs to stderr until a process ends, and may end it for a file whose outputs
    have no fixed size. Raises UserError where it cannot run the file.
    """
    path = other.predictor.path
    if other.predictor.format != TFLITE.name or path is None or not has_compiled_model():
        yield None
        return
    arguments = [str(path.resolve()), str(other.predictor.threads), str(len(other.images))]
    command = [sys.executable, "-c", f"import sys; from {__name__} import serve; serve(*sys.argv[1:])", *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, encoding="utf-8", **pipes) as process:
        try:
            _answer(process, path)  # once it has run the file
            yield Contender(other.predictor, other.images, COMPILED, partial(_turn_elsewhere, process, path))
        finally:
            process.kill()


def serve(path: str, threads: str, batch: str) -> None:
    """Is the process of `in_compiled_model`: reads numbers of calls and prints their milliseconds as JSON."""
    try:
        predictor = replace(load_predictor(path, threads=1), run=compiled_runner(Path(path), int(threads)))
        images = _images(predictor, int(batch))
        predictor(images)
    except UserError as error:
        print(json.dumps(str(error)), flush=True)
        return
    print(json.dumps([]), flush=True)
    for calls in sys.stdin:
        print(json.dumps(_turn(predictor, images, int(calls))), flush=True)


def _turn(predictor: Predictor, images: np.ndarray, calls: int) -> list[float]:
    time.sleep(PAUSE)
    predictor(images)  # untimed: brings the weights back into the cache after the other files
    taken = []
    for _ in range(calls):
        start = time.perf_counter()
        predictor(images)
        taken.append(1e3 * (time.perf_counter() - start))
    return taken


def _turn_elsewhere(process: Any, path: Path, calls: int) -> list[float]:
    with suppress(OSError):  # the process has ended, as its answer says
        os.write(process.stdin.fileno(), f"{calls}\n".encode())
    return _answer(process, path)


def _answer(process: Any, path: Path) -> list[float]:
    line = process.stdout.readline()
    answer = json.loads(line) if line else f"{path} must run in LiteRT's CompiledModel. Received: its process ended"
    if isinstance(answer, str):
        raise UserError(answer)
    return answer


def _images(predictor: Predictor, batch: int) -> np.ndarray:
    size = predictor.input_size or (DEFAULT_SIZE, DEFAULT_SIZE)
    rest = predictor.input_shape[1:]
    free = size if len(rest) == 3 else (1,) * len(rest)  # a file of another program may take no images
    shape = (batch, *(have or want for have, want in zip(rest, (*free, 3), strict=False)))
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
