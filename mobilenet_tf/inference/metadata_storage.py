"""Where each kind of model file keeps its metadata, as the text of a JSON object. No TensorFlow here.

A .keras file is a zip archive and a .tflite file may be followed by one, which every runtime ignores: the metadata is a
member of it. An ONNX file has it in `metadata_props`, a SavedModel in its folder `assets.extra`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mobilenet_tf.inference import onnx_check, protobuf
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError, missing_extra, reason_of
from mobilenet_tf.utils.files import replacing
from mobilenet_tf.utils.zip_files import check_total, open_zip, read_member

MEMBER = "mobilenet_tf.json"  # the zip member, the file in assets.extra or the key in an ONNX file's metadata_props
LABELS = "labels.txt"  # where MediaPipe and the TFLite Task Library look for class names, one a line
MAX_BYTES = 2**26  # of metadata; a small file can inflate to a thousand times its size
MAX_KEPT = 2**33  # of another member, such as weights
METADATA_PROPS = 14  # the number of that field in ONNX's ModelProto; within it 1 is the key and 2 the value


def store_nothing(path: Path, text: str, labels: Sequence[str]) -> None:
    """Raises UserError: whole-model .h5 files, which this package reads and does not write, have no place for it."""
    raise UserError(f"metadata must go to a .keras file. Received: {path}")


def load_nothing(path: Path) -> None:
    """Returns None: a .h5 file has no metadata of this package."""


def write_zip(path: Path, text: str, labels: Sequence[str]) -> None:
    """Writes the metadata of a .keras file."""
    _write_members(path, {MEMBER: text.encode()})


def write_zip_with_labels(path: Path, text: str, labels: Sequence[str]) -> None:
    """Writes the metadata of a .tflite file, and its class names for MediaPipe."""
    _write_members(path, {MEMBER: text.encode(), LABELS: "\n".join(labels).encode()})


def read_zip(path: Path) -> bytes | None:
    """Reads the metadata of a .keras or .tflite file. Raises UserError where the archive is damaged."""
    if not zipfile.is_zipfile(path):
        return None
    try:
        with open_zip(path) as file:
            if MEMBER not in file.namelist():
                return None
            size = file.getinfo(MEMBER).file_size
            if size <= MAX_BYTES:
                return read_member(file, MEMBER, MAX_BYTES)
    except UserError as error:
        reason = str(error).rpartition("Received: ")[2]
        raise UserError(f"{path} must hold its metadata whole. Received: {reason}") from error
    raise UserError(f"{path} must hold at most {MAX_BYTES:,} bytes of metadata. Received: {size:,}")


def write_folder(path: Path, text: str, labels: Sequence[str]) -> None:
    """Writes the metadata of a SavedModel."""
    with replacing(path / "assets.extra" / MEMBER) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_folder(path: Path) -> bytes | None:
    """Reads the metadata of a SavedModel."""
    file = path / "assets.extra" / MEMBER
    try:
        return files.read_bytes(file, MAX_BYTES) if file.exists() else None
    except (OSError, ValueError) as error:
        raise UserError(f"{file} must be a file with metadata. Received: {error}") from None


def write_onnx(path: Path, text: str, labels: Sequence[str]) -> None:
    """Writes the metadata of an ONNX file."""
    onnx, model = load_onnx(path)
    kept = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**kept, MEMBER: text})
    with replacing(path) as temporary:
        onnx.save(model, temporary)


def read_onnx(path: Path) -> bytes | None:
    """Reads the metadata of an ONNX file, without the onnx package: it takes half a second and reads all weights.

    Raises UserError where the file is damaged.
    """
    try:
        fields = protobuf.fields(memoryview(onnx_check.read(path)))
        entries = [dict(protobuf.fields(content)) for number, content in fields if number == METADATA_PROPS]
    except (ValueError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} must be a whole ONNX model. Received: a damaged file") from None
    found = next((bytes(entry[2]) for entry in entries if entry.get(1) == MEMBER.encode() and 2 in entry), None)
    if found and len(found) > MAX_BYTES:
        raise UserError(f"{path} must hold at most {MAX_BYTES:,} bytes of metadata. Received: {len(found):,}")
    return found


def load_onnx(path: Path) -> tuple[Any, Any]:
    """Returns (the onnx package, the model in a file).

    Raises UserError where the package is not installed or the file is no ONNX model.
    """
    try:
        import onnx
    except ImportError as error:
        raise missing_extra("onnx", "onnx") from error
    onnx_check.read(path)
    try:
        return onnx, onnx.load(path)
    except Exception as error:  # protobuf's DecodeError, whose class depends on its backend
        reason = reason_of(error)
        raise UserError(f"{path} must be a whole ONNX model. Received: {reason}") from error


def _write_members(path: Path, members: Mapping[str, bytes]) -> None:
    """Puts members into a zip archive, in place of those of the same names; other members stay."""
    data, kept = path.read_bytes(), []
    if zipfile.is_zipfile(path):
        with open_zip(path) as old:
            check_total(old)
            kept = [(info, read_member(old, info, MAX_KEPT)) for info in old.infolist() if info.filename not in members]
            data = data[: min((info.header_offset for info in old.infolist()), default=len(data))]
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as new:
        for info, content in kept:
            new.writestr(info, content)
        for name, content in members.items():
            new.writestr(zipfile.ZipInfo(name), content)  # without the time: equal models are equal files
    with replacing(path) as temporary:
        temporary.write_bytes(file.getvalue())
