"""TFLite metadata: what MediaPipe Tasks and Android's tools read from a .tflite file. Imports no TensorFlow.

Source: mediapipe/tasks/metadata/metadata_schema.fbs and image_segmenter_metadata_schema.fbs;
tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import encode, packer
from flatbuffers import number_types as numbers
from flatbuffers.table import Table

from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.metadata_storage import LABELS
from mobilenet_tf.inference.tflite import open_tflite, tflite_outputs
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError, reason_of

ENTRY = "TFLITE_METADATA"  # the name in the model's own list of metadata
PARSER_VERSION = "1.5.0"  # of the schema, the oldest that reads what is written here
ALIGNMENT = 16  # bytes, of the weights in a model

# The fields of each table of the schemas, by slot; a union has two, its kind and its value.
TABLES = {
    "Model": "version operator_codes subgraphs description buffers metadata_buffer metadata signature_defs",
    "Buffer": "data",
    "Metadata": "name buffer",
    "ModelMetadata": "name description version subgraph_metadata author license associated_files min_parser_version",
    "SubGraphMetadata": (
        "name description input_tensor_metadata output_tensor_metadata associated_files input_process_units "
        "output_process_units input_tensor_groups output_tensor_groups custom_metadata"
    ),
    "TensorMetadata": "name description dimension_names content process_units stats associated_files",
    "Content": "content_properties_type content_properties range",
    "ImageProperties": "color_space default_size",
    "ImageSize": "width height",
    "FeatureProperties": "",
    "BoundingBoxProperties": "index type coordinate_type",
    "Stats": "max min",
    "ProcessUnit": "options_type options",
    "NormalizationOptions": "mean std",
    "AssociatedFile": "name description type locale version",
    "TensorGroup": "name tensor_names",
    "CustomMetadata": "name data",
    "ImageSegmenterOptions": "activation min_parser_version",
}
TABLES = {name: fields.split() for name, fields in TABLES.items()}

# Values of the schemas' enumerations
FEATURE, IMAGE, BOUNDING_BOX = map(np.uint8, (1, 2, 3))  # ContentProperties
NORMALIZATION = np.uint8(1)  # ProcessUnitOptions
RGB = np.int8(1)  # ColorSpaceType
BOUNDARIES, RATIO = np.int8(1), np.int8(0)  # BoundingBoxType, CoordinateType
AXIS_LABELS, VALUE_LABELS = map(np.int8, (2, 3))  # AssociatedFileType
ACTIVATIONS = {"none": np.int8(0), "softmax": np.int8(2)}  # Activation


def embed(path: str | Path, metadata: Metadata) -> None:
    """Writes the TFLite metadata of a .tflite file into it, in place of any that is there. Atomic.

    With it, MediaPipe's ImageClassifier (of "softmax" and "sigmoid"), ImageEmbedder, ObjectDetector (of "detections")
    and ImageSegmenter (of "logits" and "softmax" of pixels) load the file once `artifact.write` has put the labels
    behind it. The weights keep their bytes and their alignment.
    Raises UserError where the file is damaged.
    """
    path = Path(path)
    interpreter = open_tflite(path)
    outputs = tflite_outputs(interpreter)
    order = [detail["index"] for detail in interpreter.get_output_details()]
    outputs = dict(sorted(outputs.items(), key=lambda item: order.index(item[1]["index"])))
    content = _packed(_model_metadata(interpreter.get_input_details()[0], outputs, metadata), b"M001")
    with files.replacing(path) as temporary:
        temporary.write_bytes(_with_entry(path.read_bytes(), content))


def read(path: str | Path) -> bytes | None:
    """Returns the metadata flatbuffer (identifier M001) in a .tflite file, or None where it has none.

    Raises UserError where it is damaged.
    """
    return entry(Path(path).read_bytes(), ENTRY, path)


def normalization(path: str | Path) -> tuple[list[float], list[float]] | None:
    """Returns the mean and the deviation by which the metadata in a file says that images are to be normalized.

    Each has one number, or one a channel; an image becomes (image - mean) / deviation. Returns None where the file says
    nothing of it. Raises UserError where its metadata is damaged.
    """
    content = read(path)
    try:
        tables = [] if content is None else [_root(content)]
        for table, field in (
            ("ModelMetadata", "subgraph_metadata"),
            ("SubGraphMetadata", "input_tensor_metadata"),
            ("TensorMetadata", "process_units"),
        ):
            tables = [part for each in tables[:1] for part in _tables(each, table, field)]
        for unit in tables:
            kind, options = (unit.Offset(_slot("ProcessUnit", name)) for name in ("options_type", "options"))
            if kind and options and unit.Get(numbers.Uint8Flags, unit.Pos + kind) == NORMALIZATION:
                values = Table(unit.Bytes, unit.Indirect(unit.Pos + options))
                mean, deviation = (_numbers(values, "NormalizationOptions", name) for name in ("mean", "std"))
                return mean, deviation
    except (IndexError, OverflowError, TypeError, ValueError, struct.error) as error:
        raise UserError(f"{path} must hold its TFLite metadata whole. Received: {reason_of(error)}") from error
    return None


def entry(data: bytes, wanted: str, path: str | Path) -> bytes | None:
    """Returns what the model's own list of metadata has under a name, or None. Raises UserError as `read` does."""
    try:
        model = _root(data)
        for found in _tables(model, "Model", "metadata"):
            if _string(found, "Metadata", "name") == wanted:
                offset = found.Offset(_slot("Metadata", "buffer"))
                index = found.Get(numbers.Uint32Flags, found.Pos + offset) if offset else 0
                buffer = _tables(model, "Model", "buffers")[index]
                offset = buffer.Offset(_slot("Buffer", "data"))
                start = buffer.Vector(offset)
                return data[start : start + buffer.VectorLen(offset)]
    except (IndexError, TypeError, ValueError, struct.error) as error:
        raise UserError(f"{path} must hold its TFLite metadata whole. Received: {error}") from None
    return None


# The description of the tensors


def _model_metadata(image: dict, outputs: dict[str, dict], metadata: Metadata):
    describe, options = _scores, {}
    if metadata.ending.mediapipe_names:
        describe = _detection
        names = [metadata.ending.mediapipe_names[name] for name in outputs if name != "num_detections"]
        options["output_tensor_groups"] = [_table("TensorGroup", name="detection_result", tensor_names=names)]
    elif _is_segmenter(outputs):
        activation = ACTIVATIONS[metadata.ending.map_activation]
        segmenter = _table("ImageSegmenterOptions", activation=activation, min_parser_version="1.0.0")
        data = _packed(segmenter, b"V001")
        options["custom_metadata"] = [_table("CustomMetadata", name="SEGMENTER_METADATA", data=data)]
    graph = _table(
        "SubGraphMetadata",
        input_tensor_metadata=[_image(image, metadata)],
        output_tensor_metadata=[describe(name, detail, metadata) for name, detail in outputs.items()],
        **options,
    )
    return _table(
        "ModelMetadata",
        name=f"mobilenet_tf {metadata.task}",
        version=metadata.version,
        subgraph_metadata=[graph],
        min_parser_version=PARSER_VERSION,
    )


def _is_segmenter(outputs) -> bool:
    shapes = [detail["shape"] for detail in outputs.values()]
    return len(shapes) == 1 and len(shapes[0]) == 4


def _image(detail, metadata):
    height, width = metadata.input_size
    size = _table("ImageSize", width=np.uint32(width), height=np.uint32(height))
    low, high = metadata.input_range
    options = {}
    if np.dtype(detail["dtype"]) == np.float32:  # the model rescales by itself; whole-number types take no such unit
        unit = _table("NormalizationOptions", mean=_floats(0.0), std=_floats(1.0))
        options["process_units"] = [_table("ProcessUnit", options_type=NORMALIZATION, options=unit)]
    return _table(
        "TensorMetadata",
        name="image",
        description=f"RGB image, {height}x{width}, values in {low}..{high}",
        content=_content(IMAGE, _table("ImageProperties", color_space=RGB, default_size=size)),
        stats=_table("Stats", max=_floats(high), min=_floats(low)),
        **options,
    )


def _scores(name, detail, metadata):
    labeled = bool(metadata.classes) and detail["shape"][-1] == len(metadata.classes)
    files = {"associated_files": [_labels(AXIS_LABELS)]} if labeled else {}
    return _table("TensorMetadata", name=name, content=_content(FEATURE, _table("FeatureProperties")), **files)


def _detection(name, detail, metadata):
    content, files = _content(FEATURE, _table("FeatureProperties")), {}
    if name == "detection_boxes":
        order = np.array([1, 0, 3, 2], np.uint32)  # where left, top, right and bottom stand in a box
        box = _table("BoundingBoxProperties", index=order, type=BOUNDARIES, coordinate_type=RATIO)
        content = _content(BOUNDING_BOX, box)
    if name == "detection_classes":
        files = {"associated_files": [_labels(VALUE_LABELS)]}
    return _table("TensorMetadata", name=metadata.ending.mediapipe_names[name], content=content, **files)


def _labels(kind):
    return _table("AssociatedFile", name=LABELS, description="class names, one a line", type=kind)


def _content(kind, properties):
    return _table("Content", content_properties_type=kind, content_properties=properties)


def _floats(value) -> np.ndarray:
    return np.array([value], np.float32)


# Writing flatbuffers: a table is {slot: value}; numbers are NumPy's, whose type is the field's


def _table(name: str, /, **fields: Any) -> dict[int, Any]:
    return {TABLES[name].index(field): value for field, value in fields.items()}


def _packed(table: dict[int, Any], identifier: bytes) -> bytes:
    builder = flatbuffers.Builder()
    builder.Finish(_put(builder, table), identifier)
    return bytes(builder.Output())


def _put(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes what a table refers to; returns its offset from the end, as the builder counts."""
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, bytes):
        return _put_bytes(builder, value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        return _put_offsets(builder, [_put(builder, item) for item in value])
    fields = {slot: field if isinstance(field, np.generic) else _put(builder, field) for slot, field in value.items()}
    return _put_table(builder, fields)


def _put_table(builder, fields: dict[int, Any]) -> int:
    """fields: NumPy's numbers as they are, everything else as its offset, an int."""
    builder.StartObject(max(fields, default=-1) + 1)
    for slot, field in fields.items():
        if isinstance(field, np.generic):
            flags = getattr(numbers, f"{field.dtype.name.capitalize()}Flags")
            builder.PrependSlot(flags, slot, field.item(), None)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, field, 0)
    return builder.EndObject()


def _put_offsets(builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _put_bytes(builder, data: bytes) -> int:
    builder.StartVector(1, len(data), ALIGNMENT)
    builder.head -= len(data)
    builder.Bytes[builder.head : builder.head + len(data)] = data
    return builder.EndVector()


# The model's own flatbuffer


def _with_entry(model: bytes, content: bytes) -> bytes:
    """The model with `content` as its metadata ENTRY.

    References in a flatbuffer point forward only, and a builder works from the end to the front: the model stays as it
    is, and a new root is put before it that refers to what the old one refers to. Nothing is packed again, so no weight
    loses its alignment, which the generated Python classes do not keep.
    """
    old = _root(model)
    model += bytes(-len(model) % ALIGNMENT)
    builder = flatbuffers.Builder(len(model) + len(content) + 65536)
    builder.minalign = ALIGNMENT
    builder.head -= len(model)
    builder.Bytes[builder.head :] = model
    end = len(model)

    fields = {
        TABLES["Model"].index(name): end - old.Indirect(old.Pos + old.Offset(_slot("Model", name)))
        for name in TABLES["Model"][1:]
        if old.Offset(_slot("Model", name))
    }
    buffers = [end - table.Pos for table in _tables(old, "Model", "buffers")]
    others = [e for e in _tables(old, "Model", "metadata") if _string(e, "Metadata", "name") != ENTRY]
    buffers.append(_put(builder, _table("Buffer", data=content)))
    entry = _put(builder, _table("Metadata", name=ENTRY, buffer=np.uint32(len(buffers) - 1)))
    fields |= _table(
        "Model",
        version=np.uint32(old.Get(numbers.Uint32Flags, old.Pos + old.Offset(_slot("Model", "version")))),
        buffers=_put_offsets(builder, buffers),
        metadata=_put_offsets(builder, [*(end - table.Pos for table in others), entry]),
    )
    builder.Finish(_put_table(builder, fields), b"TFL3")
    return bytes(builder.Output())


def _root(data: bytes) -> Table:
    return Table(bytearray(data), encode.Get(packer.uoffset, data, 0))


def _slot(table: str, field: str) -> int:
    return 4 + 2 * TABLES[table].index(field)


def _tables(owner: Table, table: str, field: str) -> list[Table]:
    """Returns the tables in a vector of `owner`."""
    offset = owner.Offset(_slot(table, field))
    if not offset:
        return []
    start = owner.Vector(offset)
    return [Table(owner.Bytes, owner.Indirect(start + 4 * i)) for i in range(owner.VectorLen(offset))]


def _string(owner: Table, table: str, field: str) -> str:
    offset = owner.Offset(_slot(table, field))
    return owner.String(owner.Pos + offset).decode("utf-8", "replace") if offset else ""


def _numbers(owner: Table, table: str, field: str) -> list[float]:
    """Returns the float32 numbers in a vector of `owner`."""
    offset = owner.Offset(_slot(table, field))
    if not offset:
        return []
    start, count = owner.Vector(offset), owner.VectorLen(offset)
    return np.frombuffer(bytes(owner.Bytes[start : start + 4 * count]), "<f4").tolist()
