"""LiteRT's CompiledModel on the CPU: the interface that LiteRT develops, beside the interpreter. No TensorFlow here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.inference.endings import Named
from mobilenet_tf.inference.tflite import dequantize, open_tflite, quantizer, tflite_outputs
from mobilenet_tf.utils.console import quiet
from mobilenet_tf.utils.errors import UserError, reason_of


def has_compiled_model() -> bool:
    """Returns whether LiteRT with CompiledModel is installed."""
    return bool(find_spec("ai_edge_litert") and find_spec("ai_edge_litert.compiled_model"))


def compiled_runner(path: Path, threads: int) -> Callable[[np.ndarray], Named]:
    """Opens a .tflite file in LiteRT's CompiledModel, which logs to stderr at any time until the process ends.

    Returns:
        A function from images to named outputs, as `predict.tflite_runner` returns. It raises UserError where
        CompiledModel cannot run the file at the size of the images.

    Raises:
        UserError: the file is damaged, has several inputs or signatures, or CompiledModel refuses it.
    """
    with quiet():
        from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, Options

    interpreter = open_tflite(path, threads=1)  # checks the file, and knows the scales of its tensors
    outputs, details = tflite_outputs(interpreter), interpreter.get_input_details()
    with _refusals(path):
        if len(details) != 1 or len(interpreter.get_signature_list()) > 1:
            raise ValueError("several inputs or signatures")
        content = path.read_bytes()
        model = CompiledModel.from_buffer(content, options=Options(cpu_options=CpuOptions(num_threads=threads)))
        names = model.get_signature_by_index(0)["outputs"]
    [image] = details
    quantize = quantizer(image)
    state: dict[str, Any] = {"shape": tuple(image["shape"])}  # the size that it has, and buffers of that size

    def run(images: np.ndarray, _content: bytes = content) -> Named:  # which the model reads for as long as it lives
        if images.shape != state["shape"] or "buffers" not in state:
            with _refusals(path):
                state.pop("buffers", None)
                if images.shape != state["shape"]:
                    interpreter.resize_tensor_input(image["index"], images.shape)
                    interpreter.allocate_tensors()
                    model.resize_input_tensor(0, images.shape, strict=False)
                    state["shape"] = images.shape
                received = model.create_output_buffers(0)
                shapes = _shapes(interpreter, received, [outputs[name] for name in names])
                state["buffers"] = model.create_input_buffers(0), received, shapes
        (given, received, shapes), values = state["buffers"], {}
        given[0].write(quantize(images))
        model.run_by_index(0, given, received)
        for name, buffer, shape in zip(names, received, shapes, strict=True):
            raw = buffer.read(math.prod(shape), outputs[name]["dtype"]).reshape(shape)
            values[name] = dequantize(raw, outputs[name])
        return values

    return run


def _shapes(interpreter: Any, buffers: list, outputs: list[dict]) -> list[tuple[int, ...]]:
    """Returns the shapes of the outputs. Raises ValueError where CompiledModel would write beyond a buffer."""
    shapes = []
    for buffer, detail in zip(buffers, outputs, strict=True):
        shape = interpreter.get_tensor(detail["index"]).shape  # raises ValueError where only the run tells the size
        if math.prod(buffer.get_tensor_details()["shape"]) != math.prod(shape):
            raise ValueError(f"output {detail['name']} of a size that only the run tells")
        shapes.append(shape)
    return shapes


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Makes one line of what LiteRT raises for a file that it cannot run, and discards what it logs."""
    try:
        with quiet():
            yield
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"{path} must run in LiteRT's CompiledModel. Received: {reason_of(error)}") from error
