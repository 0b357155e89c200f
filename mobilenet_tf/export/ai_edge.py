"""Quantizes float .tflite files, of this package or of any other, by ai-edge-quantizer: in seconds, without TensorFlow.

The library's own calibration takes moving averages of ranges, which clips the outliers of hard-swish networks (V3) and
ruins their accuracy; here ranges are minimum and maximum over all images.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.export import refinement, rounding, tflite_objects
from mobilenet_tf.export.rounding import Rounding
from mobilenet_tf.export.tflite_objects import CHANNELS
from mobilenet_tf.inference.formats import InputType
from mobilenet_tf.inference.tflite import MAX_BYTES, open_tflite
from mobilenet_tf.inference.tflite_schema import tflite_schema
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import quiet
from mobilenet_tf.utils.errors import UserError, missing_extra, reason_of

EXTRA = "quantizer"
INPUT_RANGE = (0.0, 255.0)  # of all images: one LSB is one gray level, so that a uint8 file takes an image as it is
ALL = "*"

Say = Callable[[str], None]  # shows the user the current step
Range = tuple[float, float]


@dataclass(frozen=True)
class Precision:
    """How many bits numbers have in a file; activations of None are float32 there."""

    weights: int
    activations: int | None = None
    rounding: Rounding | None = None  # of weights by images; others are rounded to the nearest level
    is_refined: bool = False  # whether the network is prepared by images, its weights and ranges


MIN_WEIGHTS = 1024  # of a layer, where activations are float32; fewer cost more accuracy than they save bytes
# At 8 bits, layers whose outputs have few inputs, depthwise ones above all, lose most; the others gain nothing from it.
FEW_INPUTS = Rounding(127, ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), max_inputs=64)
# The formats that this engine makes. All their weights have a scale for each output channel.
PRECISIONS = {
    "tflite_dynamic": Precision(8),
    "tflite_int4": Precision(
        4, rounding=Rounding(7, min_weights=MIN_WEIGHTS)
    ),  # no kernels take depthwise int4 weights
    "tflite_int8": Precision(8, 8, is_refined=True),
    "tflite_int16": Precision(8, 16, FEW_INPUTS),
}
MAX_BIAS = 2.0**30  # of an int32 bias, in steps of it; the library clips larger ones
MIN_AMPLITUDE = (
    2.0**-16
)  # of a channel, to the largest of its layer: XNNPACK ends the process at steps that are too small


def quantize_tflite(
    path: str | Path,
    format: str,
    images: Iterable[np.ndarray] = (),
    *,
    inputs: InputType = "float32",
    scale: float | Sequence[float] = 1.0,
    offset: float | Sequence[float] = 0.0,
    float_layers: Sequence[str] = (),
    percentile: float = refinement.PERCENTILE,
    say: Say = lambda text: None,
) -> bytes:
    """Quantizes a float .tflite file of any origin.

    Args:
        path: the file; its only input is float32 [N, H, W, C].
        format: a key of `PRECISIONS`.
        images: as for `quantize`, of the size that the model takes.
        inputs: as for `quantize`.
        scale, offset: what turns images in 0..255 into the model's input, image * scale + offset, see
            `tflite_objects.rescaled`.
        float_layers, percentile, say: as for `quantize`.

    Returns the content of a .tflite file that takes images in 0..255. Raises UserError for a damaged file, one that is
    quantized already, and as `quantize` does.
    """
    open_tflite(path)
    content = _checked(tflite_objects.rescaled, files.read_bytes(Path(path), MAX_BYTES), scale, offset)
    return quantize(content, format, images, inputs=inputs, float_layers=float_layers, percentile=percentile, say=say)


def quantize(
    content: bytes,
    format: str,
    images: Iterable[np.ndarray] = (),
    *,
    inputs: InputType = "float32",
    outputs: InputType | None = None,
    float_layers: Sequence[str] = (),
    percentile: float = refinement.PERCENTILE,
    say: Say = lambda text: None,
) -> bytes:
    """Quantizes a float .tflite file that takes images in 0..255.

    Args:
        content: a whole and verified file. Where its tensors have ranges, as `refinement.refined` writes them, these
            are taken, and no images are needed.
        format: a key of `PRECISIONS`.
        images: float32 [H, W, C] in 0..255, for the formats that look at some: all but tflite_dynamic.
        inputs, outputs: the types of the file's inputs and outputs; outputs of None are of the inputs' type.
        float_layers: regular expressions; the operations whose outputs' names one of them matches stay in float32.
        percentile: where the ranges of activations in tflite_int8 files end, see `refinement.refined`.
        say: is told the current step.

    Returns the content of a .tflite file. Operations that TFLite cannot compute in the precision stay in float32.
    Raises UserError for a missing extra, missing images, and for a file that is no float model.
    """
    library = _library()
    precision = _precision(format)
    model = _checked(tflite_objects.unpacked, content)
    number = tflite_objects.image_input(model)
    _check_float(model)
    rounded: dict[str, tuple[str, np.ndarray]] = {}
    is_prepared = _recorded(model).get(_name(model, number)) == INPUT_RANGE
    if not is_prepared and (precision.is_refined or precision.rounding):
        images = _some(images)
        if precision.is_refined:
            refined = partial(refinement.refined, percentile=percentile)
            model = tflite_objects.unpacked(_checked(refined, tflite_objects.packed(model), images, say))
            is_prepared = True
        else:
            rounded = _checked(rounding.round_weights, model, images, precision.rounding, say)
    content = tflite_objects.packed(model)
    quantizer = library.Quantizer(content)
    _add_precision(quantizer, precision, rounded)
    if precision.activations:
        _add_ends(quantizer, inputs, inputs if outputs is None else outputs)
    for pattern in float_layers:
        quantizer.update_quantization_recipe(pattern, ALL, algorithm_key=library.AlgorithmName.NO_QUANTIZE)
    ranges = _recorded(model) if is_prepared else {}
    if precision.activations and not is_prepared:
        ranges = _checked(measure_ranges, content, images, say) | {_name(model, number): INPUT_RANGE}
    say("quantizing")
    limits = {name: _limits(*pair) for name, pair in ranges.items()}
    levels = dict(rounded.values())
    for name, most in _amplitudes(model, precision, ranges).items():
        most = np.maximum(most, levels.get(name, 0.0))
        limits[name] = _limits(-most, most)
    with _silent():
        result = _checked(quantizer.quantize, limits, enable_progress_bar=False, enable_progress_report=False)
    return tflite_objects.packed(tflite_objects.unpacked(result.quantized_model))


def _recorded(model: Any) -> dict[str, Range]:
    """Returns {tensor: (low, high)} of the ranges that stand in a file which is prepared for a quantizer."""
    found = [(tensor, tensor.quantization) for graph in model.subgraphs for tensor in graph.tensors]
    return {
        tensor.name.decode(): (float(stored.min[0]), float(stored.max[0]))
        for tensor, stored in found
        if stored is not None and np.size(stored.min) == np.size(stored.max) == 1 and stored.min is not None
    }


def measure_ranges(content: bytes, images: Iterable[np.ndarray], say: Say = lambda text: None) -> dict[str, Range]:
    """Returns {tensor: (smallest, largest value on all images)} of a float file with a signature and one input.

    Raises UserError for images of a wrong shape, and where there are none.
    """
    from ai_edge_quantizer.calibrator import CalibrationMode, Calibrator
    from ai_edge_quantizer.recipe_manager import RecipeManager
    from ai_edge_quantizer.utils.qsv_utils import min_max_update

    with _silent():
        calibrator = Calibrator(
            content, num_threads=2, mode=CalibrationMode.CALIBRATION_PROFILER_BASED, qsv_update_func=min_max_update
        )
        signatures: Any = calibrator.get_signature_list()
        (signature, names), *_ = signatures.items()
        count = 0
        for count, image in enumerate(images, 1):
            say(f"calibrating on image {count}")
            batch = np.ascontiguousarray(image, np.float32)[None]
            calibrator.calibrate({signature: [{names["inputs"][0]: batch}]}, RecipeManager())
    _some(range(count))
    return {
        name: (float(np.min(found["min"])), float(np.max(found["max"])))
        for name, found in calibrator.get_model_qsvs().items()
    }


# The ranges of weights


def _limits(low: Any, high: Any) -> dict[str, np.ndarray]:
    """A range as the library takes it."""
    return {"min": np.atleast_1d(low), "max": np.atleast_1d(high)}


def _amplitudes(model: Any, precision: Precision, ranges: Mapping[str, Range]) -> dict[str, np.ndarray]:
    """Returns {weights: the largest absolute value of each channel that can be expressed}, broadcastable to them.

    Channels with weights of almost nothing get room for their bias, whose steps are those of weights times input.
    """
    amplitudes: dict[str, np.ndarray] = {}
    for graph in model.subgraphs:
        for operation, operator in tflite_objects.operations(model, graph):
            weights = tflite_objects.constant(model, graph, operator, 1) if operation in CHANNELS else None
            if weights is None:
                continue
            axes = tuple(axis for axis in range(weights.ndim) if axis != CHANNELS[operation] % weights.ndim)
            most = np.abs(weights).max(axes, keepdims=True)
            most = np.maximum(most, most.max() * MIN_AMPLITUDE)
            bias = tflite_objects.constant(model, graph, operator, 2)
            source = ranges.get(graph.tensors[operator.inputs[0]].name.decode())
            if bias is not None and source is not None and precision.activations:
                step = (max(source[1], 0.0) - min(source[0], 0.0)) / (2**precision.activations - 1)
                room = np.abs(bias) / (max(step, 1e-12) * MAX_BIAS) * 127
                most = np.maximum(most, room.reshape(most.shape))
            amplitudes[graph.tensors[operator.inputs[1]].name.decode()] = most
    return amplitudes


# The recipe


def _add_precision(quantizer: Any, precision: Precision, rounded: Iterable[str]) -> None:
    """Gives all operations int8 weights, those that put out the tensors `rounded` fewer bits."""
    from ai_edge_quantizer import qtyping

    if precision.activations:
        quantizer.add_static_config(".*", ALL, precision.activations, precision.weights)
        return
    for pattern, bits in [(".*", 8), *((exactly(name), precision.weights) for name in rounded)]:
        weights = qtyping.TensorQuantizationConfig(bits, granularity=qtyping.QuantGranularity.CHANNELWISE)
        config = qtyping.OpQuantizationConfig(
            weight_tensor_config=weights,
            compute_precision=qtyping.ComputePrecision.INTEGER,
            min_weight_elements=MIN_WEIGHTS,
        )
        quantizer.update_quantization_recipe(pattern, ALL, config)


def exactly(tensor: str) -> str:
    """Returns the regular expression for the operation that puts out a tensor; the library ends its name with ";"."""
    return f"^{re.escape(tensor)};?$"


def _add_ends(quantizer: Any, inputs: str, outputs: str) -> None:
    """Gives a file with quantized activations inputs and outputs of these types."""
    from ai_edge_quantizer import qtyping
    from ai_edge_quantizer.quantizer import AlgorithmName

    for operation, kind in (("INPUT", inputs), ("OUTPUT", outputs)):
        if kind == "float32":
            quantizer.update_quantization_recipe(".*", operation, algorithm_key=AlgorithmName.NO_QUANTIZE)
        elif kind == "uint8":
            unsigned = qtyping.TensorQuantizationConfig(8, symmetric=False, dtype=qtyping.TensorDataType.UINT)
            weights = qtyping.TensorQuantizationConfig(8, granularity=qtyping.QuantGranularity.CHANNELWISE)
            config = qtyping.OpQuantizationConfig(unsigned, weights, qtyping.ComputePrecision.INTEGER)
            quantizer.update_quantization_recipe(".*", operation, config)


# Checks


def _checked(function: Callable, *arguments: Any, **options: Any) -> Any:
    """Calls a function that runs or rewrites the model; what it cannot take is the user's model."""
    try:
        return function(*arguments, **options)
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"the model must be one that can be quantized. Received: {reason_of(error)}") from error


def _library() -> Any:
    try:
        with _silent():
            from ai_edge_quantizer import quantizer
    except ImportError as error:
        raise missing_extra("ai-edge-quantizer", EXTRA) from error
    return quantizer


def _precision(format: str) -> Precision:
    if format not in PRECISIONS:
        raise UserError(f"the format must be one of {', '.join(PRECISIONS)}. Received: {format}")
    return PRECISIONS[format]


def _check_float(model: Any) -> None:
    """No weights or activations are quantized yet. Weights in float16 are, as the file dequantizes them itself."""
    types = {value: name for name, value in vars(tflite_schema().TensorType).items()}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.quantization is not None and tensor.quantization.scale is not None:
                name = tensor.name.decode()
                raise UserError(
                    f"the model must be in float32 throughout. Received: {types[tensor.type].lower()} {name}"
                )


def _some(images: Iterable) -> list:
    """Returns the images as a list. Raises UserError where there are none."""
    images = list(images)
    if not images:
        raise UserError("calibration must hold images. Received: none")
    return images


def _name(model: Any, number: int) -> str:
    return model.subgraphs[0].tensors[number].name.decode()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Drops what the library prints: progress bars, reports, warnings and the logs of the runtime."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    sink = io.StringIO()
    try:
        with (
            quiet(),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
            warnings.catch_warnings(action="ignore"),
        ):
            yield
    finally:
        logging.disable(disabled)
