"""The keys of a detection experiment. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mobilenet_tf import config
from mobilenet_tf.tasks.detection.endings import ENDINGS


class Anchors(config.Section):
    """Anchors as data; ratios are width / height, scales shares of the input's sides."""

    layout: Literal["ssd", "tf", "fpn", "custom"] | None = Field(
        None,
        description="ssd: linear scales; tf: the same with three small boxes on the first map; fpn: octaves of scale x "
        "stride; custom: `boxes`; null: that of the head",
    )
    scales: tuple[float, float] = Field((0.2, 0.95), description="ssd, tf: first and last scale")
    ratios: list[float] | None = Field(None, min_length=1, description="null: 1, 2, 1/2, 3, 1/3; fpn: 1, 2, 1/2")
    interpolated: bool = Field(True, description="ssd, tf: one more square box, between this scale and the next")
    max_side: float | None = Field(None, gt=0, description="ssd, tf: longer sides are cut to it; torchvision: 1")
    anchor_scale: float = Field(4.0, gt=0, description="fpn: side of the smallest anchor in strides")
    octaves: int = Field(2, ge=1, description="fpn: scales per octave")
    boxes: list[list[tuple[float, float]]] | None = Field(
        None, description="custom: for each map, (height, width) of each anchor as shares of the input's shorter side"
    )
    clip: bool = Field(False, description="cut anchors to the image")

    @model_validator(mode="after")
    def _complete(self):
        if (self.layout == "custom") != (self.boxes is not None):
            raise ValueError("model.anchors.boxes must be set for layout=custom, and only then")
        return self


class Model(config.Model):
    input_size: tuple[int, int] = Field((320, 320), description="height, width in pixels")
    head: Literal["ssdlite", "ssd", "fpnlite"] = Field(
        "ssdlite", description="ssdlite: separable heads and extra maps; ssd: plain 3x3 ones; fpnlite: shared heads"
    )
    reduced_tail: bool = Field(False, description="V3: halve the channels of the last backbone stage (V3 paper, 6.3)")
    fpn_channels: int = Field(128, ge=8, description="fpnlite: width of the pyramid and of its heads")
    fpn_layers: int = Field(4, ge=1, description="fpnlite: convolutions of each head")
    scores: Literal["softmax", "sigmoid"] = Field(
        "softmax", description="softmax: with a background class, cross entropy, mined negatives; sigmoid: focal loss"
    )
    anchors: Anchors = Anchors()
    variances: tuple[float, float] = Field((0.1, 0.2), description="of the box coder: centres, sizes")


class Loss(config.Section):
    match_iou: float = Field(0.5, gt=0, le=1, description="an anchor is positive from this IoU with a box on")
    ignore_iou: float | None = Field(
        None, gt=0, le=1, description="between this IoU and match_iou an anchor is neither; null: match_iou"
    )
    negatives: float = Field(3.0, gt=0, description="softmax: hard negatives a positive")
    focal_alpha: float = Field(0.25, ge=0, le=1)
    focal_gamma: float = Field(2.0, ge=0)
    regression: Literal["smooth_l1", "giou", "ciou"] = "smooth_l1"
    regression_weight: float = Field(1.0, gt=0)


class Detections(config.Section):
    """What becomes of the raw outputs, in evaluation, prediction and exports with decoding inside."""

    score_threshold: float = Field(0.01, ge=0, lt=1)
    iou_threshold: float = Field(0.6, gt=0, le=1, description="of the class-wise non-max suppression")
    max_candidates: int = Field(400, ge=1, description="best of each class that enter non-max suppression")
    max_detections: int = Field(100, ge=1, description="an image")


class Augment(config.Section):
    """Random changes of a training picture and its boxes; a zero, null or false turns one off."""

    photometric: float = Field(0.5, ge=0, le=1, description="probability of each of SSD's changes of colour")
    zoom_out: float = Field(0.5, ge=0, le=1, description="probability of putting the picture on a larger canvas")
    zoom_out_max: float = Field(4.0, ge=1, description="largest side of that canvas in sides of the picture")
    iou_crop: float = Field(1.0, ge=0, le=1, description="probability of SSD's crop by overlap with a box")
    scale_crop: tuple[float, float] | None = Field(
        None, description="random size between these factors of the input, then a crop or a frame"
    )
    flip: bool = True
    vertical_flip: bool = Field(False, description="for pictures without an up, such as those from microscopes")
    mosaic: float = Field(0.0, ge=0, le=1, description="probability that a batch is made of four pictures each")


class Data(config.DataWithSplits):
    reader: Literal["coco", "voc", "yolo", "tfds", "scenes"]
    root: Path | None = Field(None, description="The folder, YOLO's yaml file, or the data_dir of TensorFlow Datasets")
    splits: dict[config.Split, str] = Field(
        {},
        description="What the data set calls the splits. coco: train2017; voc: train, or 2007/trainval+2012/trainval; "
        "yolo: a key of the yaml file; tfds: a split expression such as train[:90%]",
    )
    annotations: dict[config.Split, Path] = Field(
        {}, description="The JSON files of the splits, relative to data.root; for data.reader=coco"
    )
    images: dict[config.Split, Path] = Field(
        {}, description="The image folders of the splits, relative to data.root; for data.reader=coco"
    )
    classes: Path | None = Field(
        None,
        description="A label file with the classes to use, one a line, in the order of the labels; null uses all "
        "classes of the data set",
    )
    resize: Literal["stretch", "letterbox"] = Field(
        "stretch",
        description="How images come to model.input_size. stretch: every side is scaled by itself; letterbox: the "
        "aspect ratio is kept and the rest is gray",
    )
    skip_empty: bool = Field(False, description="Whether training images without boxes are left out")
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _names_classes(self):
        if self.classes and self.reader in ("tfds", "scenes"):
            raise ValueError(
                f"data.classes goes with coco, voc, yolo; {self.reader} names its classes. Received: {self.classes}"
            )
        return self


class Metric(config.Section):
    backend: Literal["pycocotools", "hotcoco"] = Field(
        "pycocotools", description="hotcoco: the same numbers, 34 times faster on 5,000 images (extra: coco)"
    )
    voc: bool = Field(False, description="Pascal VOC's mAP at IoU 0.5 too, by 11 points and by area")


class Export(config.Export):
    endings = ENDINGS

    outputs: str = Field(
        "detections",
        description="What exported files end in. detections: boxes, classes and scores after non-max suppression, and "
        "their number; raw: the outputs of the heads",
    )


class Config(config.Config):
    task: Literal["detection"] = "detection"
    model: Model = Model()
    data: Data
    loss: Loss = Loss()
    detections: Detections = Detections()
    metric: Metric = Metric()
    export: Export = Export()
