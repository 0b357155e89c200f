"""What is inside a model file: inputs, outputs, operations, quantization, size and cost by type, metadata.

The module of each format, such as `inspect_tflite`, reads the file; it is imported when such a file is inspected, so
that TensorFlow is imported only for the formats that need it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf.analysis.npu import Fitness
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.formats import KERAS, KINDS, resolve
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import plain
from mobilenet_tf.utils.errors import UserError, reason_of

QUANTIZED = {"int4", "int8", "uint8", "int16"}


@dataclass(frozen=True)
class Tensor:
    """An input or output. A quantized number stands for scale * (number - zero_point)."""

    name: str
    shape: tuple[int | None, ...]  # None where any size will do
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Operation:
    """One operation of a file, or one layer of a Keras model."""

    name: str
    type: str
    dtype: str  # of its output
    bytes: int = 0  # of its weights
    mult_adds: int | None = 0  # for one image; None where not known
    per_channel: bool | None = None  # whether its weights are quantized by channel or as a whole; None: they are not


@dataclass(frozen=True)
class Total:
    """A sum over the operations of a type."""

    count: int
    quantized: int  # how many of them have quantized outputs
    bytes: int
    mult_adds: int | None


@dataclass(frozen=True)
class Inspection:
    """The result of `inspect`."""

    file: str
    format: str
    size: int  # bytes
    inputs: list[Tensor]
    outputs: list[Tensor]
    rows: list[Operation]
    weights: dict[str, int]  # bytes by type
    metadata: artifact.Metadata | None
    unsupported_ops: list[str] = field(default_factory=list)  # operations that the runtime does not have itself
    min_runtime: str | None = None  # the oldest TensorFlow Lite that runs a .tflite file, such as "2.17"
    unknown_versions: list[str] = field(default_factory=list)  # operations of which it does not know that, "CUMSUM 1"
    npu: Fitness | None = None  # whether the NPUs of phones can run all of it; None: not a .tflite file
    tflite_metadata: bool | None = None  # whether it has the metadata that MediaPipe reads; None: not a .tflite file
    dead_kernels: list[dict] | None = None  # see `dead_channels.dead_kernels_by_layer`
    dead_channels: list[dict] | None = None  # see `dead_channels.dead_channels_by_layer`

    @property
    def mult_adds(self) -> int | None:
        """The multiply-adds for one image; None where not known."""
        return _sum(row.mult_adds for row in self.rows)

    def by_type(self) -> dict[str, Total]:
        """Returns the sums over the operations of each type, the most multiply-adds first."""
        groups: dict[str, list[Operation]] = {}
        for row in self.rows:
            groups.setdefault(row.type, []).append(row)
        totals = {
            type_: Total(
                count=len(rows),
                quantized=sum(row.dtype in QUANTIZED for row in rows),
                bytes=sum(row.bytes for row in rows),
                mult_adds=_sum(row.mult_adds for row in rows),
            )
            for type_, rows in groups.items()
        }
        return dict(sorted(totals.items(), key=lambda item: (-(item[1].mult_adds or 0), -item[1].bytes)))

    def per_channel(self) -> dict[bool, int]:
        """Returns how many operations have weights that are quantized by channel (True) and as a whole (False)."""
        return Counter(row.per_channel for row in self.rows if row.per_channel is not None)

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain types for JSON."""
        return {
            **asdict(self),
            "mult_adds": self.mult_adds,
            "types": {type_: asdict(total) for type_, total in self.by_type().items()},
            "quantized_weights": {
                "per_channel": self.per_channel()[True],
                "per_tensor": self.per_channel()[False],
            },
        }


def inspect(path: str | Path, batches: Iterable[np.ndarray] | None = None) -> Inspection:
    """Inspects a .tflite, .onnx or .keras file, a SavedModel or a run folder (its model.keras).

    Args:
        batches: float32 images [N, H, W, 3] in 0..255, only for a .keras file: counts the channels that are 0 on all
            of them.

    Raises:
        UserError: the file is no model, or batches are given for another kind of file.
    """
    path, kind = artifact.locate(path)
    if batches is not None and kind != KERAS.name:
        raise UserError(f"samples must be given for .keras files only, whose activations can be read. Received: {path}")
    options = {} if batches is None else {"batches": batches}
    try:
        fields = resolve(KINDS[kind].inspect)(path, **options)
    except UserError:
        raise
    except Exception as error:  # what a damaged file makes its reader raise depends on the byte
        reason = reason_of(error)
        raise UserError(f"{path} must be a whole model. Received: {reason}") from error
    return Inspection(path.name, kind, files.size(path), metadata=artifact.read(path), **fields)


def _sum(values: Iterable[int | None]) -> int | None:
    values = list(values)
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def free_shape(shape) -> tuple[int | None, ...]:
    """Returns a shape with None for each free size, which TFLite gives as a negative number."""
    return tuple(None if size is None or size < 0 else int(size) for size in shape)


# Tables for people


def tables(inspection: Inspection, by_layer: bool = False) -> list:
    """Returns an inspection as `rich` tables: facts, operations by type or one by one, and dead channels."""
    from rich.table import Table

    facts = Table(
        title=plain(f"{inspection.file}: {inspection.format}, {inspection.size / 1e6:.2f} MB"), show_header=False
    )
    for name, value in _facts(inspection):
        facts.add_row(name, plain(value))
    result = [facts]
    columns = ["layer", "type", "output"] if by_layer else ["type", "count", "quantized"]
    costs = Table(*columns, title="Operations", show_footer=False)
    for name in ("kB", "mult-adds (M)"):
        costs.add_column(name, justify="right")
    lines = (
        [((row.name, row.type, row.dtype), row) for row in inspection.rows]
        if by_layer
        else [((type_, str(total.count), str(total.quantized)), total) for type_, total in inspection.by_type().items()]
    )
    for labels, line in lines:
        costs.add_row(*map(plain, labels), f"{line.bytes / 1e3:,.1f}", _millions(line.mult_adds))
    result.append(costs)
    dead = {
        "Depthwise kernels that do nothing": inspection.dead_kernels,
        "Channels never active": inspection.dead_channels,
    }
    for title, rows in dead.items():
        if rows:
            result.append(_counts(title, rows, by_layer))
    return result


def _facts(inspection: Inspection) -> list[tuple[str, str]]:
    facts = [("input", _described(tensor)) for tensor in inspection.inputs]
    facts += [("output", _described(tensor)) for tensor in inspection.outputs]
    facts.append(("mult-adds", f"{_millions(inspection.mult_adds)} M"))
    facts.append(("weights", ", ".join(f"{size / 1e6:.2f} MB {dtype}" for dtype, size in inspection.weights.items())))
    ways = inspection.per_channel()
    if ways:
        facts.append(("quantized weights", f"{ways[True]} by channel, {ways[False]} as a whole"))
    facts.append(("unsupported operations", ", ".join(inspection.unsupported_ops) or "none"))
    if inspection.min_runtime is not None:
        facts.append(("runtime", _runtime(inspection)))
    if inspection.npu is not None:
        facts.append(("NPU", str(inspection.npu)))
    if inspection.tflite_metadata is not None:
        facts.append(("TFLite metadata", "yes" if inspection.tflite_metadata else "none: MediaPipe will not load it"))
    if inspection.metadata is None:
        return [*facts, ("metadata", "none of mobilenet_tf")]
    metadata = inspection.metadata
    height, width = metadata.input_size
    facts.append(("metadata", f"{metadata.task}, {height}x{width}, ends in {metadata.outputs}, {metadata.version}"))
    facts.append((f"{len(metadata.classes)} classes", ", ".join(metadata.classes)))
    return facts


def _runtime(inspection: Inspection) -> str:
    least = f"needs TensorFlow Lite {inspection.min_runtime} or later" if inspection.min_runtime else "unknown"
    unknown = f"; not known of {', '.join(inspection.unknown_versions)}" if inspection.unknown_versions else ""
    return least + unknown


def _described(tensor: Tensor) -> str:
    shape = "x".join("any" if size is None else str(size) for size in tensor.shape)
    scale = "" if tensor.scale is None else f", {tensor.scale:.6g} * (q - {tensor.zero_point})"
    return f"{tensor.name} {tensor.dtype} {shape}{scale}"


def _millions(mult_adds: int | None) -> str:
    return "-" if mult_adds is None else f"{mult_adds / 1e6:,.2f}"


def _counts(title: str, rows: list[dict], by_layer: bool):
    from rich.table import Table

    keys = [key for key in rows[0] if key != "name"]
    table = Table("layer", *keys, title=title)
    total = {"name": "all", **{key: sum(row[key] for row in rows) for key in keys}}
    for row in [*(rows if by_layer else []), total]:
        table.add_row(plain(row["name"]), *(str(row[key]) for key in keys))
    return table
