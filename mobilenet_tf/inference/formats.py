"""The formats that models are exported to and the kinds of model files, one row each. No TensorFlow here.

Everything else that depends on a format derives from these rows: the converters, the checks of paths and configs, the
predictor, the inspection, the benchmark and the help of the command line. To add an export format, add a row to
FORMATS and write its converter in export/convert.py. A format that no row of KINDS can open needs a row there too, and
the functions that it names.

Functions are named as "module:function" and imported when they are first used.
"""

from __future__ import annotations

import difflib
import importlib.util
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mobilenet_tf.utils.errors import UserError, missing_extra

InputType = Literal["float32", "int8", "uint8"]
Engine = Literal["tensorflow", "ai_edge"]  # what quantizes: TensorFlow's converter or ai-edge-quantizer
ENGINE_EXTRA, ENGINE_PACKAGE = "quantizer", "ai_edge_quantizer"  # the pip extra of the engine ai_edge, and its package


@dataclass(frozen=True)
class Kind:
    """A kind of model file, whatever its precision: how it is recognized, read and run."""

    name: str
    suffix: str  # of the file; empty for a folder
    open: str  # (path, threads, trust) -> (function from images to {name: output}, shape of the images)
    inspect: str  # path -> the fields of `inspection.Inspection` that depend on the kind
    store: str  # (path, metadata as JSON, labels) -> None: writes the metadata into the file
    load: str  # path -> the metadata as JSON, or None
    runtime: str  # () -> anything: imports what running such a file needs
    marker: str = ""  # the file by which a folder of this kind is recognized
    members: tuple[str, ...] = ()  # all names that such a folder may hold
    threads: bool = False  # whether each file can be given its own number of threads
    runtime_name: str = "TensorFlow"  # what runs such a file, for people


@dataclass(frozen=True)
class Format:
    """An export format: a kind of file and how a model is converted into it."""

    name: str
    kind: Kind
    filename: str  # the usual name of such a file; a name without a suffix is that of a folder
    convert: str  # (SavedModel folder, file to write, `convert.Job`) -> None
    extra: str | None = None  # the pip extra that the conversion needs
    needs_calibration: bool = False  # needs images to find the ranges of activations
    keeps_qat: bool = False  # uses the ranges of a network from quantization-aware training
    input_types: tuple[InputType, ...] = ("float32",)  # that its inputs and outputs may have
    dynamic_batch: bool = False  # the batch size is always free
    engines: tuple[Engine, ...] = ()  # that can quantize to it, the better one first; none where nothing is quantized

    def engine(self, wanted: Engine | None = None) -> Engine:
        """Returns the engine that makes the format: the wanted one, or for None the better one that is installed.

        Raises UserError for one that cannot.
        """
        if not self.engines:
            return "tensorflow"
        if wanted is not None and wanted not in self.engines:
            raise UserError(f"export.engine {no_engine(self, wanted)}")
        if wanted is not None:
            return wanted
        installed: list[Engine] = [engine for engine in self.engines if _is_installed(engine)]
        return (installed or self.engines)[0]


PREDICT = "mobilenet_tf.inference.predict"
STORAGE = "mobilenet_tf.inference.metadata_storage"
INSPECTION = "mobilenet_tf.analysis.inspect_"
CONVERT = "mobilenet_tf.export.convert"
BOTH: tuple[Engine, ...] = ("tensorflow", "ai_edge")  # no difference, see docs/quantization.md

KERAS = Kind(
    name="keras",
    suffix=".keras",
    open=f"{PREDICT}:keras_runner",
    inspect=f"{INSPECTION}keras:inspect_keras",
    store=f"{STORAGE}:write_zip",
    load=f"{STORAGE}:read_zip",
    runtime="mobilenet_tf.inference.keras_loading:import_keras",
)
HDF5 = Kind(
    name="h5",
    suffix=".h5",
    open=f"{PREDICT}:keras_runner",
    inspect=f"{INSPECTION}keras:inspect_keras",
    store=f"{STORAGE}:store_nothing",
    load=f"{STORAGE}:load_nothing",
    runtime="mobilenet_tf.inference.keras_loading:import_keras",
)
SAVED_MODEL = Kind(
    name="savedmodel",
    suffix="",
    open=f"{PREDICT}:savedmodel_runner",
    inspect=f"{INSPECTION}keras:inspect_savedmodel",
    store=f"{STORAGE}:write_folder",
    load=f"{STORAGE}:read_folder",
    runtime="mobilenet_tf.inference.keras_loading:import_keras",
    marker="saved_model.pb",
    members=("saved_model.pb", "variables", "assets", "assets.extra", "fingerprint.pb", "keras_metadata.pb")
    + ("verification.json",),
)
TFLITE = Kind(
    name="tflite",
    suffix=".tflite",
    open=f"{PREDICT}:tflite_runner",
    inspect=f"{INSPECTION}tflite:inspect_tflite",
    store=f"{STORAGE}:write_zip_with_labels",
    load=f"{STORAGE}:read_zip",
    runtime="mobilenet_tf.inference.tflite:interpreter_class",
    threads=True,
    runtime_name="LiteRT",
)
ONNX = Kind(
    name="onnx",
    suffix=".onnx",
    open=f"{PREDICT}:onnx_runner",
    inspect=f"{INSPECTION}onnx:inspect_onnx",
    store=f"{STORAGE}:write_onnx",
    load=f"{STORAGE}:read_onnx",
    runtime=f"{PREDICT}:import_onnxruntime",
    threads=True,
    runtime_name="ONNX Runtime",
)
KINDS = {kind.name: kind for kind in (KERAS, HDF5, SAVED_MODEL, TFLITE, ONNX)}

ROWS = (
    Format("savedmodel", SAVED_MODEL, "saved_model", f"{CONVERT}:to_savedmodel", dynamic_batch=True),
    Format("tflite", TFLITE, "model.tflite", f"{CONVERT}:to_tflite"),
    Format("tflite_float16", TFLITE, "model_float16.tflite", f"{CONVERT}:to_float16"),
    Format("tflite_dynamic", TFLITE, "model_dynamic.tflite", f"{CONVERT}:to_dynamic", engines=BOTH),
    Format(
        "tflite_int4",
        TFLITE,
        "model_int4.tflite",
        f"{CONVERT}:to_ai_edge",
        extra=ENGINE_EXTRA,
        needs_calibration=True,
        engines=("ai_edge",),
    ),
    Format(
        "tflite_int8",
        TFLITE,
        "model_int8.tflite",
        f"{CONVERT}:to_int8",
        needs_calibration=True,
        keeps_qat=True,
        input_types=get_args(InputType),
        engines=BOTH,
    ),
    Format(
        "tflite_int16",
        TFLITE,
        "model_int16.tflite",
        f"{CONVERT}:to_int16",
        needs_calibration=True,
        engines=("ai_edge", "tensorflow"),  # its weights are rounded better, see docs/quantization.md
    ),
    Format("onnx", ONNX, "model.onnx", f"{CONVERT}:to_onnx", extra="onnx"),
)
FORMATS = {row.name: row for row in ROWS}


def resolve(name: str) -> Callable[..., Any]:
    """Returns the function that "module:function" names, importing the module."""
    return pkgutil.resolve_name(name)


def find_format(name: str, key: str = "format") -> Format:
    """Returns the row of an export format. `key` is what the error message calls the name.

    Raises UserError for a name that FORMATS lacks.
    """
    if name not in FORMATS:
        raise UserError(f"{key} {unknown_format(name)}")
    return FORMATS[name]


def check_engine(format: Format, engine: Engine | None) -> None:
    """Raises UserError where the engine cannot make the format, or where its extra is not installed."""
    if not _is_installed(format.engine(engine)):
        raise missing_extra("ai-edge-quantizer", ENGINE_EXTRA)


def _is_installed(engine: Engine) -> bool:
    return engine == "tensorflow" or importlib.util.find_spec(ENGINE_PACKAGE) is not None


def no_engine(format: Format, engine: str) -> str:
    """Returns the end of the error message about an engine that cannot make a format."""
    return f"must be {' or '.join(format.engines)} for {format.name}. Received: {engine}"


def unknown_format(name: str) -> str:
    """Returns the end of the error message about a name that FORMATS lacks, with the nearest names."""
    near = difflib.get_close_matches(name, FORMATS, n=3, cutoff=0.6)
    hint = f" (nearest: {', '.join(near)})" if near else ""
    return f"must be one of {', '.join(FORMATS)}{hint}. Received: {name}"


def find_kind(path: Path) -> Kind | None:
    """Returns the kind of a model file by its suffix, or None for a suffix that no kind has."""
    return next((kind for kind in KINDS.values() if kind.suffix and kind.suffix == path.suffix), None)


def suffixes() -> str:
    """Returns the suffixes of all kinds of model files as a list in words: ".keras, .tflite or .onnx"."""
    *first, last = (kind.suffix for kind in KINDS.values() if kind.suffix)
    return f"{', '.join(first)} or {last}"
