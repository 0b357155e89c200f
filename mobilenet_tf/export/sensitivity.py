"""Finds the layers in which int8 loses accuracy, and measures what leaving the worst of them in float32 regains."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from mobilenet_tf import viz
from mobilenet_tf.export import convert
from mobilenet_tf.export.exporter import Exporter, KerasExporter
from mobilenet_tf.export.quantize import LayerError
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.utils import files
from mobilenet_tf.utils.console import plain
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.progress import track

FLOAT_LAYER_COUNTS = (0, 1, 2, 3, 5, 8)  # an int8 file is made and scored for each
TABLE_ROWS = 12  # layers in the table
PLOTTED_LAYERS = 40


@dataclass(frozen=True)
class Trial:
    """The score of an int8 file in which the layers with the largest errors stay in float32."""

    float_layers: int  # how many
    metric: float
    size: int  # bytes


@dataclass(frozen=True)
class Sensitivity:
    """The error of each layer, the largest first, and the scores of files with several numbers of float layers."""

    metric: str  # its name
    reference: float  # the metric of the model that the files are made from
    layers: list[LayerError]
    trials: list[Trial]

    def to_dict(self) -> dict:
        """Returns the result as plain types for JSON."""
        return asdict(self)


def analyze(exporter: Exporter) -> Sensitivity:
    """Measures the layers on the calibration images, and files on `export.verify_samples` of the validation split.

    Raises UserError for a network from quantization-aware training.
    """
    if not isinstance(exporter, KerasExporter):
        raise UserError(f"only a Keras model's layers can be compared. Received: {exporter.name}")
    if exporter.is_qat:
        raise UserError(f"only a float network's layers can be compared. Received: {exporter.name}, trained for int8")
    errors = convert.sensitivity(exporter.model, exporter.metadata, exporter.calibration)
    name, trials = exporter.task.monitor[0], []
    with tempfile.TemporaryDirectory() as folder:
        for count in track(FLOAT_LAYER_COUNTS, "leaving the worst in float32"):
            tensors = [error.tensor for error in errors[:count]]
            path = exporter.write("tflite_int8", Path(folder) / f"{count}.tflite", float_layers=tensors)
            metric = float(exporter.score(load_predictor(path))[name])
            trials.append(Trial(count, metric, path.stat().st_size))
    _, scores = exporter.reference_for("tflite_int8")
    return Sensitivity(name, float(scores.numbers[name]), errors, trials)


def save(result: Sensitivity, folder: Path) -> None:
    """Writes sensitivity.json and sensitivity.png."""
    files.write_json(folder / "sensitivity.json", result.to_dict())
    worst = result.layers[:PLOTTED_LAYERS]
    viz.sensitivity(
        [(error.layer, error.rms_lsb) for error in worst],
        [(trial.float_layers, trial.metric) for trial in result.trials],
        result.reference,
        result.metric,
        folder / "sensitivity.png",
    )


def tables(result: Sensitivity) -> list[Table]:
    """Returns a table of the layers with the largest errors, and one of the files."""
    layers = Table("layer", "operation", title="What int8 costs each layer alone")
    layers.add_column("error, LSB", justify="right")
    for error in result.layers[:TABLE_ROWS]:
        layers.add_row(plain(error.layer), plain(error.operation), f"{error.rms_lsb:.2f}")
    layers.caption = "root mean square error in LSB, the difference of adjacent int8 values; rounding alone makes 0.29"
    files = Table(title=f"The worst left in float32; the model's {result.metric} is {result.reference:.3f}")
    for header in ("layers in float32", result.metric, "drop", "MB"):
        files.add_column(header, justify="right")
    for trial in result.trials:
        drop = f"{result.reference - trial.metric:+.3f}"
        files.add_row(str(trial.float_layers), f"{trial.metric:.3f}", drop, f"{trial.size / 1e6:.2f}")
    return [layers, files]
