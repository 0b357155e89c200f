"""The keys of an embedding experiment. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mobilenet_tf import config
from mobilenet_tf.inference.endings import Ending


class Model(config.Model):
    dimension: int = Field(128, ge=2, description="length of the embedding")
    batch_norm: bool = Field(True, description="between the dense layer and the division by the length")
    dropout: float = Field(0.0, ge=0, lt=1, description="in front of the dense layer")


class Augment(config.Augment):
    crop_scale: tuple[float, float] | None = (0.6, 1.0)
    crop_ratio: tuple[float, float] = (0.85, 1.18)


class HeldOut(config.Section):
    """Identities that training never sees: their names, or so large a share of all, drawn by the seed.

    0: none; the split then has other pictures of the training identities. null: 0.1 where the data has no such split
    of its own, else 0.
    """

    validation: float | list[str] | None = None
    test: float | list[str] | None = None


class Data(config.Data):
    reader: Literal["folder", "csv", "scenes"]
    root: Path | None = Field(
        None, description="The CSV file, or the folder of identities (LFW too) or of splits of identities"
    )
    pairs: Path | None = Field(
        None, description="the pairs of the test split: LFW's pairs*.txt, or a CSV with columns a, b, same"
    )
    held_out: HeldOut = HeldOut()
    picture_fraction: float = Field(
        0.1, gt=0, lt=1, description="of the training identities' pictures, for a split that holds out no identity"
    )
    min_pictures: int = Field(1, ge=1, description="training leaves out identities with fewer pictures")
    pictures_per_identity: int | None = Field(
        4, ge=2, description="in a batch of batch_size / that many identities; null: batches are drawn at random"
    )
    counts: config.Counts = {"train": 800, "validation": 200, "test": 400}
    crop_fraction: float | None = Field(
        None, gt=0, le=1, description="central part of every picture that is used; null: all of it, resized"
    )
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _pairs_of_files(self):
        if self.reader == "scenes" and self.pairs:
            raise ValueError("data.pairs must not be set for data.reader=scenes")
        return self


MARGINS = {"triplet": 0.2, "arcface": 0.5, "cosface": 0.35}  # of the papers: see `objective`


class Loss(config.Section):
    name: Literal["triplet", "arcface", "cosface"] = Field(
        "triplet", description="cosface with margin=0 is the plain softmax over cosines"
    )
    margin: float | None = Field(
        None, ge=0, description="null: 0.2 (squared distance), arcface 0.5 (radians), cosface 0.35 (cosine)"
    )
    scale: float = Field(64.0, gt=0, description="arcface, cosface: length of the logits; less for few identities")


class Verification(config.Section):
    pairs: int = Field(200_000, ge=100, description="all pairs of a split up to so many; beyond, half of them same")
    threshold: float | None = Field(
        None, ge=-1, le=1, description="smallest cosine of two pictures of one identity; null: settled on validation"
    )


class Export(config.Export):
    endings = (Ending("embedding"),)

    outputs: str = Field("embedding", description="What exported files end in: embedding")


class Config(config.Config):
    task: Literal["embedding"] = "embedding"
    model: Model = Model()
    data: Data
    loss: Loss = Loss()
    verification: Verification = Verification()
    export: Export = Export()

    @model_validator(mode="after")
    def _batches(self):
        each, size = self.data.pictures_per_identity, self.train.batch_size
        if each is None and self.loss.name == "triplet":
            raise ValueError("data.pictures_per_identity must be set for loss.name=triplet")
        if each and (size % each or size < 2 * each):
            raise ValueError(
                f"train.batch_size must be a multiple of data.pictures_per_identity={each}, two times or more. "
                f"Received: train.batch_size={size}"
            )
        return self
