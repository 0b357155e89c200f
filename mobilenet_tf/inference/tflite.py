"""Opens .tflite files and reads their contents, with LiteRT; TensorFlow's interpreter runs them where it is missing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.inference.tflite_check import check
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import quiet
from mobilenet_tf.utils.errors import UserError, reason_of
from mobilenet_tf.utils.file_kinds import TFLITE, what_is

MAX_BYTES = 2**31  # of a file; offsets in a flatbuffer end there
POST_PROCESS = "TFLite_Detection_PostProcess"  # ends a detector; the one custom operation that every runtime has


def open_tflite(path: str | Path, *, threads: int | None = None, **options: Any) -> Any:
    """Opens a .tflite file in LiteRT's interpreter, or TensorFlow's where that is not installed.

    Returns the interpreter with its tensors allocated. Raises UserError when the file is missing, truncated or corrupt,
    or has numbers on which the runtime would end the process.
    """
    path = Path(path)
    try:
        with quiet(), warnings.catch_warnings(action="ignore"):
            # By content: TensorFlow's interpreter crashes on a truncated file that it is given by path.
            content = files.read_bytes(path, MAX_BYTES)
            interpreter = interpreter_class()(model_content=content, num_threads=threads, **options)
            check(content)
            interpreter.allocate_tensors()
            return interpreter
    except (OSError, ValueError, RuntimeError, UnicodeError, MemoryError) as error:
        kind = what_is(path)
        reason = reason_of(error) if kind == TFLITE else kind
        raise UserError(f"{path} must be a whole TFLite model. Received: {reason}") from error


def interpreter_class() -> type:
    """Returns LiteRT's interpreter class, or TensorFlow's where LiteRT is not installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter  # maintained no longer, and about to be removed
    return Interpreter


def runtime_name() -> str:
    """Returns what runs .tflite files here: "LiteRT", or "TensorFlow Lite" where LiteRT is not installed."""
    return "LiteRT" if interpreter_class().__module__.startswith("ai_edge_litert") else "TensorFlow Lite"


def tflite_outputs(interpreter: Any) -> dict[str, dict]:
    """Returns the details of the outputs by their names in the signature, whose order differs from the model's.

    Without a signature, or with several, the names are those of the tensors.
    """
    signatures = list(interpreter.get_signature_list())
    if len(signatures) == 1:
        return interpreter.get_signature_runner(signatures[0]).get_output_details()
    return {detail["name"]: detail for detail in interpreter.get_output_details()}


def quantizer(detail: dict) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from images in 0..255 to the values of an input, by the details of the input."""
    dtype, (scale, zero_point) = np.dtype(detail["dtype"]), detail["quantization"]
    if dtype.kind not in "iu" or not scale:
        return lambda images: images.astype(dtype, copy=False)
    limits = np.iinfo(dtype)

    def quantize(images: np.ndarray) -> np.ndarray:
        return np.clip(np.round(images / scale) + zero_point, limits.min, limits.max).astype(dtype)

    table = quantize(np.arange(256, dtype=np.float32))  # a uint8 image is looked up: 20 times faster
    return lambda images: table[images] if images.dtype == np.uint8 else quantize(images.astype(np.float32))


def dequantize(values: np.ndarray, detail: dict) -> np.ndarray:
    """Returns the values of an output as the numbers that they stand for, by the details of the output."""
    scale, zero_point = detail["quantization"]
    if values.dtype.kind not in "iu" or not scale:
        return values
    return (values.astype(np.float32) - zero_point) * np.float32(scale)
