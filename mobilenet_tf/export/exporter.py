"""A run's model on its way into files: what they are calibrated with, made of and held against."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mobilenet_tf import qat
from mobilenet_tf.data.subsets import stratified
from mobilenet_tf.export import convert, verification
from mobilenet_tf.inference import artifact, spread
from mobilenet_tf.inference.predict import Predictor, keras_predictor, load_keras, load_predictor
from mobilenet_tf.task import Task
from mobilenet_tf.training.evaluate import evaluate, evaluation_inputs


class Exporter:
    """The model in a .keras file, its data and its task."""

    def __init__(self, task: Task, file: Path):
        self.task, self.file = task, file
        cfg = self.cfg = task.cfg
        metadata = artifact.read(file)
        classes = metadata.classes if task.closed_set else []  # an open set's are nobody's business but training's
        self.metadata = dataclasses.replace(metadata, outputs=cfg.export.outputs, classes=classes)
        self.validation = task.source("validation")
        self.images = np.concatenate(evaluation_inputs(task, self.validation, cfg.export.parity_samples))
        self.network = load_keras(file)
        self.model = task.serving_model(self.network)
        self.reference = keras_predictor(self.model, self.metadata)
        self.is_qat = qat.is_prepared(self.network)
        self._references: dict[bool, tuple[Predictor, dict]] = {}

    @cached_property
    def calibration(self) -> list[np.ndarray]:
        """Batches of training pictures as evaluation feeds them to the model, of all classes where they have one."""
        count = self.cfg.export.calibration_samples
        source = stratified(self.task.source("train"), count)
        return evaluation_inputs(self.task, source, count)

    @cached_property
    def percentile_model(self):
        """The model with the roundings of int8, by `export.calibration_percentile`."""
        network = qat.calibrated(self.network, self.calibration, self.cfg.export.calibration_percentile)
        return self.task.serving_model(network)

    def write(self, name: str, path: Path, float_layers=None) -> Path:
        """Exports to the format of that name; `float_layers` in place of the config's."""
        chosen, options = convert.FORMATS[name], self.cfg.export
        by_percentile = chosen.keeps_qat and options.calibration_percentile and float_layers is None
        needs = chosen.needs_calibration and not (chosen.keeps_qat and (self.is_qat or by_percentile))
        return convert.export(
            self.percentile_model if by_percentile else self.model,
            path,
            name,
            metadata=self.metadata,
            calibration=self.calibration if needs else None,
            inputs=options.inputs if options.inputs in chosen.input_types else "float32",
            float_layers=options.float_layers if float_layers is None else float_layers,
        )

    def score(self, predictor: Predictor) -> dict[str, Any]:
        """The task's metrics on `export.verify_samples` of the validation split."""
        return evaluate(self.task, predictor, self.validation, limit=self.cfg.export.verify_samples)

    def reference_for(self, name: str) -> tuple[Predictor, dict[str, Any]]:
        """What a file of that format is held against, and its metrics: a model trained for int8 is float elsewhere."""
        plain = self.is_qat and not convert.FORMATS[name].keeps_qat
        if plain not in self._references:
            predictor = keras_predictor(qat.strip(self.model), self.metadata) if plain else self.reference
            self._references[plain] = predictor, self.score(predictor)
        return self._references[plain]

    def verify(self, name: str, path: Path) -> verification.Verification:
        """Holds a file of that format against the model it was made from; stores the figures beside it."""
        model, metrics = self.reference_for(name)
        return verification.verify(
            model,
            load_predictor(path),
            self.images,
            self.score,
            self.task.monitor,
            self.cfg.export.max_drop,
            reference_metrics=metrics,
            agree=self.agree,
        )

    def agree(self, *raws) -> list[float]:
        """How far the answers from two models' raw outputs say the same, one number a picture."""
        sizes = np.array([self.metadata.input_size] * spread.count(raws[0]), np.int32)
        predictions = [self.task.decode(raw, sizes) for raw in raws]
        return [self.task.agreement(*pair) for pair in zip(*predictions, strict=True)]
