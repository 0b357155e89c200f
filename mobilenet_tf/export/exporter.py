"""Exports the model of a run: prepares its calibration images, writes files and compares them with the model."""

from __future__ import annotations

import dataclasses
import warnings
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf import qat
from mobilenet_tf.data import scenes
from mobilenet_tf.data.source import Source
from mobilenet_tf.data.subsets import stratified
from mobilenet_tf.export import convert, verification
from mobilenet_tf.inference import artifact, spread
from mobilenet_tf.inference.predict import Predictor, keras_predictor, load_keras, load_predictor
from mobilenet_tf.task import Task
from mobilenet_tf.training.evaluate import evaluate, evaluation_inputs
from mobilenet_tf.training.intervals import Grouped, Scores
from mobilenet_tf.utils.errors import UserError


class Exporter:
    """The model in a .keras file with its task and data, ready to be written to files and compared with them."""

    def __init__(self, task: Task, file: Path):
        self.task, self.file = task, file
        cfg = self.cfg = task.cfg
        metadata = artifact.read(file)
        assert metadata is not None, f"{file} has no metadata"
        classes = metadata.classes if task.closed_set else []  # those of an open set matter in training only
        self.metadata = dataclasses.replace(metadata, outputs=cfg.export.outputs, classes=classes)
        self.validation = self._validation()
        source = self.validation or scenes.source("validation", cfg.export.parity_samples, max(cfg.model.input_size))
        self.images = np.concatenate(evaluation_inputs(task, source, cfg.export.parity_samples))
        self.network = load_keras(file)
        self.model = task.serving_model(self.network)
        self.reference = keras_predictor(self.model, self.metadata)
        self.is_qat = qat.is_prepared(self.network)
        self._references: dict[bool, tuple[Predictor, Scores]] = {}

    def _validation(self) -> Source | None:
        """The validation split; None, with a warning, where its images are not on this machine."""
        try:
            return self.task.source("validation")
        except UserError as error:
            warnings.warn(
                f"{error}; without the validation split no metric is measured, and files are compared with the model "
                f"on {self.cfg.export.parity_samples} drawn scenes alone: set data.root=PATH",
                stacklevel=3,
            )
            return None

    def needs_calibration(self, name: str) -> bool:
        """Whether a file of that format is calibrated on images of the training split."""
        chosen = convert.FORMATS[name]
        return chosen.needs_calibration and not (chosen.keeps_qat and self.is_qat)

    @cached_property
    def calibration(self) -> list[np.ndarray]:
        """Batches of training images of all classes, where they have one, preprocessed as for evaluation."""
        count = self.cfg.export.calibration_samples
        source = stratified(self.task.source("train"), count)
        return evaluation_inputs(self.task, source, count)

    @cached_property
    def percentile_model(self):
        """The model with fake quantization, its ranges clipped to `export.calibration_percentile`."""
        network = qat.calibrated(self.network, self.calibration, self.cfg.export.calibration_percentile)
        return self.task.serving_model(network)

    def write(self, name: str, path: Path, float_layers=None) -> Path:
        """Exports to the format of that name and returns the path; `float_layers` overrides the config's."""
        chosen, options = convert.FORMATS[name], self.cfg.export
        by_percentile = chosen.keeps_qat and options.calibration_percentile and float_layers is None
        needs = self.needs_calibration(name) and not by_percentile
        return convert.export(
            self.percentile_model if by_percentile else self.model,
            path,
            name,
            metadata=self.metadata,
            calibration=self.calibration if needs else None,
            dynamic_batch=options.dynamic_batch,
            inputs=options.inputs if options.inputs in chosen.input_types else "float32",
            float_layers=options.float_layers if float_layers is None else float_layers,
            engine=options.engine,
        )

    def score(self, predictor: Predictor) -> dict[str, Any]:
        """Returns the task's metrics on `export.verify_samples` of the validation split; none where it is not here."""
        if self.validation is None:
            return {}
        return evaluate(self.task, predictor, self.validation, limit=self.cfg.export.verify_samples)

    def scores(self, predictor: Predictor) -> Scores:
        """Returns what `score` does, with the intervals of the metrics."""
        if self.validation is None:
            return Scores({})
        source = self.validation
        metric: Any = Grouped(lambda: self.task.metric(source))
        return metric.scores(
            evaluate(self.task, predictor, source, limit=self.cfg.export.verify_samples, metric=metric)
        )

    def reference_for(self, name: str) -> tuple[Predictor, Scores]:
        """Returns the predictor that a file of that format is compared with, and its scores.

        It is the model itself; for a network from quantization-aware training and a format that is not int8, the float
        network in it.
        """
        plain = self.is_qat and not convert.FORMATS[name].keeps_qat
        if plain not in self._references:
            predictor = keras_predictor(qat.strip(self.model), self.metadata) if plain else self.reference
            self._references[plain] = predictor, self.scores(predictor)
        return self._references[plain]

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
