"""The config of a detection experiment. No TensorFlow here."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from mobilenet_tf import config
from mobilenet_tf.tasks.detection.endings import ENDINGS


class Anchors(config.Section):
    """The anchors; ratios are width / height, scales are shares of the input's sides."""

    layout: Literal["ssd", "tf", "fpn", "custom"] | None = Field(
        default=None,
        description="How anchors are laid out. ssd: scales at equal distances; tf: the same with three small boxes on "
        "the first map; fpn: octaves of scale x stride; custom: `boxes`; null: what belongs to the head",
    )
    scales: config.PositiveRange = Field(default=(0.2, 0.95), description="ssd, tf: the first and the last scale")
    ratios: list[config.Positive] | None = Field(
        default=None, min_length=1, description="The ratios; null: 1, 2, 1/2, 3 and 1/3, or 1, 2 and 1/2 for fpn"
    )
    interpolated: bool = Field(
        default=True, description="ssd, tf: whether there is one more square box, between this scale and the next"
    )
    max_side: float | None = Field(
        default=None,
        gt=0,
        description="ssd, tf: the side that longer sides are cut to, 1 in torchvision; null cuts none",
    )
    anchor_scale: float = Field(default=4.0, gt=0, description="fpn: the side of the smallest anchor in strides")
    octaves: int = Field(default=2, ge=1, le=10, description="fpn: the number of scales in an octave")
    boxes: list[list[tuple[config.Positive, config.Positive]]] | None = Field(
        default=None,
        description="custom: for each map the height and width of each anchor, as shares of the input's shorter side",
    )
    clip: bool = Field(default=False, description="Whether anchors are cut to the image")

    @model_validator(mode="after")
    def _complete(self):
        if (self.layout == "custom") != (self.boxes is not None):
            raise ValueError("model.anchors.boxes must be set for layout=custom, and only then")
        return self


class Model(config.Model):
    """The network: a backbone, feature maps and the heads on them."""

    input_size: config.Size = Field(
        default=(320, 320), description="The height and width of the input in pixels; one number for both"
    )
    head: Literal["ssdlite", "ssd", "fpnlite"] = Field(
        default="ssdlite",
        description="The heads and further maps. ssdlite: of separable convolutions; ssd: of plain 3x3 convolutions; "
        "fpnlite: heads that all levels of a feature pyramid share",
    )
    reduced_tail: bool = Field(
        default=False,
        description="Whether the blocks of the backbone from stride 32 on have half the channels (V3 paper, 6.3)",
    )
    fpn_channels: int = Field(default=128, ge=8, description="fpnlite: the channels of the pyramid and of its heads")
    fpn_layers: int = Field(default=4, ge=1, description="fpnlite: the number of convolutions of each head")
    scores: Literal["softmax", "sigmoid"] = Field(
        default="softmax",
        description="What makes scores of the logits. softmax: with a class for the background, trained by cross "
        "entropy on hard negatives; sigmoid: trained by the focal loss",
    )
    anchors: Anchors = Anchors()
    variances: tuple[config.Positive, config.Positive] = Field(
        default=(0.1, 0.2), description="The variances of the box coder for centers and sizes"
    )


class Loss(config.Section):
    """The matching of anchors and the loss of a detector."""

    match_iou: float = Field(default=0.5, gt=0, le=1, description="The IoU with a box from which an anchor is positive")
    ignore_iou: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="The IoU from which an anchor below match_iou counts neither as positive nor as negative; null: "
        "every anchor below match_iou is negative",
    )
    negative_ratio: float = Field(
        default=3.0, gt=0, description="softmax: the number of hard negatives for each positive"
    )
    focal_alpha: float = Field(
        default=0.25, ge=0, le=1, description="sigmoid: the weight of the positives; the negatives have the rest"
    )
    focal_gamma: float = Field(default=2.0, ge=0, description="sigmoid: how much less well predicted anchors count")
    regression: Literal["smooth_l1", "giou", "ciou"] = Field(
        default="smooth_l1",
        description="The loss of the boxes. smooth_l1: the Huber distance of their codes; giou and ciou: 1 - the "
        "generalized or complete IoU of the decoded boxes",
    )
    regression_weight: float = Field(
        default=1.0, gt=0, description="The weight of that loss beside the loss of the classes"
    )


class Detections(config.Section):
    """How raw outputs become detections, in evaluation, prediction and exports with decoding inside."""

    score_threshold: float = Field(default=0.01, ge=0, lt=1, description="The score below which detections are dropped")
    iou_threshold: float = Field(
        default=0.6, gt=0, le=1, description="The IoU above which non-max suppression drops the lower score of a class"
    )
    max_candidates: int = Field(
        default=400, ge=1, description="The number of best anchors of each class that enter non-max suppression"
    )
    max_detections: int = Field(default=100, ge=1, description="The largest number of detections in an image")


class Augment(config.Section):
    """Random changes of a training image and its boxes; a zero, null or false turns one off."""

    photometric: float = Field(default=0.5, ge=0, le=1, description="The probability of each of SSD's changes of color")
    zoom_out: float = Field(
        default=0.5, ge=0, le=1, description="The probability that an image is put on a larger canvas"
    )
    zoom_out_max: float = Field(
        default=4.0, ge=1, description="The largest side of that canvas as a multiple of the image's"
    )
    iou_crop: float = Field(default=1.0, ge=0, le=1, description="The probability of SSD's crop by overlap with a box")
    scale_crop: config.PositiveRange | None = Field(
        default=None,
        description="The smallest and largest factor of the input size that images are scaled to, then cropped or "
        "padded; in place of zoom_out and iou_crop",
    )
    flip: config.Flip = True
    vertical_flip: bool = Field(
        default=False,
        description="Whether half of the training images are mirrored top to bottom: for images without an up, such as "
        "those from microscopes",
    )
    mosaic: float = Field(
        default=0.0, ge=0, le=1, description="The probability that a training image is made of four images of the batch"
    )


class Data(config.DataWithSplits):
    """Images with boxes."""

    reader: Literal["coco", "voc", "yolo", "labelme", "label_studio", "openimages", "tfds", "scenes"] = Field(
        description="The format of the data set; docs/annotations.md has their layouts"
    )
    root: Path | None = Field(
        default=None,
        description="The folder; or YOLO's yaml file, Label Studio's JSON file, Open Images' CSV file; or the data_dir "
        "of TensorFlow Datasets",
    )
    splits: dict[config.Split, str] = Field(
        default={},
        description="What the data set calls the splits. coco: train2017; voc: a list or folder such as train, or "
        "2007/trainval+2012/trainval; yolo: a key of the yaml file, or a folder; labelme: a folder; tfds: a split "
        "expression such as train[:90%]",
    )
    annotations: dict[config.Split, Path] = Field(
        default={}, description="The JSON files of the splits, relative to data.root; for data.reader=coco"
    )
    images: dict[config.Split, Path] = Field(
        default={}, description="The image folders of the splits, relative to data.root; for data.reader=coco"
    )
    classes: Path | None = Field(
        default=None,
        description="A label file with the classes to use, one a line, in the order of the labels; null uses all "
        "classes of the data set",
    )
    resize: Literal["stretch", "letterbox"] = Field(
        default="stretch",
        description="How images come to model.input_size. stretch: every side is scaled by itself; letterbox: the "
        "aspect ratio is kept and the rest is gray",
    )
    skip_empty: bool = Field(default=False, description="Whether training images without boxes are left out")
    augment: Augment = Augment()

    @model_validator(mode="after")
    def _names_classes(self):
        if self.classes and self.reader in ("tfds", "scenes"):
            raise ValueError(
                f"data.classes goes with annotation files; {self.reader} names its classes. Received: {self.classes}"
            )
        return self


class Metric(config.Section):
    """How detections are scored."""

    backend: Literal["pycocotools", "hotcoco"] = Field(
        default="pycocotools",
        description="The package that computes COCO's metrics; hotcoco gives the same numbers, 34 times faster on "
        "5,000 images, and needs the extra coco",
    )
    max_detections: int | None = Field(
        default=None,
        ge=10,
        le=100_000,
        description="The number of detections of a class in an image that count, the best ones; null: COCO's 100, or "
        "as many as an image has objects of a class where that is more",
    )
    voc: bool = Field(
        default=False, description="Whether Pascal VOC's mAP at IoU 0.5 is computed too, by 11 points and by area"
    )


class Export(config.Export):
    """The formats that a trained model is exported to, and how the files are compared with it."""

    endings = ENDINGS

    outputs: str = Field(
        default="detections",
        description="What exported files end in. detections: boxes, classes and scores after non-max suppression, and "
        "their number; raw: the outputs of the heads",
    )


class Config(config.Config):
    """A detection experiment."""

    monitors = {
        "AP": "max", "AP50": "max", "AP75": "max", "AP_small": "max", "AP_medium": "max", "AP_large": "max",
        "mAP_voc07": "max", "mAP_voc12": "max",
    }  # fmt: skip

    task: Literal["detection"] = "detection"
    model: Model = Model()
    data: Data
    loss: Loss = Loss()
    detections: Detections = Detections()
    metric: Metric = Metric()
    export: Export = Export()
