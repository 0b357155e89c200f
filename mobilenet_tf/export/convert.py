"""SavedModel, TFLite (float and quantised) and ONNX, and the proof that a file does what its model did."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.markup import escape
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.convert_phase import ConverterError

from mobilenet_tf.export import quantize
from mobilenet_tf.export.unsupported import lacking, with_layers
from mobilenet_tf.inference import artifact, tflite_metadata
from mobilenet_tf.inference.artifact import POST_PROCESS, Metadata
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.inference.spread import leaves
from mobilenet_tf.inference.tflite import operators
from mobilenet_tf.qat import is_aware, strip
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import quiet
from mobilenet_tf.utils.errors import UserError, missing_extra

OPSET = 18
BY_CLASS = {"logits", "softmax", "sigmoid"}  # outputs with one value a class
ENOUGH = 100  # calibration images
VARIABLES = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}  # signs of a graph that was not frozen

Images = Iterable[np.ndarray]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What a conversion may need beside the SavedModel."""

    calibration: Images | None
    inputs: str
    float_layers: quantize.FloatLayers
    detector: bool  # ends in the runtimes' own post-processing of detectors
    say: Say


@dataclass(frozen=True)
class Format:
    """One row of FORMATS: the usual file name and the function that converts a SavedModel into it."""

    filename: str
    convert: Callable[[Path, Path, Job], None]  # SavedModel folder, file to write, job
    dynamic: bool = False  # the batch size is always free
    calibrated: bool = False
    rounded: bool = False  # keeps the roundings of a network that was trained for int8


def export(
    model: keras.Model,
    path: str | Path,
    format: str,
    *,
    metadata: Metadata,
    calibration: Images | None = None,
    inputs: Literal["float32", "int8", "uint8"] = "float32",
    float_layers: quantize.FloatLayers = 0,
    dynamic_batch: bool = False,
) -> Path:
    """Writes a model file that runs without this package, with the metadata inside, and checks that it runs.

    Args:
        model: images [N, H, W, 3] in 0..255 -> what metadata.outputs names; mixed precision is exported as float32.
            One that was trained for int8 (see `aware`) needs no calibration images for it, and loses its roundings in
            other formats.
        path: the file to write, or the folder of a SavedModel. It is replaced at once, when all is done.
        format: a key of FORMATS.
        metadata: travels in the file; its input_size is the size the file will take.
        calibration: batches of float32 images [N, H, W, 3] in 0..255 that went through the evaluation preprocessing;
            for tflite_int8 and tflite_int16. With fewer than 100 it warns.
        inputs: the type of both the inputs and the outputs of a tflite_int8 file; detections always come as float32.
        float_layers: which layers of a tflite_int8 file stay in float32, see `quantize.int8`.
        dynamic_batch: leave the batch size free, as it always is in a SavedModel; else it is 1, which every delegate of
            a phone takes.

    Returns:
        The path. Raises UserError on a bad option, on ops that TFLite lacks and on outputs that are not finite; what
        was at the path then stays.
    """
    path = Path(path)
    chosen = _check(model, path, format, metadata, calibration, inputs, float_layers)
    if is_aware(model):
        model, calibration = (model, None) if chosen.rounded else (strip(model), calibration)
    if calibration is not None:
        calibration = _calibration(calibration, metadata.input_size)
    net = _deployable(model, metadata.outputs)
    batch = None if dynamic_batch or chosen.dynamic else 1
    with _progress(f"export {path.name}") as say, tempfile.TemporaryDirectory() as folder:
        say("tracing the graph")
        saved = _trace(net, (batch, *metadata.input_size, 3), Path(folder) / "saved_model")
        with files.replacing(path) as temporary:
            job = Job(calibration, inputs, float_layers, metadata.outputs == "detections", say)
            with _naming_layers(net):
                chosen.convert(saved, temporary, job)
            if temporary.suffix == ".tflite":
                _prove_operations(temporary, path, net)
                tflite_metadata.embed(temporary, metadata)
            artifact.write(temporary, metadata)
            say("checking the file")
            _prove_finite(temporary, path, metadata)
    return path


def sensitivity(model: keras.Model, metadata: Metadata, calibration: Images) -> list[quantize.LayerError]:
    """What int8 makes of each operation of a float model, the largest error first; arguments as for `export`."""
    calibration, net = _calibration(calibration, metadata.input_size), _deployable(model, metadata.outputs)
    with _progress("comparing the layers") as say, tempfile.TemporaryDirectory() as folder:
        say("tracing the graph")
        saved = _trace(net, (1, *metadata.input_size, 3), Path(folder) / "saved_model")
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
        converter.allow_custom_ops = metadata.outputs == "detections"
        with _naming_layers(net):
            return quantize.layer_errors(converter, partial(_representative, calibration, say))


@contextmanager
def _naming_layers(net: keras.Model) -> Iterator[None]:
    """Operations that the converter does not know become one line that names their layers."""
    try:
        yield
    except ConverterError as error:
        received = lacking(error, net)
        raise UserError(f"the model must be made of TFLite's own operations. Received: {received}") from error


def _check(model, path, format, metadata, calibration, inputs, float_layers) -> Format:
    if format not in FORMATS:
        raise UserError(f"format must be one of {', '.join(FORMATS)}. Received: format={format}")
    chosen = FORMATS[format]
    suffix = Path(chosen.filename).suffix
    if path.suffix != suffix:
        expected = f"end in {suffix}" if suffix else "be a folder name without a suffix"
        raise UserError(f"the path of a {format} export must {expected}. Received: {path}")
    if path.is_dir() and (suffix or (any(path.iterdir()) and not (path / "saved_model.pb").is_file())):
        raise UserError(f"the path of a {format} export must not be a folder of something else. Received: {path}")
    if chosen.calibrated and calibration is None and not (chosen.rounded and is_aware(model)):
        raise UserError(f"{format} must have calibration images. Received: calibration=None")
    if chosen.rounded and float_layers and is_aware(model):
        raise UserError(f"float_layers must be 0 for a network trained for int8. Received: float_layers={float_layers}")
    if inputs not in quantize.IO_TYPES or (inputs != "float32" and not chosen.rounded):
        allowed = ", ".join(quantize.IO_TYPES) if chosen.rounded else "float32"
        raise UserError(f"inputs of {format} must be {allowed}. Received: inputs={inputs}")
    size = tuple(model.inputs[0].shape[1:3])
    if not all(have in (None, want) for have, want in zip(size, metadata.input_size, strict=True)):
        raise UserError(f"input_size must be the model's, {size[0]}x{size[1]}. Received: {metadata.input_size}")
    counts = _class_counts(model, metadata)
    if counts and len(metadata.classes) not in counts:
        wanted = " or ".join(map(str, counts))
        raise UserError(
            f"the classes must be as many as the model's outputs, {wanted}. Received: {len(metadata.classes)}"
        )
    return chosen


def _class_counts(model: keras.Model, metadata: Metadata) -> list[int]:
    """How many classes a model may have by its logits: its outputs, or what its last layer reads. Empty: unknown."""
    if metadata.outputs in BY_CLASS and len(model.outputs) == 1:
        return [model.outputs[0].shape[-1]]
    ends = [layer for layer in model.layers if layer.name == metadata.outputs]
    given = ends[0]._inbound_nodes[-1].arguments.args[0] if ends else model.output
    if metadata.outputs == "class_map":
        return [given.shape[-1]]
    if not isinstance(given, dict) or "class_logits" not in given:
        return []
    width = given["class_logits"].shape[-1]  # of a detector, which may have the background as class 0
    background = {"softmax": [1], "sigmoid": [0]}.get(metadata.config.get("model", {}).get("scores"), [0, 1])
    return [width - count for count in background]


def _calibration(batches: Images, size: tuple[int, int]) -> list[np.ndarray]:
    """The calibration images as a list, for they are gone through more than once."""
    batches = [np.asarray(batch, np.float32) for batch in batches]
    for batch in batches:
        if batch.ndim != 4 or batch.shape[1:] != (*size, 3):
            height, width = size
            raise UserError(f"calibration must be images [N, {height}, {width}, 3]. Received: {list(batch.shape)}")
    count = sum(map(len, batches))
    if not count:
        raise UserError("calibration must hold images. Received: none")
    if count < ENOUGH:
        warnings.warn(f"calibration should have {ENOUGH} images or more. Received: {count}", stacklevel=3)
    return batches


def _deployable(model: keras.Model, outputs: str) -> keras.Model:
    """The model in float32 with its single output named after what it is; several outputs keep their names."""
    if any(layer.compute_dtype != "float32" for layer in model._flatten_layers()):
        weights = model.get_weights()
        model = keras.models.model_from_json(re.sub(r'"(mixed_)?b?float16"', '"float32"', model.to_json()))
        model.set_weights([np.asarray(value, np.float32) for value in weights])
    return model if len(model.outputs) > 1 else keras.Model(model.inputs, {outputs: model.outputs[0]}, name=model.name)


def _trace(net: keras.Model, shape: tuple, folder: Path) -> Path:
    """Writes a SavedModel that takes images of that shape."""
    # model.export would also track the model, and so store each weight twice (keras-team/keras#23553).
    archive = keras.export.ExportArchive()
    signature = [tf.TensorSpec(shape, tf.float32, name="image")]
    archive.add_endpoint("serve", lambda image: net(image, training=False), input_signature=signature)
    archive.write_out(folder, verbose=False)
    return folder


def _copy(saved: Path, path: Path, job: Job) -> None:
    shutil.copytree(saved, path)


def _tflite(saved: Path, path: Path, job: Job, quantised: Callable[[Any, Job], bytes] | None = None) -> None:
    job.say("converting to TFLite")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.allow_custom_ops = job.detector
    path.write_bytes(quantised(converter, job) if quantised else converter.convert())


def _float16(converter: Any, job: Job) -> bytes:
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _dynamic(converter: Any, job: Job) -> bytes:
    """Without calibration images the default optimisation quantises weights only."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def _int8(converter: Any, job: Job) -> bytes:
    outputs = "float32" if job.detector else job.inputs
    if job.calibration is None:
        return quantize.trained(converter, job.inputs, outputs)
    examples = partial(_representative, job.calibration, job.say)
    return quantize.int8(converter, examples, job.inputs, outputs, job.float_layers)


def _int16(converter: Any, job: Job) -> bytes:
    return quantize.int16(converter, partial(_representative, job.calibration, job.say))


def _representative(
    calibration: Sequence[np.ndarray], say: Say, stage: str = "calibrating", count: int | None = None
) -> Iterator[list[np.ndarray]]:
    """Each of the images, or the first `count`, as [1, H, W, 3] in a list of its own."""
    images = list(islice((image for batch in calibration for image in batch), count))
    for number, image in enumerate(images, 1):
        image = image[None].copy()
        if number == 1:
            # Two pixels of the first image pin the input's range to 0..255: one step is one grey level, so
            # a uint8 file takes an image as it is.
            image[0, 0, :2] = [[0.0], [255.0]]
        say(f"{stage} on image {number} of {len(images)}")
        yield [image]
    say("quantising")


def _onnx(saved: Path, path: Path, job: Job) -> None:
    """By way of a float32 .tflite: BatchNorm is folded there and few Transposes are left."""
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise missing_extra("tf2onnx", "onnx") from error
    with tempfile.TemporaryDirectory() as folder:
        flat = Path(folder) / "model.tflite"
        _tflite(saved, flat, job)
        job.say("converting to ONNX")
        model, _ = tf2onnx.convert.from_tflite(str(flat), opset=OPSET)
        _rename(model.graph, _tensor_names(flat))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _tensor_names(path: Path) -> dict[str, str]:
    """{tensor name: signature name} of a .tflite file's inputs and outputs."""
    with quiet():
        runner = tf.lite.Interpreter(model_content=path.read_bytes()).get_signature_runner()
    details = {**runner.get_input_details(), **runner.get_output_details()}
    return {detail["name"]: key for key, detail in details.items()}


def _rename(graph: Any, names: dict[str, str]) -> None:
    for value in [*graph.input, *graph.output, *graph.value_info]:
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]


FORMATS = {
    "savedmodel": Format("saved_model", _copy, dynamic=True),
    "tflite": Format("model.tflite", _tflite),
    "tflite_float16": Format("model_float16.tflite", partial(_tflite, quantised=_float16)),
    "tflite_dynamic": Format("model_dynamic.tflite", partial(_tflite, quantised=_dynamic)),
    "tflite_int8": Format("model_int8.tflite", partial(_tflite, quantised=_int8), calibrated=True, rounded=True),
    "tflite_int16": Format("model_int16.tflite", partial(_tflite, quantised=_int16), calibrated=True),
    "onnx": Format("model.onnx", _onnx),
}


def tflite_ops(path: str | Path) -> Counter[str]:
    """Counts the operations of a .tflite file by name; custom ones by their own ("FlexErf")."""
    return Counter(name for name, _ in _operations(path))


def _operations(path: str | Path) -> Iterator[tuple[str, str]]:
    """(name, name of the first output) of each operation of a .tflite file."""
    model = schema.Model.GetRootAs(Path(path).read_bytes(), 0)
    ops = operators(model)
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        for operator in (graph.Operators(i) for i in range(graph.OperatorsLength())):
            output = graph.Tensors(operator.Outputs(0)).Name().decode() if operator.OutputsLength() else ""
            yield ops[operator.OpcodeIndex()], output


def _prove_operations(file: Path, path: Path, net: keras.Model) -> None:
    """Conversions can "succeed" with variables left in the graph, or with operations that no runtime has."""
    known = {*vars(schema.BuiltinOperator), POST_PROCESS} - VARIABLES
    bad = [(operation, output) for operation, output in _operations(file) if operation not in known]
    if bad:
        received = with_layers(bad, net)
        raise UserError(f"{path} must hold TFLite's own operations and no variables. Received: {received}")


def _prove_finite(file: Path, path: Path, metadata: Metadata) -> None:
    noise = np.random.default_rng(0).uniform(0, 255, (1, *metadata.input_size, 3)).astype(np.float32)
    if not all(np.isfinite(values).all() for values in leaves(load_predictor(file)(noise))):
        raise UserError(f"{path} must give finite outputs; look for NaN in the weights. Received: NaN or infinity")


@contextmanager
def _progress(title: str) -> Iterator[Say]:
    """Shows what is being done on stderr, and holds back what TensorFlow logs meanwhile."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    title = escape(title)
    try:
        with quiet(), warnings.catch_warnings(action="ignore"), Console(stderr=True).status(title) as status:
            yield lambda text: status.update(f"{title}: {text}")
    finally:
        logging.disable(disabled)
