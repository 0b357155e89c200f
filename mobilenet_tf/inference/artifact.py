"""What travels inside every model file: task, classes, input size, config. Imports no TensorFlow.

`metadata_storage` knows where each kind of file keeps it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from mobilenet_tf.inference import endings
from mobilenet_tf.inference.formats import KINDS, find_kind, resolve, suffixes
from mobilenet_tf.inference.metadata_storage import MEMBER
from mobilenet_tf.utils.class_names import check_characters
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.file_kinds import SAFETENSORS, TORCH, what_is
from mobilenet_tf.utils.run_folder import RunFolder

MAX_TEXT = 1000  # characters of a name
MAX_SIDE = 2**14  # pixels


@dataclass(frozen=True)
class Metadata:
    """What a program needs to know to use a model file. Images go in as RGB, [N, H, W, 3], in `input_range`."""

    task: str
    classes: list[str]
    input_size: tuple[int, int]  # height, width in pixels
    input_range: tuple[int, int] = (0, 255)
    config: dict[str, Any] = field(default_factory=dict)
    outputs: str = "logits"  # what the model ends in, by name; see `ending`
    version: str = field(default_factory=lambda: package_version("mobilenet_tf"))

    def __post_init__(self):
        check_characters(self.classes, "the metadata")

    @property
    def ending(self) -> endings.Ending:
        """What the model ends in; of an unknown name it is an ending with nothing but the name."""
        return endings.find(self.outputs, self.task)

    def to_json(self) -> str:
        """Returns the metadata as a JSON object."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False)
        return text.encode("utf-8", "backslashreplace").decode()  # of paths of any bytes

    @classmethod
    def from_json(cls, text: str | bytes) -> Metadata:
        """Reads what `to_json` wrote; fields of later versions are left out.

        Raises UserError on anything else: no JSON object, or a field that is missing or that `FIELDS` does not allow.
        """
        try:
            fields = json.loads(text, parse_constant=_refuse)
            if not isinstance(fields, dict):
                raise ValueError(f"a {type(fields).__name__} instead of an object")
            fields = {key: FIELDS[key](fields[key]) for key in FIELDS if key in fields}
            if missing := [key for key in REQUIRED if key not in fields]:
                raise ValueError(f"no {missing[0]}")
            return cls(**fields)
        except UserError:
            raise
        except (ValueError, RecursionError) as error:
            raise UserError(f"{MEMBER} must hold the metadata of a mobilenet_tf model. Received: {error}") from error


# What each field of a file's metadata must be; each returns the value or raises ValueError


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant}, which is no number")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"{name} that is no text of up to {MAX_TEXT} characters")
    return value


def _classes(value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("classes that are no list of names")
    return value


def _pair(name: str, least: int, value: Any) -> tuple[int, int]:
    numbers = value if isinstance(value, list) else []
    whole = all(type(number) is int and least <= number <= MAX_SIDE for number in numbers)
    if len(numbers) != 2 or not whole:
        raise ValueError(f"{name} that is no pair of whole numbers from {least} to {MAX_SIDE}")
    return numbers[0], numbers[1]


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a config that is no object")
    return value


REQUIRED = ("task", "classes", "input_size")
FIELDS: dict[str, Callable[[Any], Any]] = {
    "task": partial(_text, "a task"),
    "classes": _classes,
    "input_size": partial(_pair, "an input_size", 1),
    "input_range": partial(_pair, "an input_range", -MAX_SIDE),
    "config": _object,
    "outputs": partial(_text, "outputs"),
    "version": partial(_text, "a version"),
}


def locate(path: str | Path) -> tuple[Path, str]:
    """Finds the model at `path` and the name of its kind: "keras", "savedmodel", "tflite" or "onnx".

    A run folder stands for its model.keras. Raises UserError where there is no model of a known kind.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"the model file or folder must exist. Received: {path}")
    if path.is_dir():
        return _locate_in_folder(path)
    kind = find_kind(path)
    if kind is None and what_is(path).startswith((TORCH, SAFETENSORS)):
        raise UserError(
            f"a checkpoint of PyTorch becomes a model with mobilenet-tf import {path.name} --architecture NAME. "
            f"Received: {path}"
        )
    if kind is None:
        raise UserError(f"a model must be a {suffixes()} file, a SavedModel or a run folder. Received: {path}")
    return path, kind.name


def _locate_in_folder(folder: Path) -> tuple[Path, str]:
    markers = {kind.marker: kind.name for kind in KINDS.values() if kind.marker}
    for marker, name in markers.items():
        if (folder / marker).is_file():
            return folder, name
    model = RunFolder(folder).model
    if not model.is_file():
        raise UserError(f"a model folder must hold {' or '.join([*markers, model.name])}. Received: {folder}")
    return model, "keras"


def write(path: str | Path, metadata: Metadata) -> None:
    """Puts the metadata into the model at `path`, in place of any that is there. Atomic; the model is not changed."""
    path, kind = locate(path)
    resolve(KINDS[kind].store)(path, metadata.to_json(), metadata.classes)


def read(path: str | Path) -> Metadata | None:
    """Returns the metadata in the model at `path`, or None where it has none."""
    path, kind = locate(path)
    text = resolve(KINDS[kind].load)(path)
    return None if text is None else Metadata.from_json(text)
