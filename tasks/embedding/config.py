"""The keys of an embedding experiment. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mobilenet_tf import config
from mobilenet_tf.inference.endings import Ending


class Model(config.Model):
    """The network: a backbone and a dense layer, whose output is scaled to length 1."""

    dimension: int = Field(default=128, ge=2, le=65536, description="The number of values of an embedding")
    batch_norm: bool = Field(default=True, description="Whether BatchNorm follows the dense layer")
    dropout: config.Dropout = 0.0


class Augment(config.Augment):
    """Random changes of a training image; a null, zero or false turns one off."""

    crop_scale: config.ShareRange | None = Field(
        default=(0.6, 1.0), description="The smallest and largest area of the random crop as a share of the image"
    )
    crop_ratio: config.PositiveRange = Field(
        default=(0.85, 1.18), description="The smallest and largest width of that crop in units of its height"
    )


Unseen = Annotated[
    Annotated[float, Field(ge=0, lt=1)] | list[str] | None,
    Field(
        description="The identities of the split that training never sees: their names, or their share of all, drawn "
        "by the seed; 0: none, so the split has other images of the training identities; null: 0.1 where the split "
        "has to be drawn, else 0"
    ),
]


class HeldOut(config.Section):
    """The identities that training never sees."""

    validation: Unseen = None
    test: Unseen = None


class Data(config.Data):
    """Images of identities, such as people or products."""

    reader: Literal["folder", "csv", "scenes"] = Field(description="The format of the data set")
    root: Path | None = Field(
        default=None, description="The CSV file, or the folder of identities (LFW too) or of splits of identities"
    )
    pairs: Path | None = Field(
        default=None, description="The pairs of the test split: LFW's pairs*.txt, or a CSV file with columns a, b, same"
    )
    held_out: HeldOut = HeldOut()
    image_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="The share of the training identities' images that a split without unseen ones gets",
    )
    min_images: int = Field(default=1, ge=1, description="Training leaves out identities with fewer images than this")
    images_per_identity: int | None = Field(
        default=4,
        ge=2,
        description="The number of images of each identity in a batch; null draws batches at random",
    )
    counts: config.Counts = {"train": 800, "validation": 200, "test": 400}
    crop_fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The part of the shorter side that is cropped from the center of every image; null resizes the "
        "whole image",
    )
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _pairs_of_files(self):
        if self.reader == "scenes" and self.pairs:
            raise ValueError("data.pairs must not be set for data.reader=scenes")
        return self


MARGINS = {"triplet": 0.2, "arcface": 0.5, "cosface": 0.35}  # of the papers, see loss.py


class Loss(config.Section):
    """What an embedding is trained on."""

    name: Literal["triplet", "arcface", "cosface"] = Field(
        default="triplet", description="The loss; cosface with margin=0 is the plain softmax over cosines"
    )
    margin: float | None = Field(
        default=None,
        ge=0,
        description="The margin; null: triplet 0.2 (squared distance), arcface 0.5 (radians), cosface 0.35 (cosine)",
    )
    scale: float = Field(
        default=64.0,
        gt=0,
        description="arcface, cosface: the factor of the cosines in the logits; less for few identities",
    )


class Verification(config.Section):
    """How pairs of images are verified: whether they show one identity."""

    pairs: int = Field(
        default=200_000,
        ge=100,
        description="The largest number of pairs of a split that are scored: all pairs where there are no more, else "
        "half of one identity and half of two",
    )
    threshold: float | None = Field(
        default=None,
        ge=-1,
        le=1,
        description="The smallest cosine of two images of one identity; null: calibrated on the validation split",
    )


class Export(config.Export):
    """What files are made of a trained model, and how they are compared with it."""

    endings = (Ending("embedding"),)

    outputs: str = Field(default="embedding", description="What exported files end in: embedding")


class Config(config.Config):
    """An embedding experiment."""

    monitors = {
        "roc_auc": "max", "accuracy": "max", "eer": "min", "recall_at_1": "max", "recall_at_5": "max",
        "recall_at_10": "max",
    }  # fmt: skip

    task: Literal["embedding"] = "embedding"
    model: Model = Model()
    data: Data
    loss: Loss = Loss()
    verification: Verification = Verification()
    export: Export = Export()

    @model_validator(mode="after")
    def _batches(self):
        each, size = self.data.images_per_identity, self.train.batch_size
        if each is None and self.loss.name == "triplet":
            raise ValueError("data.images_per_identity must be set for loss.name=triplet")
        if each and (size % each or size < 2 * each):
            raise ValueError(
                f"train.batch_size must be a multiple of data.images_per_identity={each}, two times or more. "
                f"Received: train.batch_size={size}"
            )
        return self
