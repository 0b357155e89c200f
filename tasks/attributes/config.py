"""The keys of an experiment with attributes. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mobilenet_tf import config
from mobilenet_tf.inference.endings import LOGITS, SIGMOID

Share = Annotated[float, Field(ge=0, le=1)]


class Model(config.Model):
    """The network: a backbone, and one logit an attribute."""

    dropout: config.Dropout = 0.2


class Data(config.DataWithSplits):
    """Images with attributes."""

    reader: Literal["celeba", "csv", "tfds", "scenes"] = Field(description="The format of the data set")
    root: Path | None = Field(
        default=None,
        description="CelebA's folder, a CSV file, a folder of CSV files, or the data_dir of TensorFlow Datasets",
    )
    name: str = Field(default="celeb_a", description="The data set of TensorFlow Datasets; for data.reader=tfds")
    attributes: list[str] | None = Field(
        default=None, min_length=1, description="Read these attributes only, in this order; null reads all"
    )
    counts: config.Counts = {"train": 1600, "validation": 200, "test": 400}
    crop_fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The part of the shorter side that evaluation crops from the center; null resizes the whole image",
    )
    augment: config.Augment = config.Augment(crop_scale=(0.7, 1.0))
    sampling: Literal["natural", "balanced"] = Field(
        default="natural",
        description="How often training images come. natural: each once an epoch; balanced: those with a rare "
        "label more often, sqrt(0.5 / its share) times, in an epoch of the same length",
    )

    @model_validator(mode="after")
    def _draws_files(self):
        if self.sampling == "balanced" and self.reader not in ("celeba", "csv"):
            raise ValueError(f"data.sampling=balanced needs data.reader=celeba or csv. Received: {self.reader}")
        return self

    @model_validator(mode="after")
    def _mirrored(self):
        turned = self.reader == "scenes" and "facing_left" in (self.attributes or ["facing_left"])
        if turned and self.augment.flip:
            raise ValueError(
                "data.augment.flip must be false for the attribute facing_left, which a mirror image changes"
            )
        return self


class CrossEntropy(config.Section):
    """Binary cross entropy."""

    name: Literal["cross_entropy"] = "cross_entropy"
    positive_weights: Literal["balanced"] | list[config.Positive] | None = Field(
        default=None,
        description="The weights of the positive labels, one an attribute; balanced: the number of negatives over that "
        "of positives in the train split; null: 1",
    )


class Focal(config.Section):
    """The focal loss (Lin et al. 2017): labels that are well predicted count less."""

    name: Literal["focal"] = "focal"
    gamma: float = Field(default=2.0, ge=0, description="How much less well predicted labels count; 0 is cross entropy")
    alpha: float | None = Field(
        default=None, gt=0, lt=1, description="The weight of the positives, the negatives have the rest; null: both 1"
    )


class Asymmetric(config.Section):
    """The asymmetric loss (Ben-Baruch et al. 2020): a focal loss with another gamma for the negatives."""

    name: Literal["asymmetric"] = "asymmetric"
    gamma_positive: float = Field(default=0.0, ge=0, description="How much less well predicted positives count")
    gamma_negative: float = Field(default=4.0, ge=0, description="How much less well predicted negatives count")
    margin: float = Field(default=0.05, ge=0, lt=1, description="Negatives below this probability cost nothing")


class Export(config.Export):
    """What files are made of a trained model, and how they are compared with it."""

    endings = (LOGITS, SIGMOID)

    outputs: str = Field(default="sigmoid", description="What exported files end in: logits or sigmoid")


class Config(config.Config):
    """An experiment with attributes."""

    monitors = {
        "mean_ap": "max", "mean_auc": "max", "accuracy": "max", "balanced_accuracy": "max", "f1": "max",
    }  # fmt: skip

    task: Literal["attributes"] = "attributes"
    model: Model = Model()
    data: Data
    loss: Annotated[CrossEntropy | Focal | Asymmetric, Field(discriminator="name")] = Field(
        default=CrossEntropy(), description="The loss: cross_entropy, focal or asymmetric, with its options"
    )
    thresholds: list[Share] | None = Field(
        default=None,
        description="The probabilities from which an attribute counts as present, one each; null: 0.5, until training "
        "calibrates them",
    )
    calibrate_thresholds: Literal["f1", "balanced_accuracy"] | None = Field(
        default="f1",
        description="The score that thresholds are calibrated for on the validation split, where none are given; null "
        "leaves them at 0.5",
    )
    export: Export = Export()
