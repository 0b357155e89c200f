"""Checks an ONNX file before a runtime opens it: its weights may lie in other files, but only beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mobilenet_tf.inference import protobuf
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.file_kinds import ONNX, what_is

MAX_BYTES = 2**31  # protobuf ends there
MAX_DEPTH = 100  # of graphs within graphs

# message -> {number of a field: the message in it}. Source: onnx/onnx.proto
MESSAGES = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},  # of external_data: 1 is the key and 2 the value
    "entry": {},
}


def read(path: Path) -> bytes:
    """Returns the bytes of an ONNX file.

    Raises UserError where it is none, is damaged, or has weights in files that are not in its folder.
    """
    try:
        content = files.read_bytes(path, MAX_BYTES)
        outside = [location for location in _locations(memoryview(content), "model", 0) if _leaves(location, path)]
    except (OSError, ValueError, IndexError) as error:
        kind = what_is(path)
        reason = kind if kind != ONNX else str(error) or "a damaged file"
        raise UserError(f"{path} must be a whole ONNX model. Received: {reason}") from None
    if outside:
        raise UserError(f"{path} must have its weights in its own folder. Received: {outside[0]!r}")
    return content


def _locations(message: memoryview, kind: str, depth: int) -> Iterator[str]:
    """Yields the names of the other files in which a message has weights."""
    if depth > MAX_DEPTH:
        raise ValueError(f"a graph of over {MAX_DEPTH} levels")
    entry = {}
    for number, content in protobuf.fields(message):
        inner = MESSAGES[kind].get(number)
        if inner:
            yield from _locations(content, inner, depth + 1)
        elif kind == "entry":
            entry[number] = bytes(content)
    if entry.get(1) == b"location":
        yield entry.get(2, b"").decode("utf-8", "replace")


def _leaves(location: str, path: Path) -> bool:
    """Whether a file that a model names lies, links followed, outside of the model's folder."""
    folder = path.parent.resolve()
    return not (folder / location).resolve().is_relative_to(folder) or location in ("", ".")
