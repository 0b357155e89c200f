"""The keys of a classification experiment. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mobilenet_tf import config
from mobilenet_tf.inference.endings import LOGITS, SOFTMAX


class Model(config.Model):
    """The network: a backbone, and one logit a class."""

    dropout: config.Dropout = 0.2


class Augment(config.Augment):
    """Random changes of a training image; a null, zero or false turns one off."""

    mixup: float = Field(
        default=0.0, ge=0, description="Mixup: the alpha of the Beta distribution that shares are drawn from"
    )
    cutmix: float = Field(
        default=0.0, ge=0, description="CutMix: the alpha of the Beta distribution that areas are drawn from"
    )


class Data(config.DataWithSplits):
    """Images with one class each."""

    reader: Literal["folder", "csv", "tfds", "scenes"] = Field(description="The format of the data set")
    root: Path | None = Field(
        default=None, description="The folder, the CSV file, or the data_dir of TensorFlow Datasets"
    )
    classes: Path | None = Field(
        default=None, description="A label file: one class name a line, in the order of the labels"
    )
    box_crop: bool = Field(
        default=False, description="Crop to the annotated box, the largest one; for data.reader=tfds"
    )
    box_margin: float = Field(default=0.1, ge=0, description="The margin around that box as a fraction of its sides")
    counts: config.Counts = {"train": 1600, "validation": 200, "test": 400}
    crop_fraction: float | None = Field(
        default=0.875,
        gt=0,
        le=1,
        description="The part of the shorter side that evaluation crops from the center; null resizes the whole image",
    )
    augment: Augment = Augment()
    sampling: Literal["natural", "balanced"] = Field(
        default="natural",
        description="How often training images come. natural: each once an epoch; balanced: every class equally "
        "often, in an epoch of the same length",
    )

    @model_validator(mode="after")
    def _draws_files(self):
        if self.sampling == "balanced" and self.reader not in ("folder", "csv"):
            raise ValueError(
                "data.sampling=balanced needs data.reader=folder or csv; class_weights=balanced goes with all. "
                f"Received: {self.reader}"
            )
        return self


class Export(config.Export):
    """What files are made of a trained model, and how they are compared with it."""

    endings = (LOGITS, SOFTMAX)

    outputs: str = Field(default="softmax", description="What exported files end in: logits or softmax")


class Config(config.Config):
    """A classification experiment."""

    monitors = {
        "top1": "max", "top5": "max", "macro_f1": "max", "balanced_accuracy": "max", "log_loss": "min", "ece": "min",
    }  # fmt: skip

    task: Literal["classification"] = "classification"
    model: Model = Model()
    data: Data
    export: Export = Export()
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="The share of each label that is spread over all classes"
    )
    class_weights: Literal["balanced"] | list[config.Positive] | None = Field(
        default=None,
        description="The weights of the classes in the loss, one each; balanced: the inverse of a class's share of the "
        "training images; null: 1",
    )

    @model_validator(mode="after")
    def _balanced_once(self):
        if self.class_weights == "balanced" and self.data.sampling == "balanced":
            raise ValueError("class_weights must be null with data.sampling=balanced, which does the same")
        return self
