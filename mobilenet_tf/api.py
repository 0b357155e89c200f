"""One object for a finished run or an exported file: predict, evaluate, export. See `mobilenet_tf.load`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilenet_tf import prediction, workflow
from mobilenet_tf.data import images as image_files
from mobilenet_tf.foreign.declaration import Declaration
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import Predictor
from mobilenet_tf.task import Inference
from mobilenet_tf.utils.errors import UserError

if TYPE_CHECKING:
    from mobilenet_tf.export.verification import Verification

Image = np.ndarray | str | os.PathLike  # uint8 [H, W, 3] RGB of any size, or the path of an image file


@dataclass(frozen=True)
class Model:
    """A trained model with the preprocessing, the class names and the config that travel in its file."""

    path: Path
    metadata: Metadata
    inference: Inference
    predictor: Predictor
    declaration: Declaration = Declaration()
    overrides: tuple[str, ...] = ()

    def predict(self, images: Image | Sequence[Image]) -> Any:
        """Predicts one image, or each of a list.

        Args:
            images: an array uint8 [H, W, 3], RGB, of any size; the path of an image file; or a list of either.

        Returns:
            The result of the model's task, or a list of them: `Classification` (probabilities, names), `Detections`
            (boxes xmin, ymin, xmax, ymax in pixels of the image, scores, labels, names), `Segmentation` (mask uint8
            [H, W], names), `Attributes` (probabilities, present, names) or `Embedding` (vector).

        Raises:
            UserError: an array of another shape or type, or a file that cannot be read as an image.
        """
        if isinstance(images, np.ndarray | str | os.PathLike):
            return self.predict([images])[0]
        results = []
        for batch in prediction.batches(images, self._array):
            predictions = prediction.predict_images(self.inference, self.predictor, [array for _, array in batch])
            results += [self.inference.to_result(each, self.metadata.classes) for each in predictions]
        return results

    def evaluate(self, split: str = "test", **options: Any) -> dict[str, float]:
        """The task's metrics on a split of the data of its config; options as for `workflow.evaluate_model`."""
        return workflow.evaluate_model(self.path, split=split, **self._said(options))

    def export(
        self, formats: Sequence[str] = (), folder: str | Path | None = None, **options: Any
    ) -> list[Verification]:
        """Exports the model and compares every file with it, as `workflow.export_run` does.

        Args:
            formats: such as "tflite" and "tflite_int8"; none: those of its config.
            folder: where the files go; None: the folder `exports` beside the model.
            options: those of `workflow.export_run`, such as overrides=["export.calibration=FOLDER"].
        """
        place = None if folder is None else Path(folder)
        return workflow.export_run(self.path, formats, folder=place, **self._said(options))

    def _said(self, options: dict[str, Any]) -> dict[str, Any]:
        overrides = (*self.overrides, *options.pop("overrides", ()))
        return {"overrides": overrides, "declaration": self.declaration, **options}

    def _array(self, image: Image) -> np.ndarray:
        if not isinstance(image, np.ndarray):
            return image_files.read(image, self.inference.cfg.data.rendering)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
            raise UserError(
                f"an image must be an RGB array uint8 [H, W, 3] with values 0 to 255. "
                f"Received: {image.dtype} {list(image.shape)}"
            )
        return image


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    trust: bool = False,
    overrides: Sequence[str] = (),
    **said: Any,
) -> Model:
    """Loads a run folder or a model file of this package, or any Keras, SavedModel, .tflite, .onnx or PyTorch model.

    TensorFlow is imported for Keras models, SavedModels, checkpoints and run folders alone.

    Args:
        path: a run folder, a model file, or the name of a network.
        threads: for .tflite and .onnx files; None: all cores.
        trust: open a SavedModel even where its graph reads or writes files, runs Python or reaches the network.
        overrides: changes to the config, such as "data.crop_fraction=1".
        said: what a model of others does not say itself, see `foreign.declaration.Declaration`: task, classes (a list
            or a file), input_range, ends_in, size, weights, architecture.

    Raises:
        UserError: no such file, a damaged one, or something about a model of others must be said.
    """
    try:
        declaration = Declaration(**said)
    except TypeError as error:
        known = ", ".join(field.name for field in fields(Declaration))
        raise UserError(f"load takes {known} for models of others. Received: {', '.join(said)}") from error
    cfg, predictor = workflow.open_model(path, overrides, declaration, threads=threads, trust=trust)
    assert predictor.metadata is not None  # open_model has read or made it
    inference = workflow.find_inference(cfg.task)(cfg)
    return Model(Path(path), predictor.metadata, inference, predictor, declaration, tuple(overrides))
