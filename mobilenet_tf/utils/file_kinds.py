"""Tells what a file is by its content, for the line about a file that is something else than its name says."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

FOLDER = "a folder"
HDF5 = "an HDF5 file"
KERAS = "a .keras file"
MISSING = "does not exist"
ONNX = "an ONNX file"
SAVED_MODEL = "a SavedModel"
SAFETENSORS = "a safetensors file, of PyTorch or timm"
TFLITE = "a .tflite file"
TORCH = "a PyTorch checkpoint"
WEB_PAGE = "a web page (HTML)"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
HEAD = 4096  # bytes of a file that tell what it is


def what_is(path: Path) -> str:
    """Returns in words what lies at `path`: "a web page (HTML)", "a PyTorch checkpoint", "a folder", ..."""
    if path.is_dir():
        return SAVED_MODEL if (path / "saved_model.pb").is_file() else FOLDER
    if not path.exists():
        return MISSING
    if not path.is_file():
        return "a pipe, device or socket"
    with path.open("rb") as file:
        head = file.read(HEAD)
    return _by_content(path, head) or _by_text(head) or "a file of an unknown kind"


def _by_content(path: Path, head: bytes) -> str | None:
    if not head:
        return "an empty file"
    if head.startswith(HDF5_MAGIC):
        return HDF5
    if head[4:8] == b"TFL3":
        return TFLITE
    if head.startswith(b"PK"):
        return _zip(path)
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return f"{TORCH} or another pickle"
    if _is_safetensors(head, path.stat().st_size):
        return SAFETENSORS
    if path.suffix == ".onnx":
        return ONNX
    if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"Rar!", b"7z\xbc\xaf")) or head[257:262] == b"ustar":
        return "a packed archive"
    return None


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # whatever a damaged archive raises
        return "a damaged zip archive"
    if any(name.endswith("data.pkl") for name in names):
        return TORCH
    if "config.json" in names and "model.weights.h5" in names:
        return KERAS
    return "an .npz file" if names and all(name.endswith(".npy") for name in names) else "a zip archive"


def _is_safetensors(head: bytes, size: int) -> bool:
    """A safetensors file begins with the length of its header, and the header with a brace."""
    return len(head) >= 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _by_text(head: bytes) -> str | None:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if re.match(rb"<(!doctype html|html|head|body|script|!--)", text) or b"<html" in text:
        return WEB_PAGE
    if text.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, whose file has not been fetched"
    if text.startswith((b"<?xml", b"<")):
        return "an XML text"
    return "a text" if text and b"\0" not in text and _is_text(head) else None


def _is_text(head: bytes) -> bool:
    try:
        head[:-4].decode("utf-8") if len(head) == HEAD else head.decode("utf-8")  # the cut may go through a character
    except UnicodeDecodeError as error:
        return error.start >= HEAD - 8
    return True
