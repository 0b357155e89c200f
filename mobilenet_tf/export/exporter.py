"""Exports the model of a run: prepares its calibration images, writes files and compares them with the model."""

from __future__ import annotations

import dataclasses
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mobilenet_tf import qat
from mobilenet_tf.data import scenes
from mobilenet_tf.data.source import Source
from mobilenet_tf.data.subsets import stratified
from mobilenet_tf.data.unlabeled import read_some
from mobilenet_tf.export import convert, verification
from mobilenet_tf.export.refinement import PERCENTILE
from mobilenet_tf.export.requantize import requantize
from mobilenet_tf.foreign.class_order import with_classes
from mobilenet_tf.foreign.declaration import Range
from mobilenet_tf.foreign.facts import NO_DATA
from mobilenet_tf.inference import artifact, spread
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import Predictor, keras_predictor, load_keras, load_predictor
from mobilenet_tf.task import Task
from mobilenet_tf.training.evaluate import evaluate, evaluation_inputs
from mobilenet_tf.training.intervals import Grouped, Scores
from mobilenet_tf.utils.errors import UserError

BATCH = 32  # images of a folder that are converted at a time


class Exporter(ABC):
    """A model with its task and data, ready to be written to files and compared with them.

    metadata: what files carry. name: what people call the model.
    """

    reference: Predictor  # the model itself, which files are compared with

    def __init__(self, task: Task, metadata: Metadata, name: str):
        self.task, self.cfg, self.name = task, task.cfg, name
        classes = metadata.classes if task.closed_set else []  # those of an open set matter in training only
        self.metadata = dataclasses.replace(metadata, classes=classes)
        self.validation = self._validation()
        self.images = np.concatenate(self._compared())
        self._scores: dict[str, Scores] = {}

    @abstractmethod
    def write(self, name: str, path: Path, float_layers: Any = None) -> Path:
        """Exports to the format of that name and returns the path; `float_layers` overrides the config's."""

    def needs_calibration(self, name: str) -> bool:
        """Whether a file of that format is calibrated on images."""
        return convert.FORMATS[name].needs_calibration

    def reference_for(self, name: str) -> tuple[Predictor, Scores]:
        """Returns the predictor that a file of that format is compared with, and its scores."""
        return self._with_scores("model", self.reference)

    def _with_scores(self, key: str, predictor: Predictor) -> tuple[Predictor, Scores]:
        if key not in self._scores:
            self._scores[key] = self.scores(predictor)
        return predictor, self._scores[key]

    def _validation(self) -> Source | None:
        """The validation split; None where its images are not on this machine, which is warned of, or not given."""
        if self.cfg.data.root == NO_DATA:
            return None
        try:
            return self.task.source("validation")
        except UserError as error:
            others = "the calibration images" if self.cfg.export.calibration else "drawn scenes"
            warnings.warn(
                f"{error}; without the validation split no metric is measured, and files are compared with the model "
                f"on {self.cfg.export.parity_samples} of {others} alone: set data.root=PATH",
                stacklevel=3,
            )
            return None

    def _compared(self) -> list[np.ndarray]:
        """Batches of the images on which files are compared with the model: of the validation split, where it is here,
        else those of `export.calibration`, else drawn scenes.
        """
        count = self.cfg.export.parity_samples
        if self.validation is None and self.cfg.export.calibration:
            return self._unlabeled(self.cfg.export.calibration, count)
        source = self.validation or scenes.source("validation", count, max(self.cfg.model.input_size))
        return evaluation_inputs(self.task, source, count)

    @cached_property
    def calibration(self) -> list[np.ndarray]:
        """Batches of images of `export.calibration`, or of training images of all classes, where they have one,
        preprocessed as for evaluation.
        """
        count, folder = self.cfg.export.calibration_samples, self.cfg.export.calibration
        if folder:
            return self._unlabeled(folder, count)
        source = stratified(self.task.source("train"), count)
        return evaluation_inputs(self.task, source, count)

    def _unlabeled(self, folder: Path, count: int) -> list[np.ndarray]:
        """Batches of the images of a folder, preprocessed as `predict` does."""
        images = read_some(folder, count, self.cfg.data.rendering, "export.calibration")
        inputs = np.stack([self.task.preprocess(image) for image in images])
        return [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]

    def score(self, predictor: Predictor) -> dict[str, Any]:
        """Returns the task's metrics on `export.verify_samples` of the validation split; none where it is not here."""
        if self.validation is None:
            return {}
        return self._evaluated(predictor, self.validation)

    def scores(self, predictor: Predictor) -> Scores:
        """Returns what `score` does, with the intervals of the metrics."""
        if self.validation is None:
            return Scores({})
        source = self.validation
        metric: Any = Grouped(lambda: self.task.metric(source))
        return metric.scores(self._evaluated(predictor, source, metric))

    def _evaluated(self, predictor: Predictor, source: Source, metric: Any = None) -> dict[str, Any]:
        if self.task.closed_set and predictor.metadata:
            predictor = with_classes(predictor, source.classes)
        return evaluate(self.task, predictor, source, limit=self.cfg.export.verify_samples, metric=metric)

    def verify(self, name: str, path: Path) -> verification.Verification:
        """Compares a file of that format with the model it was made from; writes the result beside the file."""
        model, scores = self.reference_for(name)
        return verification.verify(
            model,
            load_predictor(path),
            self.images,
            self.scores,
            self.task.monitor,
            self.cfg.export.max_drop,
            min_agreement=self.cfg.export.min_agreement,
            reference_scores=scores,
            agree=self.agree,
        )

    def agree(self, *raws) -> list[float]:
        """Returns how far the predictions from two models' raw outputs agree, a number in 0..1 for each image."""
        sizes = np.array([self.metadata.input_size] * spread.count(raws[0]), np.int32)
        predictions = [self.task.decode(raw, sizes) for raw in raws]
        return [self.task.agreement(*pair) for pair in zip(*predictions, strict=True)]


class KerasExporter(Exporter):
    """A Keras network, ready to be written to files of every format.

    network: a model from images [N, H, W, 3] in 0..255 to the raw outputs of the task, or to probabilities, which are
        what is exported then.
    """

    def __init__(self, task: Task, network: keras.Model, metadata: Metadata, name: str):
        is_served = metadata.ending.probabilities is not None
        outputs = metadata.outputs if is_served else task.cfg.export.outputs
        super().__init__(task, dataclasses.replace(metadata, outputs=outputs), name)
        self._serve: Callable[[keras.Model], keras.Model] = (lambda model: model) if is_served else task.serving_model
        self.network = network
        self.model = self._serve(network)
        self.reference = keras_predictor(self.model, self.metadata)
        self.is_qat = qat.is_prepared(network)

    @classmethod
    def of_file(cls, task: Task, file: Path) -> KerasExporter:
        """Returns the exporter of the network in a .keras file of this package."""
        metadata = artifact.read(file)
        assert metadata is not None, f"{file} has no metadata"
        return cls(task, load_keras(file), metadata, file.parent.name)

    def needs_calibration(self, name: str) -> bool:
        """Whether a file of that format is calibrated on images, and not by what training has learned."""
        return super().needs_calibration(name) and not (convert.FORMATS[name].keeps_qat and self.is_qat)

    def write(self, name: str, path: Path, float_layers=None) -> Path:
        """Exports to the format of that name and returns the path; `float_layers` overrides the config's."""
        chosen, options = convert.FORMATS[name], self.cfg.export
        return convert.export(
            self.model,
            path,
            name,
            metadata=self.metadata,
            calibration=self.calibration if self.needs_calibration(name) else None,
            dynamic_batch=options.dynamic_batch,
            inputs=options.inputs if options.inputs in chosen.input_types else "float32",
            float_layers=options.float_layers if float_layers is None else float_layers,
            engine=options.engine,
            percentile=options.calibration_percentile or PERCENTILE,
        )

    def reference_for(self, name: str) -> tuple[Predictor, Scores]:
        """Returns the model; for one from quantization-aware training and a format that is not int8, the float network
        in it.
        """
        if self.is_qat and not convert.FORMATS[name].keeps_qat:
            return self._with_scores("float", self._float_network)
        return super().reference_for(name)

    @cached_property
    def _float_network(self) -> Predictor:
        return keras_predictor(qat.strip(self.model), self.metadata)


class TfliteExporter(Exporter):
    """A float .tflite file, ready to be quantized anew.

    file: it takes `wanted` of images in 0..255. predictor: the file as one that takes 0..255, with its metadata.
    """

    def __init__(self, task: Task, file: Path, wanted: Range, predictor: Predictor):
        assert predictor.metadata is not None  # who opened it has made it
        super().__init__(task, predictor.metadata, file.name)
        self.file, self.range, self.reference = file, wanted, predictor

    def write(self, name: str, path: Path, float_layers: Any = None) -> Path:
        """Exports to the format of that name and returns the path."""
        options, chosen = self.cfg.export, convert.FORMATS[name]
        return requantize(
            self.file,
            path,
            name,
            metadata=self.metadata,
            calibration=self.calibration if chosen.needs_calibration else None,
            inputs=options.inputs if options.inputs in chosen.input_types else "float32",
            wanted=self.range,
            percentile=options.calibration_percentile or PERCENTILE,
        )
