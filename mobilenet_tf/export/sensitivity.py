"""Which layers lose what int8 costs a model, and what is won back by leaving the worst of them in float32."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from mobilenet_tf import viz
from mobilenet_tf.export import convert
from mobilenet_tf.export.exporter import Exporter
from mobilenet_tf.export.quantize import LayerError
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track

COUNTS = (0, 1, 2, 3, 5, 8)  # of float layers that are tried
SHOWN = 12  # layers in the table


@dataclass(frozen=True)
class Trial:
    """An int8 file with that many of the worst layers in float32."""

    float_layers: int
    metric: float
    size: int  # bytes


@dataclass(frozen=True)
class Sensitivity:
    """The layers, the largest error first, and the files that were tried."""

    metric: str
    reference: float  # of the model
    layers: list[LayerError]
    trials: list[Trial]

    def to_dict(self) -> dict:
        """Everything as plain values."""
        return asdict(self)


def analyse(exporter: Exporter) -> Sensitivity:
    """Compares the layers on calibration pictures, and files on `export.verify_samples` of the validation split.

    Raises UserError for a network that was trained for int8.
    """
    if exporter.is_qat:
        raise UserError(f"only a float network's layers can be compared. Received: {exporter.file}, trained for int8")
    errors = convert.sensitivity(exporter.model, exporter.metadata, exporter.calibration)
    name, trials = exporter.task.monitor[0], []
    with tempfile.TemporaryDirectory() as folder:
        for count in track(COUNTS, "leaving the worst in float32"):
            tensors = [error.tensor for error in errors[:count]]
            path = exporter.write("tflite_int8", Path(folder) / f"{count}.tflite", float_layers=tensors)
            metric = float(exporter.score(load_predictor(path))[name])
            trials.append(Trial(count, metric, path.stat().st_size))
    _, metrics = exporter.reference_for("tflite_int8")
    return Sensitivity(name, float(metrics[name]), errors, trials)


def save(result: Sensitivity, folder: Path) -> None:
    """Writes sensitivity.json and sensitivity.png."""
    files.write_json(folder / "sensitivity.json", result.to_dict())
    worst = result.layers[:40]
    viz.sensitivity(
        [(error.layer, error.rms_lsb) for error in worst],
        [(trial.float_layers, trial.metric) for trial in result.trials],
        result.reference,
        result.metric,
        folder / "sensitivity.png",
    )


def tables(result: Sensitivity) -> list[Table]:
    """The worst layers, and the files."""
    layers = Table("layer", "operation", title="What int8 costs each layer alone")
    layers.add_column("error, LSB", justify="right")
    for error in result.layers[:SHOWN]:
        layers.add_row(error.layer, error.operation, f"{error.rms_lsb:.2f}")
    layers.caption = "LSB: the steps of int8, root mean square; rounding alone makes 0.29"
    files = Table(title=f"The worst left in float32; the model's {result.metric} is {result.reference:.3f}")
    for header in ("layers in float32", result.metric, "drop", "MB"):
        files.add_column(header, justify="right")
    for trial in result.trials:
        drop = f"{result.reference - trial.metric:+.3f}"
        files.add_row(str(trial.float_layers), f"{trial.metric:.3f}", drop, f"{trial.size / 1e6:.2f}")
    return [layers, files]
