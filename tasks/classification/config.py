"""The keys of a classification experiment. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mobilenet_tf import config
from mobilenet_tf.inference.endings import LOGITS, SOFTMAX


class Model(config.Model):
    dropout: float = Field(0.2, ge=0, lt=1)


class Augment(config.Augment):
    mixup: float = Field(0.0, ge=0, description="alpha of the Beta distribution")
    cutmix: float = Field(0.0, ge=0, description="alpha of the Beta distribution")


class Data(config.Section):
    reader: Literal["folder", "csv", "tfds", "scenes"]
    root: Path | None = Field(None, description="folder, CSV file or TFDS data_dir")
    name: str | None = Field(None, description="TFDS data set")
    splits: dict[Literal["train", "validation", "test"], str] = Field({}, description="TFDS split expressions")
    classes: Path | None = Field(None, description="label file, one class name a line")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="of train, where no validation split exists")
    box_crop: bool = Field(False, description="TFDS: crop to the annotated box")
    box_margin: float = Field(0.1, ge=0, description="margin around that box as a fraction of its sides")
    counts: dict[Literal["train", "validation", "test"], int] = Field(
        {"train": 1600, "validation": 200, "test": 400}, description="scenes: pictures per split"
    )
    crop_fraction: float | None = Field(0.875, gt=0, le=1, description="central crop in evaluation; null: plain resize")
    on_corrupt: Literal["skip", "error"] = "skip"
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _complete(self):
        if self.reader in ("folder", "csv") and self.root is None:
            raise ValueError(f"data.root must be set for data.reader={self.reader}: add data.root=PATH")
        if self.reader == "tfds" and self.name is None:
            raise ValueError("data.name must be set for data.reader=tfds, for instance data.name=stanford_dogs")
        return self


class Export(config.Export):
    endings = (LOGITS, SOFTMAX)

    outputs: str = Field("softmax", description="What exported files end in: logits or softmax")


class Config(config.Config):
    task: Literal["classification"] = "classification"
    model: Model = Model()
    data: Data
    export: Export = Export()
    label_smoothing: float = Field(0.0, ge=0, lt=1)
