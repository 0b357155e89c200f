"""Builds a zip of what the installed version writes, for later versions to open: made once for every release.

    python tests/stored/build.py tests/stored/VERSION.zip

It holds runs of all five tasks on the built-in images with networks of a few thousand weights, too small to be good at
anything, and what each predicted and scored. `test_stored.py` opens them with the version of the day.
"""

import json
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from gradient import picture

from mobilenet_tf import workflow
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.training import checkpoint
from mobilenet_tf.utils import files

COMMON = [
    "model.backbone=mobilenet_v1",
    "model.alpha=0.05",
    "model.input_size=[32, 32]",
    "data.counts={train: 32, validation: 16, test: 16}",
    "train.batch_size=16",
    "train.stages=[{train: all, duration: 2 epochs, learning_rate: 0.01}]",
]
RUNS = {
    "classification": ("demo", ["export.formats=[tflite, tflite_int8, onnx, savedmodel]"]),
    "classification_int8": ("demo", ["quantize.qat=true", "export.formats=[tflite_int8]"]),
    "attributes": ("attributes_scenes", ["export.formats=[tflite]"]),
    "detection": ("ssdlite_scenes", ["model.input_size=[64, 64]", "export.formats=[tflite]"]),
    "embedding": ("embedding_scenes", ["data.counts={train: 80, validation: 40, test: 60}", "export.formats=[tflite]"]),
    "segmentation": (
        "lraspp_scenes",
        ["model.backbone=mobilenet_v2", "model.alpha=0.01", "model.filters=8", "export.formats=[tflite]"],
    ),
}
INTERRUPTED = [
    "train.ema=0.9",
    "train.stages=[{train: head, duration: 1 epoch, learning_rate: 0.01, augment: false},"
    "{train: all, duration: 3 epochs, learning_rate: 0.01}]",
]


def answers(path: Path) -> dict:
    """The raw outputs for the picture, resized by the task's preprocessing."""
    cfg = workflow.open_config(path)
    image = workflow.find_inference(cfg.task)(cfg).preprocess(picture())
    raw = load_predictor(path)(image[None])
    raw = raw if isinstance(raw, dict) else {"output": raw}
    return {key: np.asarray(value, np.float64).round(5).tolist() for key, value in raw.items()}


def interrupted(folder: Path) -> None:
    """A run with a head stage, stopped after the first epoch of its second stage."""
    saves, save = [], checkpoint.save

    def stopping(*args):
        save(*args)
        saves.append(1)
        if len(saves) == 3:  # the first stage's epoch, its end, the second stage's first epoch
            raise KeyboardInterrupt

    checkpoint.save = stopping
    try:
        workflow.train_run("demo", [*COMMON, *INTERRUPTED], folder)
    except KeyboardInterrupt:
        pass
    finally:
        checkpoint.save = save


def build(target: Path) -> None:
    """Trains, exports, and keeps what a user would keep."""
    expected = {}
    for name, (config, overrides) in RUNS.items():
        folder = target / name
        workflow.train_run(config, [*COMMON, *overrides], folder)
        workflow.export_run(folder)
        for other in ("checkpoints", "plots", "tensorboard"):
            shutil.rmtree(folder / other)
        kept = [folder / "model.keras", *sorted((folder / "exports").glob("model*.*"))]
        kept = [p for p in kept if p.suffix in (".keras", ".tflite", ".onnx")]
        kept += [p for p in [folder / "exports" / "saved_model"] if p.is_dir()]
        for path in kept:
            metrics = workflow.evaluate_model(path)
            expected[str(path.relative_to(target))] = {"metrics": metrics, "answers": answers(path)}
        for path in (folder / "exports").iterdir():
            if path not in kept:
                path.unlink()
    interrupted(target / "interrupted")
    shutil.rmtree(target / "interrupted" / "tensorboard")
    files.write_json(target / "expected.json", json.loads(json.dumps(expected)))


def main(archive: Path) -> None:
    """One zip of everything, a quarter of the size of its files."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder))
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
                file.write(path, path.relative_to(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
