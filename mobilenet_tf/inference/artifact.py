"""What travels inside every artifact: task, classes, input size, config. Knows the formats, imports no TensorFlow."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from mobilenet_tf.utils.errors import UserError, missing_extra
from mobilenet_tf.utils.files import replacing

MEMBER = "mobilenet_tf.json"  # the zip member, the file in assets.extra or the key in an ONNX file's metadata_props
POST_PROCESS = "TFLite_Detection_PostProcess"  # ends a detector; the one custom operation that every runtime has
LABELS = "labels.txt"  # where MediaPipe and the TFLite Task Library look for class names, one a line


@dataclass(frozen=True)
class Metadata:
    """What a program needs to know to use a model file. Images go in as RGB, [N, H, W, 3], in `input_range`."""

    task: str
    classes: list[str]
    input_size: tuple[int, int]  # height, width in pixels
    input_range: tuple[int, int] = (0, 255)
    config: dict[str, Any] = field(default_factory=dict)
    outputs: str = "logits"  # what the model ends in: "logits", "softmax" or what else its task exports
    version: str = field(default_factory=lambda: package_version("mobilenet_tf"))

    def to_json(self) -> str:
        """Returns the metadata as a JSON object."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Metadata:
        """Reads what `to_json` wrote. Raises UserError on anything else; fields of later versions are left out."""
        try:
            fields = {k: v for k, v in json.loads(text).items() if k in cls.__dataclass_fields__}
            pairs = {k: tuple(fields[k]) for k in ("input_size", "input_range") if k in fields}
            return cls(**{**fields, **pairs})
        except (ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{MEMBER} must hold the metadata of a mobilenet_tf model. Received: {error}") from error


def locate(path: str | Path) -> tuple[Path, str]:
    """Finds the model at `path` and its kind: "keras", "tflite", "onnx" or "savedmodel".

    A run folder stands for its model.keras. Raises UserError when there is no model of a known kind.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"the model file or folder must exist. Received: {path}")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return path, "savedmodel"
        if (path / "model.keras").is_file():
            return path / "model.keras", "keras"
        raise UserError(f"a model folder must hold saved_model.pb or model.keras. Received: {path}")
    if path.suffix not in (".keras", ".tflite", ".onnx"):
        raise UserError(
            f"a model must be a .keras, .tflite or .onnx file, a SavedModel or a run folder. Received: {path}"
        )
    return path, path.suffix[1:]


def write(path: str | Path, metadata: Metadata) -> None:
    """Puts the metadata into the model at `path`, in place of any that is there. Atomic; the model is not changed."""
    path, kind = locate(path)
    writer = {"keras": _write_zip, "tflite": _write_zip, "onnx": _write_onnx, "savedmodel": _write_folder}[kind]
    writer(path, metadata)


def read(path: str | Path) -> Metadata | None:
    """Returns the metadata in the model at `path`, or None when it has none."""
    path, kind = locate(path)
    reader = {"keras": _read_zip, "tflite": _read_zip, "onnx": _read_onnx, "savedmodel": _read_folder}[kind]
    text = reader(path)
    return None if text is None else Metadata.from_json(text)


def _write_zip(path: Path, metadata: Metadata) -> None:
    """A .keras file is a zip; a .tflite file may be followed by one, which every runtime ignores."""
    members = {MEMBER: metadata.to_json().encode()}
    if path.suffix == ".tflite":
        members[LABELS] = "\n".join(metadata.classes).encode()
    data, kept = path.read_bytes(), []
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as old:
            kept = [(info, old.read(info)) for info in old.infolist() if info.filename not in members]
            data = data[: min((info.header_offset for info in old.infolist()), default=len(data))]
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as new:
        for info, content in kept:
            new.writestr(info, content)
        for name, content in members.items():
            new.writestr(zipfile.ZipInfo(name), content)  # without the time: equal models are equal files
    with replacing(path) as temporary:
        temporary.write_bytes(file.getvalue())


def _read_zip(path: Path) -> bytes | None:
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as file:
            return file.read(MEMBER) if MEMBER in file.namelist() else None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path} must hold its metadata whole. Received: {error}") from error


def _write_folder(path: Path, metadata: Metadata) -> None:
    with replacing(path / "assets.extra" / MEMBER) as temporary:
        temporary.write_text(metadata.to_json(), encoding="utf-8")


def _read_folder(path: Path) -> bytes | None:
    file = path / "assets.extra" / MEMBER
    return file.read_bytes() if file.is_file() else None


def _write_onnx(path: Path, metadata: Metadata) -> None:
    onnx, model = load_onnx(path)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, MEMBER: metadata.to_json()})
    with replacing(path) as temporary:
        onnx.save(model, temporary)


def _read_onnx(path: Path) -> bytes | None:
    """Reads the metadata alone: the onnx package takes half a second to import, and reads all weights."""
    try:
        properties = [dict(_fields(value)) for field, value in _fields(memoryview(path.read_bytes())) if field == 14]
    except (ValueError, IndexError):
        raise UserError(f"{path} must be a whole ONNX model. Received: a damaged file") from None
    return next((bytes(entry[2]) for entry in properties if entry.get(1) == MEMBER.encode()), None)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """(number, content) of the fields of variable length in a protobuf message, such as ONNX's ModelProto.

    Raises ValueError or IndexError where there is none. Source: protobuf.dev/programming-guides/encoding
    """
    place = 0

    def number() -> int:
        nonlocal place
        value, shift, more = 0, 0, True
        while more:
            value |= (message[place] & 127) << shift
            more = message[place] > 127
            place, shift = place + 1, shift + 7
        return value

    while place < len(message):
        field, kind = divmod(number(), 8)
        if kind == 0 and field:
            number()
        elif kind in (1, 5):
            place += {1: 8, 5: 4}[kind]
        elif kind == 2:
            size = number()
            yield field, message[place : place + size]
            place += size
        else:
            raise ValueError(f"kind must be 0, 1, 2 or 5. Received: {kind}")
    if place > len(message):
        raise IndexError(f"the last field must end at {len(message)}. Received: {place}")


def load_onnx(path: Path) -> tuple[Any, Any]:
    """(the onnx package, the model). Raises UserError: the package is missing, the file is no ONNX model."""
    try:
        import onnx
    except ImportError as error:
        raise missing_extra("onnx", "onnx") from error
    try:
        return onnx, onnx.load(path)
    except Exception as error:  # protobuf's DecodeError, whose class depends on its backend
        raise UserError(f"{path} must be an ONNX model. Received: {error}") from error
