"""Files of others that a runtime runs, .tflite and .onnx: what they say of themselves. No TensorFlow here."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from flatbuffers import flexbuffers

from mobilenet_tf.config import Config
from mobilenet_tf.foreign.declaration import GRAY, Declaration, Range
from mobilenet_tf.foreign.evidence import ask
from mobilenet_tf.foreign.facts import Description, Facts, describe
from mobilenet_tf.inference import tflite_metadata
from mobilenet_tf.inference.endings import Named
from mobilenet_tf.inference.formats import TFLITE
from mobilenet_tf.inference.predict import Predictor, load_predictor
from mobilenet_tf.inference.tflite import POST_PROCESS, open_tflite
from mobilenet_tf.inference.tflite_schema import operators, text, tflite_schema
from mobilenet_tf.utils.class_names import unique
from mobilenet_tf.utils.errors import UserError, reason_of
from mobilenet_tf.utils.zip_files import check_total, open_zip, read_member

ENDINGS = {
    "SOFTMAX": "softmax",
    "LOGISTIC": "sigmoid",
    "FULLY_CONNECTED": "logits",
    "CONV_2D": "logits",
    "ADD": "logits",
    POST_PROCESS: "detections",
}
PASSING = ("DEQUANTIZE", "QUANTIZE", "RESHAPE", "SQUEEZE", "RESIZE_BILINEAR", "CAST")
DETECTIONS = ("detection_boxes", "detection_classes", "detection_scores", "num_detections")  # in this order
MAX_VALUES = 2**25  # of the images that a file takes at once: those of 3,300 x 3,300 pixels
LABELS, MAX_LABELS = (".txt",), 2**22  # bytes


def open_predictor(
    path: Path,
    declaration: Declaration,
    overrides: Sequence[str] = (),
    *,
    threads: int | None = None,
    classes_of: Callable[[Config], Sequence[str]] | None = None,
) -> tuple[Predictor, Description]:
    """Opens a .tflite or .onnx file of others as one that takes images in 0..255, with the metadata that it lacks.

    Raises UserError as `facts.describe` does, and for a damaged file.
    """
    predictor = load_predictor(path, threads=threads)
    facts = _facts(path, predictor)

    def described(said: Declaration) -> Description:
        return describe(facts, said, overrides, classes_of=classes_of)

    def adapted(description: Description) -> Predictor:
        return _adapted(predictor, description)

    description = ask(described, adapted, declaration)
    return adapted(description), description


def _adapted(predictor: Predictor, description: Description) -> Predictor:
    height, width = description.cfg.model.input_size
    names: Sequence[str] = DETECTIONS if description.ends_in == "detections" else ()
    channels = predictor.input_shape[-1]

    def run(images: np.ndarray) -> Named:
        inputs = description.range(images)
        if channels == 1:
            inputs = inputs @ np.array(GRAY, np.float32)[:, None]
        outputs: Named = predictor.run(inputs)
        if names:
            outputs = dict(zip(map(str, names), _in_order(outputs), strict=True))
        if description.is_binary:
            outputs = {name: two_classes(value, description.ends_in) for name, value in outputs.items()}
        return outputs

    shape = (predictor.input_shape[0], height, width, 3)
    return replace(predictor, run=run, input_shape=shape, metadata=description.metadata)


def _in_order(outputs: Named) -> list[np.ndarray]:
    """The outputs of TFLite's post-processing, whose names end in :1, :2 and :3 but for the first."""
    return [outputs[name] for name in sorted(outputs)]


def two_classes(values: np.ndarray, ends_in: str) -> np.ndarray:
    """One value, of the second class -> two values, whose softmax or shares are the same."""
    first = 1 - values if ends_in == "sigmoid" else -values / 2
    return np.concatenate([first, values if ends_in == "sigmoid" else values / 2], -1)


def _facts(path: Path, predictor: Predictor) -> Facts:
    shape = predictor.input_shape
    if predictor.format != TFLITE.name:
        outputs = {name: value.shape for name, value in _outputs(predictor, shape).items()} if _fixed(shape) else {}
        return Facts(path.name, shape, outputs)
    interpreter = open_tflite(path)
    [detail] = interpreter.get_input_details()
    operation, last = _last_operation(path)
    outputs = _outputs(predictor, shape)
    ends_in = ENDINGS.get(operation) if len(outputs) == 1 or operation == POST_PROCESS else None
    if ends_in == "detections" and len(outputs) != len(DETECTIONS):
        raise UserError(f"{path} must have the four outputs of a detector. Received: {len(outputs)} outputs")
    return Facts(
        name=path.name,
        input_shape=shape,
        outputs={name: (None, *value.shape[1:]) for name, value in outputs.items()},
        range=_range(path, detail),
        ends_in=ends_in,
        classes=_labels(path),
        class_count=_class_count(last) if operation == POST_PROCESS else None,
        task="detection" if ends_in == "detections" else None,
    )


def _range(path: Path, detail: Any) -> Range | None:
    """What a .tflite file says that it takes: by the steps of a uint8 input, or by TFLite's metadata."""
    scale, zero = detail["quantization"]
    if np.dtype(detail["dtype"]) == np.uint8 and scale:
        return Range((float(scale),), (-float(scale * zero),))
    mean, deviation = tflite_metadata.normalization(path) or ([], [])
    if not mean or len(mean) != len(deviation) or len(mean) not in (1, 3) or not all(deviation):
        return None
    offset = tuple(-average / each for average, each in zip(mean, deviation, strict=True))
    return Range(tuple(1 / each for each in deviation), offset)


def _fixed(shape: Sequence[int | None]) -> bool:
    return len(shape) == 4 and all(size is not None for size in shape[1:])


def _outputs(predictor: Predictor, shape: Sequence[int | None]) -> Named:
    """The outputs for a gray image: files often do not say the shapes of theirs."""
    if len(shape) != 4:
        return {}
    fixed = [1 if shape[0] is None else shape[0], *(224 if size is None else size for size in shape[1:])]
    if math.prod(fixed) > MAX_VALUES:
        raise UserError(f"{predictor.path} must take images of at most {MAX_VALUES:,} values. Received: {fixed}")
    try:
        return predictor.run(np.full(fixed, 127.0, np.float32))
    except Exception as error:  # each runtime raises its own where a file's graph does not fit together
        raise UserError(f"{predictor.path} must run on images. Received: {reason_of(error)}") from error


def _last_operation(path: Path) -> tuple[str, Any]:
    """The operation that makes the first output, behind those that keep the meaning of values: its name and itself."""
    model: Any = tflite_schema().Model.GetRootAs(path.read_bytes(), 0)
    names, graph = operators(model), model.Subgraphs(0)
    makers = {}
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        for j in range(operator.OutputsLength()):
            makers[operator.Outputs(j)] = names[operator.OpcodeIndex()], operator
    tensor, found = graph.Outputs(0), ("", None)
    for _ in range(graph.OperatorsLength()):
        found = makers.get(tensor, ("", None))
        if found[0] not in PASSING or found[1] is None:
            break
        tensor = found[1].Inputs(0)
    return found


def _class_count(operation: Any) -> int | None:
    """The number of classes among the options of TFLite's post-processing; None where they are damaged."""
    try:
        options: Any = flexbuffers.Loads(operation.CustomOptionsAsNumpy().tobytes())
        return int(options["num_classes"])
    except Exception:  # flexbuffers raises what Python does on bytes that are none of its own
        return None


def _labels(path: Path) -> list[str]:
    """The class names that TFLite's metadata in the file lists; none where there are no such, or several lists."""
    if not zipfile.is_zipfile(path):
        return []
    with open_zip(path) as archive:
        check_total(archive)
        lists = [name for name in archive.namelist() if name.lower().endswith(LABELS)]
        if len(lists) != 1:
            return []
        lines = text(read_member(archive, lists[0], MAX_LABELS)).splitlines()
    return unique([line.strip() for line in lines if line.strip()])
