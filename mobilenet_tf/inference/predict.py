"""Every kind of model file behind one call: Keras, SavedModel, TFLite, ONNX. Imports TensorFlow only where needed."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.inference import artifact, onnx_check
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.endings import Named
from mobilenet_tf.inference.formats import KINDS, resolve
from mobilenet_tf.inference.keras_loading import load_keras
from mobilenet_tf.inference.tflite import dequantize, open_tflite, quantizer, tflite_outputs
from mobilenet_tf.utils.console import quiet
from mobilenet_tf.utils.errors import UserError, missing_extra, reason_of

Raw = np.ndarray | list[np.ndarray] | dict[str, np.ndarray]
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Predictor:
    """A model that can be called: images uint8 or float32 [N, H, W, 3] in 0..255 -> raw outputs, batch first.

    One output is an array, several are a dict by name, or a list where the model only numbers them. A file that ends
    in softmax or sigmoid, by its metadata, gives logits again (those of softmax up to a constant, which does not change
    their softmax), so the same decode serves every file. Each thread needs an instance of its own.
    """

    run: Callable[[np.ndarray], Named]
    format: str  # the name of the file's kind: "keras", "savedmodel", "tflite" or "onnx"
    name: str
    input_shape: Shape  # as the model declares it: None where any size will do
    metadata: Metadata | None = None
    path: Path | None = None
    threads: int | None = None  # None: TensorFlow's pool, whose size a process sets once

    @property
    def input_size(self) -> tuple[int, int] | None:
        """Height and width in pixels that the model expects; None when neither the model nor its metadata has them."""
        if self.metadata:
            return self.metadata.input_size
        if len(self.input_shape) < 3:
            return None
        height, width = self.input_shape[1:3]
        return None if height is None or width is None else (height, width)

    def __call__(self, images: np.ndarray) -> Raw:
        """Runs the model. Raises UserError when the shape of `images` is not the model's."""
        images = np.asarray(images)
        rest = self.input_shape[1:]
        fits = images.ndim == len(self.input_shape) and len(images) > 0
        if not (fits and all(want in (None, got) for want, got in zip(rest, images.shape[1:], strict=True))):
            shape = ", ".join(["N", *("any" if size is None else str(size) for size in rest)])
            raise UserError(f"{self.name} takes images of shape [{shape}]. Received: shape {list(images.shape)}")
        try:
            named = _in_batches(self.run, images, self.input_shape[0])
        except UserError:
            raise
        except Exception as error:  # each runtime raises its own where a file's graph does not fit together
            if self.path is None:
                raise
            reason = reason_of(error)
            raise UserError(f"{self.path} must run on images. Received: {reason}") from error
        return _structure(self.metadata.ending.to_raw(named) if self.metadata else named)


def load_predictor(path: str | Path, *, threads: int | None = None, trust: bool = False) -> Predictor:
    """Loads a .keras, .tflite or .onnx file, a SavedModel folder or a run folder (its model.keras).

    Args:
        threads: for .tflite and .onnx files; None: all cores.
        trust: open a SavedModel even where its graph reads or writes files, runs Python or reaches the network.

    Raises:
        UserError: a missing, unknown or corrupt model, or a SavedModel that does more than compute.
    """
    most = max(64, 4 * (os.cpu_count() or 1))  # too many threads end the process
    if threads is not None and not 1 <= threads <= most:
        raise UserError(f"threads must be 1 to {most}. Received: {threads}")
    path, kind = artifact.locate(path)
    threads = threads or os.cpu_count() if KINDS[kind].threads else None
    run, shape = resolve(KINDS[kind].open)(path, threads, trust)
    return Predictor(run, kind, path.name, shape, artifact.read(path), path, threads)


def keras_predictor(model: Any, metadata: Metadata | None = None) -> Predictor:
    """Returns a Predictor of a Keras model in memory, which follows the model's weights when they change."""
    run, shape = model_runner(model)
    return Predictor(run, "keras", model.name, shape, metadata)


def import_onnxruntime() -> Any:
    """Returns the onnxruntime package. Raises UserError where it is not installed."""
    try:
        return importlib.import_module("onnxruntime")
    except ImportError as error:
        raise missing_extra("onnxruntime", "onnx") from error


def _structure(named: Named) -> Raw:
    if len(named) == 1:
        return next(iter(named.values()))
    numbered = [f"output_{i}" for i in range(len(named))]  # Keras's names for a list of outputs
    return [named[key] for key in numbered] if set(numbered) == set(named) else named


def _name(raw: Any) -> Named:
    if not isinstance(raw, dict):
        raw = {f"output_{i}": value for i, value in enumerate(raw if isinstance(raw, (list, tuple)) else [raw])}
    return {key: np.asarray(value) for key, value in raw.items()}


def _in_batches(run: Callable[[np.ndarray], Named], images: np.ndarray, batch: int | None) -> Named:
    """Runs a model whose batch size is fixed; the last batch is filled up with copies of its last image."""
    if batch in (None, len(images)):
        return run(images)
    parts = []
    for start in range(0, len(images), batch):
        chunk = images[start : start + batch]
        fill = [(0, batch - len(chunk))] + [(0, 0)] * (images.ndim - 1)
        parts.append(run(np.pad(chunk, fill, mode="edge")))
    return {key: _stack([part[key] for part in parts])[: len(images)] for key in parts[0]}


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    """Joins the outputs of several batches; where one has fewer rows, as detections of ONNX have, zeros are added."""
    if parts[0].ndim > 1:
        longest = max(part.shape[1] for part in parts)
        rest = [(0, 0)] * (parts[0].ndim - 2)
        parts = [np.pad(part, [(0, 0), (0, longest - part.shape[1]), *rest]) for part in parts]
    return np.concatenate(parts)


# How each kind of file is opened: (path, threads, trust) -> (function from images to named outputs, their shape)


def keras_runner(path: Path, threads: int | None, trust: bool = False) -> tuple[Callable, Shape]:
    """Opens a .keras or .h5 file. Raises UserError as `load_keras` does, and for a model with several inputs."""
    return model_runner(load_keras(path))


def model_runner(model: Any) -> tuple[Callable, Shape]:
    """Returns the same of a Keras model in memory."""
    import tensorflow as tf

    inputs = model.inputs or []  # a subclassed model has none
    if len(inputs) != 1:
        raise UserError(f"{model.name} must take one input, images. Received: {len(inputs)} inputs")
    shape = tuple(inputs[0].shape)
    floats = tf.float32  # a model of another compute type casts its images itself
    signature = [tf.TensorSpec(shape, floats)]

    @tf.function(input_signature=signature, autograph=False)
    def forward(images):
        raw = model(images, training=False)
        return tf.nest.map_structure(lambda x: tf.cast(x, floats) if x.dtype.is_floating else x, raw)

    return lambda images: _name(forward(tf.constant(images, floats))), shape


def open_saved_model(path: Path, trust: bool = False) -> tuple[Any, Any]:
    """Returns (the model, its serving function). The function does not keep its variables alive; the model does.

    Raises UserError where the folder is damaged or has no such function, or, without `trust`, where it does more than
    compute: see `saved_model_check`.
    """
    import tensorflow as tf

    from mobilenet_tf.inference import saved_model_check

    try:
        if not trust:
            saved_model_check.check(path)
        with quiet():
            model = tf.saved_model.load(str(path))
        serve = model.signatures["serving_default"]
    except UserError:
        raise
    except Exception as error:  # TensorFlow raises all kinds for a damaged folder
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} must be a SavedModel with a serving_default signature. Received: {reason}") from error
    return model, serve


def savedmodel_runner(path: Path, threads: int | None, trust: bool = False) -> tuple[Callable, Shape]:
    """Opens a SavedModel. Raises UserError where it is damaged or has several inputs."""
    import tensorflow as tf

    model, serve = open_saved_model(path, trust)
    specs = serve.structured_input_signature[1]
    if len(specs) != 1:
        raise UserError(f"{path} must take one input, images. Received: {len(specs)} inputs, {', '.join(specs)}")
    [(key, spec)] = specs.items()

    def run(images: np.ndarray, _owner: Any = model) -> Named:  # keeps the variables alive
        return _name(serve(**{key: tf.constant(images, spec.dtype)}))

    return run, tuple(spec.shape)


def tflite_runner(path: Path, threads: int | None, trust: bool = False) -> tuple[Callable, Shape]:
    """Opens a .tflite file. Raises UserError where it is damaged or has several inputs."""
    interpreter = open_tflite(path, threads=threads)
    try:
        details, outputs = interpreter.get_input_details(), tflite_outputs(interpreter)
    except (RuntimeError, UnicodeError, ValueError) as error:
        raise UserError(f"{path} must be a whole TFLite model. Received: {reason_of(error)}") from error
    if len(details) != 1:
        names = ", ".join(detail["name"] for detail in details)
        raise UserError(f"{path} must take one input, images. Received: {len(details)} inputs, {names}")
    [detail] = details
    quantize = quantizer(detail)

    def run(images: np.ndarray) -> Named:
        if tuple(interpreter.get_input_details()[0]["shape"]) != images.shape:
            interpreter.resize_tensor_input(detail["index"], images.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(detail["index"], quantize(images))
        interpreter.invoke()
        return {key: dequantize(interpreter.get_tensor(out["index"]), out) for key, out in outputs.items()}

    signature = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return run, tuple(None if size < 0 else int(size) for size in signature)


ONNX_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
}


def onnx_runner(path: Path, threads: int | None, trust: bool = False) -> tuple[Callable, Shape]:
    """Opens an ONNX file. Raises UserError where it is damaged or has several inputs, or onnxruntime is missing."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    onnx_check.read(path)
    try:
        # Without the fallback to the one provider that there is, of which it would print a message
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime's own classes derive from Exception alone
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} must be a whole ONNX model. Received: {reason}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in ONNX_TYPES:
        received = ", ".join(f"{entry.name} {entry.type}" for entry in inputs)
        raise UserError(f"{path} must take one input, images. Received: {received}")
    [image] = inputs
    dtype, names = ONNX_TYPES[image.type], [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> Named:
        values = session.run(names, {image.name: images.astype(dtype, copy=False)})
        return dict(zip(names, values, strict=True))

    return run, tuple(size if isinstance(size, int) and size > 0 else None for size in image.shape)
