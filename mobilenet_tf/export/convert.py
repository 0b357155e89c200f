"""Converting Keras models to the formats in inference/formats.py, and the checks before and after."""

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
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.markup import escape
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.convert_phase import ConverterError

from mobilenet_tf import qat
from mobilenet_tf.export import ai_edge, onnx_gelu, quantize
from mobilenet_tf.export.refinement import PERCENTILE, refined
from mobilenet_tf.export.unsupported import unsupported_ops, with_layers
from mobilenet_tf.inference import artifact, tflite_metadata
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.endings import Shapes
from mobilenet_tf.inference.formats import (
    FORMATS,
    TFLITE,
    Engine,
    Format,
    InputType,
    check_engine,
    find_format,
    resolve,
)
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.inference.spread import leaves
from mobilenet_tf.inference.tflite import POST_PROCESS, open_tflite
from mobilenet_tf.inference.tflite_schema import operators
from mobilenet_tf.models import graph
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import quiet
from mobilenet_tf.utils.errors import UserError, missing_extra

OPSET = 18  # of ONNX files
MIN_CALIBRATION_IMAGES = 100  # fewer give a warning
VARIABLES = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}  # signs of a graph that was not frozen

Images = Iterable[np.ndarray]
Say = Callable[[str], None]  # shows the user the current step


@dataclass(frozen=True)
class Job:
    """What a conversion may need beside the SavedModel."""

    format: str
    calibration: Sequence[np.ndarray] | None
    inputs: InputType
    float_layers: quantize.FloatLayers
    has_post_process: bool  # whether the model ends in the runtimes' own post-processing of detectors
    say: Say
    percentile: float
    refine: bool


def export(
    model: keras.Model,
    path: str | Path,
    format: str,
    *,
    metadata: Metadata,
    calibration: Images | None = None,
    inputs: InputType = "float32",
    float_layers: quantize.FloatLayers = 0,
    dynamic_batch: bool = False,
    engine: Engine | None = None,
    percentile: float = PERCENTILE,
    refine: bool = True,
) -> Path:
    """Writes a model file that runs without this package, with the metadata inside, and checks that it runs.

    Args:
        model: images [N, H, W, 3] in 0..255 -> what metadata.outputs names; mixed precision is exported as float32.
            A model from quantization-aware training (see `mobilenet_tf.qat`) needs no calibration images for
            tflite_int8, and becomes an ordinary float model in other formats.
        path: the file to write, or the folder of a SavedModel. It is replaced in one step at the end.
        format: a key of `formats.FORMATS`.
        metadata: is written into the file; its input_size is the size of the images that the file will take.
        calibration: batches of float32 images [N, H, W, 3] in 0..255 that went through the evaluation preprocessing;
            for tflite_int8 and tflite_int16. Fewer than 100 give a warning.
        inputs: the type of the inputs and outputs of a tflite_int8 file; detections always come as float32.
        float_layers: the layers of a tflite_int8 file that stay in float32, see `quantize.int8`.
        dynamic_batch: leave the batch size free, as it always is in a SavedModel; otherwise it is 1, which every
            delegate of a phone takes.
        engine: what quantizes, "tensorflow" or "ai_edge"; None: the better one for the format. A model from
            quantization-aware training is TensorFlow's.
        percentile: where the ranges of activations in a tflite_int8 file end, see `refinement.refined`.
        refine: whether TensorFlow's engine prepares the network by the calibration images before it makes a tflite_int8
            file, see `refinement`; False: as TensorFlow does it by itself.

    Returns the path. Raises UserError for a bad option, for operations that TFLite does not support and for outputs
    that are not finite; what was at the path then stays.
    """
    path = Path(path)
    chosen = find_format(format)
    check_engine(chosen, engine)
    check_path(path, chosen)
    _check_calibration_is_given(calibration, chosen, model)
    _check_float_layers(float_layers, chosen, model)
    check_inputs(inputs, chosen)
    _check_batch(dynamic_batch, chosen, metadata)
    _check_input_size(model, metadata)
    _check_classes(model, metadata)
    if qat.is_prepared(model):
        model, calibration = (model, None) if chosen.keeps_qat else (qat.strip(model), calibration)
    if calibration is not None:
        calibration = checked_calibration(calibration, metadata.input_size)
    net = _in_float32(model, metadata.outputs)
    batch = None if dynamic_batch or chosen.dynamic_batch else 1
    with progress(f"export {path.name}") as say, tempfile.TemporaryDirectory() as folder:
        say("tracing the graph")
        saved = _trace(net, (batch, *metadata.input_size, 3), Path(folder) / "saved_model")
        with files.replacing(path, members=chosen.kind.members) as temporary:
            has_post_process = metadata.ending.has_post_process
            job = Job(format, calibration, inputs, float_layers, has_post_process, say, percentile, refine)
            by_tensorflow = qat.is_prepared(model) or chosen.engine(engine) == "tensorflow"
            convert = resolve(chosen.convert) if by_tensorflow else to_ai_edge
            with _naming_layers(net):
                convert(saved, temporary, job)
            if chosen.kind is TFLITE:
                _check_operations(temporary, path, net)
                tflite_metadata.embed(temporary, metadata)
            artifact.write(temporary, metadata)
            say("checking the file")
            check_finite(temporary, path, metadata)
    return path


def sensitivity(model: keras.Model, metadata: Metadata, calibration: Images) -> list[quantize.LayerError]:
    """Returns the error that int8 makes in each operation of a float model, the largest first.

    The arguments are those of `export`.
    """
    calibration, net = checked_calibration(calibration, metadata.input_size), _in_float32(model, metadata.outputs)
    with progress("comparing the layers") as say, tempfile.TemporaryDirectory() as folder:
        say("tracing the graph")
        saved = _trace(net, (1, *metadata.input_size, 3), Path(folder) / "saved_model")
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
        converter.allow_custom_ops = metadata.ending.has_post_process
        with _naming_layers(net):
            examples = partial(_representative, calibration, say)
            return quantize.layer_errors(converter, examples, _refine(calibration, say))


@contextmanager
def _naming_layers(net: keras.Model) -> Iterator[None]:
    """Turns an error about unsupported operations into one line that names the layers they come from."""
    try:
        yield
    except ConverterError as error:
        received = unsupported_ops(error, net)
        raise UserError(f"the model must be made of TFLite's own operations. Received: {received}") from error


# Checks before the conversion; each raises UserError


def check_path(path: Path, format: Format) -> None:
    """The path has the format's suffix, and nothing but an earlier export stands there."""
    suffix, marker = format.kind.suffix, format.kind.marker
    if path.suffix != suffix:
        expected = f"end in {suffix}" if suffix else "be a folder name without a suffix"
        raise UserError(f"the path of a {format.name} export must {expected}. Received: {path}")
    if path.is_dir() and not (marker and (not any(path.iterdir()) or (path / marker).is_file())):
        raise UserError(f"the path of a {format.name} export must not be a folder of something else. Received: {path}")


def _check_calibration_is_given(calibration: Images | None, format: Format, model: keras.Model) -> None:
    """A format that is calibrated has images for it, unless the model is prepared for QAT and so has the ranges."""
    if format.needs_calibration and calibration is None and not (format.keeps_qat and qat.is_prepared(model)):
        raise UserError(f"{format.name} must have calibration images. Received: calibration=None")


def _check_float_layers(float_layers: quantize.FloatLayers, format: Format, model: keras.Model) -> None:
    """A network from quantization-aware training becomes int8 throughout, without float layers."""
    if format.keeps_qat and float_layers and qat.is_prepared(model):
        raise UserError(f"float_layers must be 0 for a network trained for int8. Received: float_layers={float_layers}")


def check_inputs(inputs: str, format: Format) -> None:
    """The format can have inputs of that type."""
    if inputs not in format.input_types:
        raise UserError(f"inputs of {format.name} must be {', '.join(format.input_types)}. Received: inputs={inputs}")


def _check_batch(dynamic: bool, format: Format, metadata: Metadata) -> None:
    """The boxes of TFLite and ONNX files are decoded for one image at a time."""
    if dynamic and metadata.ending.has_post_process and not format.dynamic_batch:
        raise UserError(
            f"export.outputs must be raw for a {format.name} file with export.dynamic_batch=true: its boxes are "
            f"decoded for one image at a time. Received: {metadata.outputs}"
        )


def _check_input_size(model: keras.Model, metadata: Metadata) -> None:
    """The model takes images of the size in the metadata."""
    size = tuple(model.inputs[0].shape[1:3])
    if not all(have in (None, want) for have, want in zip(size, metadata.input_size, strict=True)):
        raise UserError(f"input_size must be the model's, {size[0]}x{size[1]}. Received: {metadata.input_size}")


def _check_classes(model: keras.Model, metadata: Metadata) -> None:
    """There is a class name for each class of the model, where its outputs tell how many there are."""
    counts = metadata.ending.class_counts(_class_shapes(model, metadata), metadata.config)
    if counts and len(metadata.classes) not in counts:
        wanted = " or ".join(map(str, counts))
        raise UserError(
            f"the classes must be as many as the model's outputs, {wanted}. Received: {len(metadata.classes)}"
        )


def _class_shapes(model: keras.Model, metadata: Metadata) -> Shapes:
    """Returns the shapes by which the ending counts classes: those of the outputs, or of its layer's inputs."""
    layers = [layer for layer in model.layers if metadata.ending.is_layer and layer.name == metadata.outputs]
    tensors = graph.inputs_of(layers[0]) if layers else model.output
    if isinstance(tensors, dict):
        return {name: tensor.shape for name, tensor in tensors.items()}
    return {str(i): tensor.shape for i, tensor in enumerate(keras.tree.flatten(tensors))}


# The steps of a conversion


def checked_calibration(batches: Images, size: tuple[int, int]) -> list[np.ndarray]:
    """Returns the calibration images as a list, since they are used several times. Raises UserError for bad ones."""
    batches = [np.asarray(batch, np.float32) for batch in batches]
    for batch in batches:
        if batch.ndim != 4 or batch.shape[1:] != (*size, 3):
            height, width = size
            raise UserError(f"calibration must be images [N, {height}, {width}, 3]. Received: {list(batch.shape)}")
    count = sum(map(len, batches))
    if not count:
        raise UserError("calibration must hold images. Received: none")
    if count < MIN_CALIBRATION_IMAGES:
        warnings.warn(
            f"calibration should have {MIN_CALIBRATION_IMAGES} images or more. Received: {count}", stacklevel=3
        )
    return batches


def _in_float32(model: keras.Model, outputs: str) -> keras.Model:
    """Returns the model in float32. A single output gets the name `outputs`; several keep their names."""
    if any(layer.compute_dtype != "float32" for layer in graph.all_layers(model)):
        weights = model.get_weights()
        model = keras.models.model_from_json(re.sub(r'"(mixed_)?b?float16"', '"float32"', model.to_json()))
        model.set_weights([np.asarray(value, np.float32) for value in weights])
    return model if len(model.outputs) > 1 else keras.Model(model.inputs, {outputs: model.outputs[0]}, name=model.name)


def _trace(net: keras.Model, shape: tuple, folder: Path) -> Path:
    """Writes a SavedModel that takes images of that shape."""
    # model.export would also track the model, and so store each weight twice (keras-team/keras#23553).
    archive: Any = keras.export.ExportArchive()
    signature = [tf.TensorSpec(shape, tf.float32, name="image")]
    archive.add_endpoint("serve", lambda image: net(image, training=False), input_signature=signature)
    archive.write_out(folder, verbose=False)
    return folder


# The converters: each reads a SavedModel and writes a file. `formats.FORMATS` names them.


def to_savedmodel(saved: Path, path: Path, job: Job) -> None:
    """Copies the SavedModel."""
    shutil.copytree(saved, path)


def to_tflite(saved: Path, path: Path, job: Job) -> None:
    """Converts to float32."""
    path.write_bytes(_converter(saved, job).convert())


def to_float16(saved: Path, path: Path, job: Job) -> None:
    """Converts to weights in float16; runtimes compute in float32."""
    converter = _converter(saved, job)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    path.write_bytes(converter.convert())


def to_dynamic(saved: Path, path: Path, job: Job) -> None:
    """Converts to weights in int8; without calibration images the default optimization quantizes nothing else."""
    converter = _converter(saved, job)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    path.write_bytes(converter.convert())


def to_int8(saved: Path, path: Path, job: Job) -> None:
    """Converts to int8 throughout: by the calibration images, or by the ranges that were learned in training."""
    converter, outputs = _converter(saved, job), "float32" if job.has_post_process else job.inputs
    if job.calibration is None:
        path.write_bytes(quantize.trained(converter, job.inputs, outputs))
        return
    examples = partial(_representative, job.calibration, job.say)
    refine = _refine(job.calibration, job.say, job.percentile) if job.refine else None
    path.write_bytes(quantize.int8(converter, examples, job.inputs, outputs, job.float_layers, refine))


def to_int16(saved: Path, path: Path, job: Job) -> None:
    """Converts to weights in int8 and activations in int16."""
    assert job.calibration is not None  # `export` has checked it
    examples = partial(_representative, job.calibration, job.say)
    path.write_bytes(quantize.int16(_converter(saved, job), examples))


def to_ai_edge(saved: Path, path: Path, job: Job) -> None:
    """Converts by ai-edge-quantizer, from a float32 .tflite file."""
    converter = _converter(saved, job)
    content, outputs = converter.convert(), "float32" if job.has_post_process else job.inputs
    calibration = job.calibration or ()
    images = [image for batch in calibration for image in batch]
    named = []
    if job.float_layers and ai_edge.PRECISIONS[job.format].activations == 8:
        examples = partial(_representative, calibration, job.say)
        named = quantize.float_tensors(converter, examples, job.float_layers)
    path.write_bytes(
        ai_edge.quantize(
            content,
            job.format,
            images,
            inputs=job.inputs,
            outputs=outputs,
            float_layers=[ai_edge.exactly(name) for name in named],
            percentile=job.percentile,
            say=job.say,
        )
    )


def to_onnx(saved: Path, path: Path, job: Job) -> None:
    """Converts to ONNX by way of a float32 .tflite file, in which BatchNorm is folded and few Transposes are left."""
    try:
        import onnx
        import tf2onnx
    except ImportError as error:
        raise missing_extra("tf2onnx", FORMATS["onnx"].extra or "onnx") from error
    with tempfile.TemporaryDirectory() as folder:
        flat = Path(folder) / "model.tflite"
        to_tflite(saved, flat, job)
        job.say("converting to ONNX")
        onnx_gelu.register()
        model, _ = tf2onnx.convert.from_tflite(str(flat), opset=OPSET)
        _rename(model.graph, _tensor_names(flat))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _converter(saved: Path, job: Job) -> tf.lite.TFLiteConverter:
    job.say("converting to TFLite")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.allow_custom_ops = job.has_post_process
    return converter


def _representative(
    calibration: Sequence[np.ndarray], say: Say, stage: str = "calibrating", count: int | None = None
) -> Iterator[list[np.ndarray]]:
    """Yields each of the images, or the first `count`, as [1, H, W, 3] in a list of its own."""
    images = list(islice((image for batch in calibration for image in batch), count))
    for number, image in enumerate(images, 1):
        image = image[None].copy()
        if number == 1:
            # Two pixels of the first image fix the range of the input to 0..255: one LSB is one gray level, so
            # a uint8 file takes an image as it is.
            image[0, 0, :2] = [[0.0], [255.0]]
        say(f"{stage} on image {number} of {len(images)}")
        yield [image]
    say("quantizing")


def _refine(calibration: Sequence[np.ndarray], say: Say, percentile: float = PERCENTILE) -> quantize.Refine:
    """Returns the function that prepares a float file for int8 by the calibration images."""
    images = [image for batch in calibration for image in batch]
    return partial(refined, images=images, say=say, percentile=percentile)


def _tensor_names(path: Path) -> dict[str, str]:
    """Returns {tensor name: name in the signature} for the inputs and outputs of a .tflite file."""
    runner = open_tflite(path).get_signature_runner()
    details = {**runner.get_input_details(), **runner.get_output_details()}
    return {detail["name"]: key for key, detail in details.items()}


def _rename(onnx_graph: Any, names: dict[str, str]) -> None:
    for value in [*onnx_graph.input, *onnx_graph.output, *onnx_graph.value_info]:
        value.name = names.get(value.name, value.name)
    for node in onnx_graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]


# Checks of the file


def tflite_ops(path: str | Path) -> Counter[str]:
    """Returns how often each operation is in a .tflite file; a custom one has its own name, such as "FlexErf"."""
    return Counter(name for name, _ in _operations(path))


def _operations(path: str | Path) -> Iterator[tuple[str, str]]:
    """Yields (name, name of the first output) of each operation of a .tflite file."""
    model: Any = schema.Model.GetRootAs(Path(path).read_bytes(), 0)
    ops = operators(model)
    for subgraph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        for operator in (subgraph.Operators(i) for i in range(subgraph.OperatorsLength())):
            output = subgraph.Tensors(operator.Outputs(0)).Name().decode() if operator.OutputsLength() else ""
            yield ops[operator.OpcodeIndex()], output


def _check_operations(file: Path, path: Path, net: keras.Model) -> None:
    """The file has no variables and no operations that runtimes do not have, both of which converters let pass."""
    known = {*vars(schema.BuiltinOperator), POST_PROCESS} - VARIABLES
    unsupported = [(operation, output) for operation, output in _operations(file) if operation not in known]
    if unsupported:
        received = with_layers(unsupported, net)
        raise UserError(f"{path} must hold TFLite's own operations and no variables. Received: {received}")


def check_finite(file: Path, path: Path, metadata: Metadata) -> None:
    """The file gives finite outputs for random noise."""
    noise = np.random.default_rng(0).uniform(0, 255, (1, *metadata.input_size, 3)).astype(np.float32)
    if not all(np.isfinite(values).all() for values in leaves(load_predictor(file)(noise))):
        raise UserError(f"{path} must give finite outputs; look for NaN in the weights. Received: NaN or infinity")


@contextmanager
def progress(title: str) -> Iterator[Say]:
    """Shows the current step on stderr and suppresses what TensorFlow logs meanwhile."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    title = escape(title)
    try:
        with quiet(), warnings.catch_warnings(action="ignore"), Console(stderr=True).status(title) as status:
            yield lambda text: status.update(f"{title}: {text}")
    finally:
        logging.disable(disabled)
