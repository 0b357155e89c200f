"""What travels inside every model file: task, classes, input size, config. Imports no TensorFlow.

`metadata_storage` knows where each kind of file keeps it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from mobilenet_tf.inference import endings
from mobilenet_tf.inference.formats import KINDS, find_kind, resolve, suffixes
from mobilenet_tf.inference.metadata_storage import MEMBER
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.run_folder import RunFolder


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

    @property
    def ending(self) -> endings.Ending:
        """What the model ends in; of an unknown name it is an ending with nothing but the name."""
        return endings.find(self.outputs, self.task)

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
    """Finds the model at `path` and the name of its kind: "keras", "savedmodel", "tflite" or "onnx".

    A run folder stands for its model.keras. Raises UserError where there is no model of a known kind.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"the model file or folder must exist. Received: {path}")
    if path.is_dir():
        return _locate_in_folder(path)
    kind = find_kind(path)
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
