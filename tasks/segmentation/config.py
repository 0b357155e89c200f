"""The keys of a segmentation experiment. No TensorFlow here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mobilenet_tf import config
from mobilenet_tf.inference.endings import LOGITS, SOFTMAX, Ending, last_axis


class Model(config.Model):
    """The network: a backbone and the head that classifies every pixel."""

    input_size: config.Size = Field(
        default=(513, 513),
        description="The height and width in pixels that evaluation and exports use; one number for both",
    )
    head: Literal["deeplabv3", "deeplabv3plus", "lraspp"] = Field(
        default="deeplabv3", description="The head; lraspp is the smallest, and V3's own"
    )
    output_stride: Literal[32, 16, 8] = Field(
        default=16, description="The stride of the backbone's last feature map; a lower one is more exact and slower"
    )
    rates: list[Annotated[int, Field(ge=1, le=1000)]] | None = Field(
        default=None,
        description="The dilation rates of the ASPP; null: 6, 12, 18 at output stride 16, twice that at 8; []: none, "
        "which is R-ASPP",
    )
    filters: int | None = Field(
        default=None, ge=1, le=65536, description="The channels of the head; null: 256, or 128 for lraspp"
    )
    separable: bool = Field(
        default=False, description="Whether the 3x3 convolutions of the head are depthwise separable"
    )
    reduced_tail: bool = Field(
        default=False,
        description="Whether the blocks of the backbone from stride 32 on have half the channels (V2, V3)",
    )
    last_convolution: bool | None = Field(
        default=None,
        description="Whether the backbone keeps the 1x1 convolution after its last block; null: V3 has it, V2 does not",
    )
    pooling: tuple[config.Side, config.Side, config.Side] | None = Field(
        default=None,
        description="lraspp: the window, vertical and horizontal stride of its pooling; null pools globally",
    )
    dropout: config.Dropout = 0.1
    auxiliary: bool = Field(
        default=False, description="Whether there is a second classifier on the map of stride 16, for training only"
    )


class Augment(config.Section):
    """Random changes of a training image and its mask; a null, zero or false turns one off."""

    scale: config.PositiveRange = Field(
        default=(0.5, 2.0), description="The smallest and largest size, as multiples of the size in evaluation"
    )
    crop: config.Size | None = Field(
        default=None, description="The height and width in pixels of the training crop; null: model.input_size"
    )
    flip: config.Flip = True
    color_jitter: config.ColorJitter = 0.0


def _mask_value(value: object) -> object:
    """The key of `data.values`: a whole number, also as text, or a color."""
    if isinstance(value, bool) or value is None:
        raise ValueError("must be a number or a color such as '#ff0000'")
    if isinstance(value, str):
        if re.fullmatch(r"#[0-9a-fA-F]{6}", value):
            return value.lower()
        if not value.isdecimal():
            raise ValueError("must be a number or a color such as '#ff0000'")
        value = int(value[:6])
    if not isinstance(value, int) or not 0 <= value < 2**16:
        raise ValueError("must be a whole number from 0 to 65535")
    return value


MaskValue = Annotated[int | str, BeforeValidator(_mask_value)]
UnknownValues = Literal["error", "ignore", "nearest"]


class Data(config.DataWithSplits):
    """Images with a class for every pixel."""

    reader: Literal["folder", "voc", "cityscapes", "coco", "labelme", "label_studio", "tfds", "scenes"]
    root: Path | None = Field(
        default=None, description="The folder of the data set, or the data_dir of TensorFlow Datasets"
    )
    classes: list[str] | Path | None = Field(
        default=None,
        description="The names of the classes, or a label file with one a line; of COCO, labelme and Label Studio, "
        "those to use, the rest being background",
    )
    values: dict[MaskValue, str] = Field(
        default={},
        description="What the values of masks stand for, such as {0: background, 255: object}; a color is a text such "
        "as '#ff0000', the name ignore leaves pixels out; for data.reader=folder and voc",
    )
    mask_colors: Path | None = Field(
        default=None,
        description="The file that says so: CSV with the columns red, green, blue, name (or value, name), or CVAT's "
        "labelmap.txt; for data.reader=folder and voc",
    )
    unknown_values: UnknownValues = Field(
        default="error",
        description="What becomes of pixels whose value stands for no class, as soft edges and JPEG make them. ignore: "
        "they do not count; nearest: they take the class of the nearest value or color",
    )
    annotations: Literal["instances", "panoptic"] | dict[config.Split, Path] = Field(
        default="instances",
        description="Which of COCO's annotations are read, or the JSON files of the splits, relative to data.root",
    )
    images: dict[config.Split, Path] = Field(
        default={}, description="The image folders of the splits, relative to data.root; for data.reader=coco"
    )
    resize: Literal["stretch", "letterbox", "pad"] = Field(
        default="letterbox",
        description="How images come to model.input_size. stretch: every side is scaled by itself; letterbox: the "
        "aspect ratio is kept and the rest is gray; pad: the size is kept too, unless it is larger",
    )
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _has_one_table(self):
        if self.values and self.reader not in ("folder", "voc"):
            raise ValueError(f"data.values goes with folder and voc. Received: data.reader={self.reader}")
        if self.values and self.mask_colors:
            raise ValueError(f"data.mask_colors must be null where data.values is set. Received: {self.mask_colors}")
        return self


class Loss(config.Section):
    """What a segmenter is trained on."""

    class_weights: Literal["median"] | list[Annotated[float, Field(ge=0)]] | None = Field(
        default=None,
        description="The weights of the classes, one each; median: the median frequency of all classes over the "
        "class's own, counted in the masks; null: 1",
    )
    ohem_fraction: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The share of pixels, those of the largest loss, to train on (OHEM); null: all",
    )
    dice: float = Field(default=0.0, ge=0, description="The weight of the Dice loss beside the cross entropy")
    auxiliary: float = Field(default=0.4, ge=0, description="The weight of the auxiliary classifier's loss")


class TTA(config.Section):
    """Test-time augmentation: the views of an image that `evaluate` averages over; by default one, the whole image."""

    scales: list[config.Positive] = Field(
        default=[1.0], min_length=1, description="The sizes to average over, as multiples of model.input_size"
    )
    flip: bool = Field(default=False, description="Whether the mirror image is averaged over too")
    window: config.Size | None = Field(
        default=None,
        description="The height and width of windows that a larger model.input_size is predicted by; null predicts the "
        "whole image at once",
    )


class Export(config.Export):
    """What files are made of a trained model, and how they are compared with it."""

    endings = (LOGITS, SOFTMAX, Ending("class_map", is_layer=True, class_counts=last_axis))

    outputs: str = Field(
        default="logits",
        description="What exported files end in: logits, softmax, or class_map, the best class of each pixel as uint8",
    )


class Config(config.Config):
    """A segmentation experiment."""

    monitors = {
        "miou": "max", "frequency_weighted_iou": "max", "pixel_accuracy": "max", "mean_accuracy": "max",
        "boundary_f": "max", "iou_*": "max",
    }  # fmt: skip

    task: Literal["segmentation"] = "segmentation"
    model: Model = Model()
    data: Data
    loss: Loss = Loss()
    tta: TTA = TTA()
    export: Export = Export()
