"""Scores a model on data that has its classes in another order, or only some of them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mobilenet_tf.data.folder_names import standard_form
from mobilenet_tf.inference.endings import Named
from mobilenet_tf.inference.predict import Predictor
from mobilenet_tf.utils.class_names import listed
from mobilenet_tf.utils.errors import UserError


def with_classes(predictor: Predictor, wanted: Sequence[str]) -> Predictor:
    """The predictor with the classes of the data in their order; itself where they are its own.

    Where the data has some of its classes only, they alone are left to choose from, which it warns of.

    Args:
        predictor: a model with metadata, whose classes are in the order of its outputs.
        wanted: those of the data.

    Raises:
        UserError: the model lacks a class of the data.
    """
    assert predictor.metadata is not None
    name, classes = predictor.name, predictor.metadata.classes
    own, others = [list(map(standard_form, names)) for names in (classes, wanted)]
    if own == others:
        return predictor
    places = {each: place for place, each in enumerate(own)}
    if not set(others) <= set(places):
        raise UserError(
            f"the classes of the data must be those of {name}: {listed(classes)}. Received: {listed(wanted)}"
        )
    warnings.warn(
        f"{name} has {listed(classes)}; the data has {listed(wanted)}, which are matched by their names", stacklevel=3
    )
    order = [places[each] for each in others]
    metadata = replace(predictor.metadata, classes=list(wanted))
    return replace(predictor, run=lambda images: reordered(predictor.run(images), order), metadata=metadata)


def reordered(outputs: Named, order: Sequence[int]) -> Named:
    """A file's outputs with the classes `order` alone: columns of the last axis, or the detections of those classes."""
    if "detection_classes" in outputs:
        return _detections(outputs, order)
    return {key: value[..., list(order)] for key, value in outputs.items()}


def _detections(outputs: Named, order: Sequence[int]) -> Named:
    new = {place: label for label, place in enumerate(order)}
    result = {key: np.zeros_like(value) for key, value in outputs.items()}
    for image, (labels, count) in enumerate(zip(outputs["detection_classes"], outputs["num_detections"], strict=True)):
        found = [row for row in range(int(count)) if int(np.rint(labels[row])) in new]
        for key, value in outputs.items():
            if key != "num_detections":
                result[key][image, : len(found)] = value[image, found]
        kept = [new[int(np.rint(labels[row]))] for row in found]
        result["detection_classes"][image, : len(found)] = kept
        result["num_detections"][image] = len(found)
    return result
