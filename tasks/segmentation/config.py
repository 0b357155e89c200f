"""The keys of a segmentation experiment. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from mobilenet_tf import config
from mobilenet_tf.inference.endings import LOGITS, SOFTMAX, Ending, last_axis


class Model(config.Model):
    input_size: tuple[int, int] = Field((513, 513), description="height, width that evaluation and exports use")
    head: Literal["deeplabv3", "deeplabv3plus", "lraspp"] = "deeplabv3"
    output_stride: Literal[32, 16, 8] = 16
    rates: list[int] | None = Field(
        None, description="dilation of the ASPP; null: 6, 12, 18 at output stride 16, twice that at 8; []: R-ASPP"
    )
    filters: int | None = Field(None, ge=1, description="width of the head; null: 256, LR-ASPP 128")
    separable: bool = Field(False, description="depthwise-separable 3x3 convolutions in the head")
    reduced_tail: bool = Field(False, description="half the channels in the blocks from stride 32 on (V2, V3)")
    last_convolution: bool | None = Field(
        None, description="the 1x1 convolution after the last block; null: V3 has it, V2 does not"
    )
    pooling: tuple[int, int, int] | None = Field(
        None, description="LR-ASPP: window, vertical and horizontal stride of its pooling; null: global"
    )
    dropout: float = Field(0.1, ge=0, lt=1)
    auxiliary: bool = Field(False, description="a second classifier on stride 16, for training only")


class Augment(config.Section):
    """Random changes of a training picture; a null or zero turns one off."""

    scale: tuple[float, float] = Field((0.5, 2.0), description="size, relative to that in evaluation")
    crop: tuple[int, int] | None = Field(None, description="height, width in pixels; null: model.input_size")
    flip: bool = True
    color_jitter: float = Field(0.0, ge=0, le=1, description="strength of brightness, contrast, saturation changes")


class Data(config.DataWithSplits):
    reader: Literal["folder", "voc", "cityscapes", "coco", "tfds", "scenes"]
    root: Path | None = Field(None, description="The folder of the data set, or the data_dir of TensorFlow Datasets")
    classes: list[str] | Path | None = Field(
        None, description="the names or a file of them, one a line; of COCO, the categories that are not background"
    )
    colours: Path | None = Field(
        None, description="folder: CSV file with columns red, green, blue, name of masks that are colour pictures"
    )
    annotations: Literal["instances", "panoptic"] = Field("instances", description="COCO: which file")
    resize: Literal["stretch", "letterbox", "pad"] = Field(
        "letterbox",
        description="How images come to model.input_size. stretch: every side is scaled by itself; letterbox: the "
        "aspect ratio is kept and the rest is gray; pad: the size is kept too, unless it is larger",
    )
    augment: Augment = Augment()


class Loss(config.Section):
    class_weights: Literal["median"] | list[float] | None = Field(
        None, description="one a class, or median: the median frequency over the class's own, from the masks"
    )
    hard: float | None = Field(None, gt=0, le=1, description="OHEM: train on this share of pixels, the hardest")
    dice: float = Field(0.0, ge=0, description="weight of the Dice loss")
    auxiliary: float = Field(0.4, ge=0, description="weight of the auxiliary classifier's loss")


class Views(config.Section):
    """How `evaluate` looks at a picture; all off: once, as a whole."""

    scales: list[float] = Field([1.0], min_length=1, description="average over these sizes; 1 is model.input_size")
    flip: bool = Field(False, description="average over the mirror image too")
    window: tuple[int, int] | None = Field(
        None, description="height and width of the model's input, where model.input_size is larger: window by window"
    )


class Export(config.Export):
    endings = (LOGITS, SOFTMAX, Ending("class_map", is_layer=True, class_counts=last_axis))

    outputs: str = Field(
        "logits",
        description="What exported files end in: logits, softmax, or class_map, the best class of each pixel as uint8",
    )


class Config(config.Config):
    task: Literal["segmentation"] = "segmentation"
    model: Model = Model()
    data: Data
    loss: Loss = Loss()
    views: Views = Views()
    export: Export = Export()
