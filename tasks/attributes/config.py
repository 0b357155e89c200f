"""The keys of an experiment with attributes. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mobilenet_tf import config
from mobilenet_tf.inference.endings import LOGITS, SIGMOID

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Model(config.Model):
    dropout: float = Field(0.2, ge=0, lt=1)


class Data(config.DataWithSplits):
    reader: Literal["celeba", "csv", "tfds", "scenes"]
    root: Path | None = Field(
        None,
        description="CelebA's folder, a CSV file, a folder of CSV files, or the data_dir of TensorFlow Datasets",
    )
    name: str = Field("celeb_a", description="The data set of TensorFlow Datasets; for data.reader=tfds")
    attributes: list[str] | None = Field(
        None, min_length=1, description="Read these attributes only, in this order; null reads all"
    )
    counts: config.Counts = {"train": 1600, "validation": 200, "test": 400}
    crop_fraction: float | None = Field(None, gt=0, le=1, description="central crop in evaluation; null: plain resize")
    augment: config.Augment = config.Augment(crop_scale=(0.7, 1.0))

    @model_validator(mode="after")
    def _mirrored(self):
        turned = self.reader == "scenes" and "facing_left" in (self.attributes or ["facing_left"])
        if turned and self.augment.flip:
            raise ValueError(
                "data.augment.flip must be false for the attribute facing_left, which a mirror image changes"
            )
        return self


class CrossEntropy(config.Section):
    name: Literal["cross_entropy"] = "cross_entropy"
    positive_weights: Literal["balanced"] | list[Positive] | None = Field(
        None, description="of the positive labels, one an attribute; balanced: negatives / positives of the train split"
    )


class Focal(config.Section):
    name: Literal["focal"] = "focal"
    gamma: float = Field(2.0, ge=0)
    alpha: float | None = Field(None, gt=0, lt=1, description="weight of the positives; the negatives have the rest")


class Asymmetric(config.Section):
    name: Literal["asymmetric"] = "asymmetric"
    gamma_positive: float = Field(0.0, ge=0)
    gamma_negative: float = Field(4.0, ge=0)
    margin: float = Field(0.05, ge=0, lt=1, description="negatives below this probability cost nothing")


class Export(config.Export):
    endings = (LOGITS, SIGMOID)

    outputs: str = Field("sigmoid", description="What exported files end in: logits or sigmoid")


class Config(config.Config):
    task: Literal["attributes"] = "attributes"
    model: Model = Model()
    data: Data
    loss: Annotated[CrossEntropy | Focal | Asymmetric, Field(discriminator="name")] = CrossEntropy()
    thresholds: list[Share] | None = Field(
        None, description="of the probabilities, one an attribute; null: 0.5, until training tunes them"
    )
    tune: Literal["f1", "balanced_accuracy"] | None = Field(
        "f1", description="what the thresholds are tuned for on the validation split, where none are given"
    )
    export: Export = Export()
