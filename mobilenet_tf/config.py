"""Experiments as typed, validated YAML. No TensorFlow here: a mistake is reported before anything heavy loads.

A config is one YAML file; each task extends the sections below with its own keys in `mobilenet_tf.tasks.<task>.config`.
"""

from __future__ import annotations

import difflib
import fnmatch
import importlib
import math
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import yaml
from PIL import ImageColor
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)

from mobilenet_tf import config_aliases, migrations
from mobilenet_tf.config_errors import explain, types_of
from mobilenet_tf.inference.endings import Ending
from mobilenet_tf.inference.formats import FORMATS, Engine, InputType, unknown_format
from mobilenet_tf.models import specs
from mobilenet_tf.utils import files, strict_yaml
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import read_text

UNITS = ("epochs", "steps", "samples")
MAX_NUMBER = 2**32 - 1  # of whole numbers, such as seeds: what NumPy and TensorFlow take
MAX_FLOAT = 3e38  # what float32 holds


@dataclass(frozen=True)
class Duration:
    """A length of training: `20 epochs`, `500 steps`, `1e6 samples`; a bare number is epochs."""

    amount: float
    unit: str = "epochs"

    @classmethod
    def parse(cls, value: Any) -> Duration:
        """Reads a duration from a number or text. Raises ValueError where it is neither."""
        if isinstance(value, Duration):
            return value
        match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*(epoch|step|sample)?s?\s*", str(value))
        try:
            if match is None:
                raise ValueError
            amount = float(match[1])
            if amount > MAX_NUMBER:
                raise ValueError
            return cls(amount, (match[2] or "epoch") + "s")
        except ValueError:
            raise ValueError(
                "must be a number of epochs, steps or samples such as '20 epochs' or '500 steps'"
            ) from None

    def steps(self, steps_per_epoch: int, batch_size: int) -> int:
        """The duration in optimizer steps, rounded up."""
        per_unit = {"epochs": steps_per_epoch, "steps": 1, "samples": 1 / batch_size}[self.unit]
        return math.ceil(self.amount * per_unit)

    def __str__(self) -> str:
        return f"{self.amount:g} {self.unit}"


Split = Literal["train", "validation", "test"]
SPLIT_READERS = ("tfds", "scenes", "celeba", "cityscapes")  # readers of data that always has splits of its own
OnCorrupt = Literal["skip", "error"]  # what happens to images that cannot be read


class Rendering(NamedTuple):
    """How pixels that are not plain 8-bit RGB become so; see `data.pixels.to_rgb`."""

    background: str = "white"
    bit_depth: int | None = None


def _is_longer_than_zero(duration: Duration) -> Duration:
    if duration.amount == 0:
        raise ValueError("must be longer than 0")
    return duration


Length = Annotated[Duration, BeforeValidator(Duration.parse), PlainSerializer(str)]
PositiveLength = Annotated[Length, AfterValidator(_is_longer_than_zero)]


def _ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("must be the smaller number and then the larger one")
    return pair


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, le=1)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]  # the smallest and the largest
ShareRange = Annotated[tuple[Share, Share], AfterValidator(_ascending)]
Side = Annotated[int, Field(ge=1, le=8192)]  # in pixels


def _as_size(size: Any) -> Any:
    """One number stands for both sides; 224x320 is height x width."""
    if isinstance(size, str) and re.fullmatch(r"\d{1,5}(x\d{1,5})?", size):
        sides = [int(side) for side in size.split("x")]
        return sides[0], sides[-1]
    return (size, size) if isinstance(size, int) else size


Size = Annotated[tuple[Side, Side], BeforeValidator(_as_size)]


# What several sections have in the same words
WeightDecay = Annotated[
    float, Field(ge=0, description="The weight decay, decoupled from the gradient; it spares BatchNorm and biases")
]
Dropout = Annotated[
    float, Field(ge=0, lt=1, description="The share of features that training drops in front of the last layer")
]
ColorJitter = Annotated[
    float, Field(ge=0, le=1, description="The strength of the changes of brightness, contrast and saturation")
]
Flip = Annotated[bool, Field(description="Whether half of the training images are mirrored left to right")]


class Section(BaseModel):
    """A part of a config: immutable, and strict about unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @field_validator("*", mode="after")
    @classmethod
    def _bounded(cls, value: Any) -> Any:
        """Numbers are those that 32 bits hold."""
        if isinstance(value, list | tuple | dict):
            for each in value.values() if isinstance(value, dict) else value:
                cls._bounded(each)
        too_large = MAX_NUMBER if isinstance(value, int) else MAX_FLOAT
        if isinstance(value, int | float) and abs(value) > too_large:
            raise ValueError(f"must be a number of at most {too_large:g}")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def _expand_paths(cls, value: Any) -> Any:
        """A path is one of this machine, and may begin with ~ and name environment variables."""
        if isinstance(value, Path) and files.is_url(value):
            raise ValueError("must be a path on this machine; copy remote data here, or mount them as a folder")
        if isinstance(value, Path):
            return Path(os.path.expandvars(os.path.expanduser(value)))
        if isinstance(value, dict):
            return {key: cls._expand_paths(each) for key, each in value.items()}
        return value


class SGD(Section):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1, description="The momentum; 0 is plain gradient descent")
    nesterov: bool = Field(default=False, description="Whether the momentum is Nesterov's")
    weight_decay: WeightDecay = 0.0


class AdamW(Section):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: Literal["adamw"] = "adamw"
    beta_1: float = Field(default=0.9, ge=0, lt=1, description="The decay of the average of the gradients")
    beta_2: float = Field(default=0.999, ge=0, lt=1, description="The decay of the average of their squares")
    epsilon: float = Field(default=1e-7, gt=0, description="A small number against division by zero")
    weight_decay: WeightDecay = 0.01


class RMSprop(Section):
    """RMSprop with momentum, the optimizer of the MobileNet papers."""

    name: Literal["rmsprop"] = "rmsprop"
    rho: float = Field(default=0.9, ge=0, lt=1, description="The decay of the average of the squared gradients")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="The momentum")
    epsilon: float = Field(default=1e-3, gt=0, description="A small number against division by zero")
    weight_decay: WeightDecay = 0.0


Optimizer = Annotated[SGD | AdamW | RMSprop, Field(discriminator="name")]


class WarmUp(Section):
    """What every schedule begins with."""

    warmup: Length = Field(
        default=Duration(0), description="How long the learning rate climbs linearly at the start of each stage"
    )


class Cosine(WarmUp):
    """The learning rate falls along half a cosine."""

    name: Literal["cosine"] = "cosine"
    final: float = Field(default=0.0, ge=0, le=1, description="The last learning rate as a fraction of the first")


class Polynomial(WarmUp):
    """The learning rate falls as a power of the share of steps that is left."""

    name: Literal["polynomial"] = "polynomial"
    power: float = Field(default=0.9, gt=0, description="The exponent; 1 is a straight line")
    final: float = Field(default=0.0, ge=0, le=1, description="The last learning rate as a fraction of the first")


class Exponential(WarmUp):
    """The learning rate is multiplied by `rate` in every `every`."""

    name: Literal["exponential"] = "exponential"
    rate: float = Field(default=0.98, gt=0, le=1, description="The factor")
    every: PositiveLength = Field(
        default=Duration(1), description="How long it takes the learning rate to fall by the factor once"
    )
    staircase: bool = Field(default=True, description="Whether it falls in steps instead of continuously")


class Step(WarmUp):
    """The learning rate is multiplied by `rate` at the given times."""

    name: Literal["step"] = "step"
    at: list[Length] = Field(min_length=1, description="The times at which the learning rate falls")
    rate: float = Field(default=0.1, gt=0, le=1, description="The factor at each of them")


class Constant(WarmUp):
    """The learning rate stays as it is."""

    name: Literal["constant"] = "constant"


Schedule = Annotated[Cosine | Polynomial | Exponential | Step | Constant, Field(discriminator="name")]


class Stage(Section):
    """One stage of training, with an optimizer and a schedule that begin anew."""

    train: Literal["head", "all", "s2", "s4", "s8", "s16"] = Field(
        default="all",
        description="What is trained. head: the backbone is frozen; all: everything; s2 to s16: the layers of the "
        "backbone above that stride, and the head",
    )
    duration: Length = Field(
        default=Duration(10), description="The length of the stage: 20 epochs, 500 steps or 1e6 samples"
    )
    learning_rate: float = Field(gt=0, description="The learning rate after the warm-up")
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="The factor of the learning rate for each stride from the head down"
    )
    freeze_batch_norm: bool = Field(
        default=False,
        description="Whether the BatchNormalization layers of the backbone keep their statistics and scales",
    )
    augment: bool = Field(
        default=True,
        description="Whether images are changed at random. false uses the preprocessing of evaluation; with train=head "
        "the features of the backbone are then computed only once",
    )


class Train(Section):
    """How the network is trained."""

    batch_size: int = Field(default=32, ge=1, le=65536, description="The number of images in a step")
    stages: list[Stage] = Field(min_length=1, description="The stages of the training, one after the other")
    optimizer: Optimizer = Field(default=SGD(), description="The optimizer: sgd, adamw or rmsprop, with its options")
    schedule: Schedule = Field(default=Cosine(), description="How the learning rate changes within a stage")
    decay_depthwise: bool = Field(
        default=False,
        description="Whether weight decay acts on depthwise kernels too; the V1 paper advises little or none",
    )
    clip_norm: float | None = Field(
        default=None, gt=0, description="Scale gradients down to this global norm; null does not clip"
    )
    batch_norm_samples: int = Field(
        default=1000,
        ge=0,
        description="The number of training images, at most an epoch's, on which the statistics of BatchNormalization "
        "are estimated again before each evaluation; 0 keeps the moving averages of the training",
    )
    batch_norm_momentum: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="The momentum of those moving averages; null keeps the network's, 0.999 or 0.99",
    )
    ema: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="The decay of the moving average of the weights, which is evaluated and saved; it never looks back "
        "over more than a tenth of a stage's steps. null uses the weights themselves",
    )
    precision: Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"] = Field(
        default="auto",
        description="The number format of the computation; auto chooses by the device and prints the choice",
    )
    jit: Literal["auto", "on", "off"] = Field(
        default="auto", description="Whether XLA compiles the training step; auto: on a GPU alone"
    )
    monitor: str | None = Field(
        default=None,
        description="The metric of the validation split that picks the best epoch and judges exported files; null: the "
        "task's first one",
    )
    evaluate_every: int = Field(
        default=1, ge=1, description="The epochs from one evaluation on the validation split to the next"
    )
    patience: int | None = Field(
        default=None, ge=1, description="End the stage after so many evaluations without a better one; null never does"
    )
    network: Path | None = Field(
        default=None,
        description="A .keras file, such as a pruned one, that is trained in place of what `model` describes",
    )
    resume: Path | None = Field(
        default=None,
        description="A run folder or checkpoint to continue from where this run has no checkpoint of its own; the "
        "task, the classes and the network must be the same, while stages, schedule and images may change",
    )


class Distill(Section):
    """Learning from another model beside the labels."""

    teacher: Path | None = Field(
        default=None, description="The run folder or .keras file of the teacher; null trains on the labels alone"
    )
    weight: float = Field(
        default=0.5, gt=0, le=1, description="The weight of the teacher's loss; the labels have the rest"
    )
    temperature: float = Field(
        default=1.0, gt=0, description="Divides the logits of both before their softmax or sigmoid"
    )


class Model(Section):
    """The network."""

    backbone: str = Field(default="mobilenet_v2", description=f"The network, of {', '.join(specs.NETS)}")
    alpha: float = Field(
        default=1.0, gt=0, le=16, description="The width: a factor of the number of channels of every layer"
    )
    input_size: Size = Field(
        default=(224, 224), description="The height and width of the input in pixels; one number for both"
    )
    weights: str | None = Field(
        default="imagenet",
        description="The weights to start from: imagenet for Keras's published ones, the path of a .h5, .weights.h5 or "
        ".keras file, or null for random ones",
    )

    @field_validator("backbone")
    @classmethod
    def _known_backbone(cls, name: str) -> str:
        if name not in specs.NETS:
            raise ValueError(specs.unknown_name(name))
        return name

    @field_validator("weights")
    @classmethod
    def _weights_can_be_read(cls, weights: str | None) -> str | None:
        if weights and weights != "imagenet" and Path(weights).name == weights and not Path(weights).suffix:
            raise ValueError("must be imagenet, null or the path of a .h5, .weights.h5 or .keras file")
        return weights


Counts = Annotated[
    dict[Split, Annotated[int, Field(ge=0)]],
    Field(description="The number of images of each split; for data.reader=scenes"),
]


class Data(Section):
    """Where the images come from: what every task has. A task names its readers and adds the options of its own."""

    reader: str = Field(description="The format of the data set; scenes: the built-in drawings, which need no files")
    root: Path | None = Field(default=None, description="The folder or file of the data set")
    split_file: Path | None = Field(
        default=None,
        description="A JSON file {train: [...], validation: [...], test: [...]} of image paths from data.root, for "
        "data that has no splits of its own; null draws them. A run keeps what it drew in splits.json",
    )
    counts: Counts = {"train": 800, "validation": 100, "test": 200}
    on_corrupt: OnCorrupt = Field(
        default="skip", description="Whether images that cannot be read are left out or end the run"
    )
    background: str = Field(
        default="white", description="The color behind transparent images: a name such as black, or #rrggbb"
    )
    bit_depth: int | None = Field(
        default=None,
        ge=8,
        le=16,
        description="The number of bits that the values of 16-bit images use, such as 12 for many microscopes; null: "
        "what a TIFF says, or the smallest of 8, 10, 12, 14 and 16 that holds the values of an image",
    )
    encoding: str = Field(
        default="utf-8",
        description="The encoding of the tables, lists and label files of the data set that do not say it themselves",
    )

    @field_validator("background")
    @classmethod
    def _known_color(cls, color: str) -> str:
        try:
            red_green_blue = ImageColor.getrgb(color)
        except ValueError:
            red_green_blue = ()
        if len(red_green_blue) != 3:
            raise ValueError("must be the name of a color, such as white, or #rrggbb")
        return color

    @property
    def rendering(self) -> Rendering:
        """How the images are read."""
        return Rendering(self.background, self.bit_depth)

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, name: str) -> str:
        try:
            "".encode(name)
        except (LookupError, ValueError):
            raise ValueError("must be an encoding that Python knows, such as utf-8, cp1252, latin-1 or gbk") from None
        return name

    @model_validator(mode="after")
    def _has_root(self):
        if self.reader not in ("tfds", "scenes") and self.root is None:
            raise ValueError(f"data.root must be set for data.reader={self.reader}: add data.root=PATH")
        return self

    @model_validator(mode="after")
    def _has_paths_to_list(self):
        if self.split_file and self.reader in SPLIT_READERS:
            raise ValueError(
                f"data.split_file must be null for data.reader={self.reader}, which has splits of its own. "
                f"Received: {self.split_file}"
            )
        return self

    @property
    def path(self) -> Path:
        """The root of a data set on disk. Raises ValueError where there is none, as for scenes."""
        if self.root is None:
            raise ValueError(f"data.root must be set for data.reader={self.reader}. Received: null")
        return self.root


class DataWithSplits(Data):
    """A data set that may come from TensorFlow Datasets and whose validation split may be a part of train."""

    name: str | None = Field(default=None, description="The data set of TensorFlow Datasets; for data.reader=tfds")
    splits: dict[Split, str] = Field(
        default={}, description="The split expressions of TensorFlow Datasets, e.g. train[:90%]"
    )
    validation_fraction: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="The share of each split that is drawn from train: validation and test where there is neither, "
        "validation alone where there is a test split",
    )

    @model_validator(mode="after")
    def _has_name(self):
        if self.reader == "tfds" and self.name is None:
            raise ValueError("data.name must be set for data.reader=tfds, for instance data.name=voc/2007")
        return self


class Augment(Section):
    """Random changes of a training image; null or zero turns one off."""

    crop_scale: ShareRange | None = Field(
        default=(0.35, 1.0), description="The smallest and largest area of the random crop as a share of the image"
    )
    crop_ratio: PositiveRange = Field(
        default=(0.75, 4 / 3), description="The smallest and largest width of that crop in units of its height"
    )
    flip: Flip = True
    color_jitter: ColorJitter = 0.0
    rand_augment_layers: int = Field(
        default=0, ge=0, le=100, description="The number of RandAugment's operations for each image"
    )
    rand_augment_magnitude: float = Field(
        default=9.0, ge=0, le=10, description="The strength of RandAugment's operations"
    )
    erasing: float = Field(
        default=0.0, ge=0, le=1, description="The probability that a rectangle of the image is erased"
    )


class Quantize(Section):
    """Quantization-aware training (QAT): training with the quantization error of the later int8 file."""

    qat: bool = Field(
        default=False,
        description="Train with simulated int8 quantization, in float32 and with BatchNormalization frozen",
    )
    momentum: float = Field(
        default=0.99, ge=0, lt=1, description="The momentum with which the ranges of the activations follow them"
    )


class Export(Section):
    """What files are made of a trained model, and how they are compared with it."""

    endings: ClassVar[tuple[Ending, ...]] = ()  # what exported files of a task may end in

    formats: list[str] = Field(
        default=["tflite", "tflite_int8"], description=f"The formats to export to, of {', '.join(FORMATS)}"
    )
    engine: Engine | None = Field(
        default=None,
        description="What quantizes .tflite files: tensorflow is TensorFlow's converter; ai_edge is ai-edge-quantizer, "
        "which makes tflite_int4 too (needs the extra quantizer). null takes the better one by format, if installed",
    )
    inputs: InputType = Field(default="float32", description="The type of the inputs and outputs of tflite_int8 files")
    outputs: str = Field(default="logits", description="What exported files end in")
    float_layers: Annotated[int, Field(ge=0)] | list[str] = Field(
        default=0,
        description="The layers of tflite_int8 files that stay in float32: how many of those with the largest error, "
        "or a list of names, in which * and ? stand for other characters",
    )
    calibration_samples: int = Field(default=200, ge=1, description="The number of images that int8 is calibrated on")
    calibration: Path | None = Field(
        default=None,
        description="A folder of images to calibrate on; null: images of the training split",
    )
    calibration_percentile: float | None = Field(
        default=None,
        gt=50,
        le=100,
        description="The percentile of the values of a tensor at which its range in tflite_int8 files ends; null: "
        "99.99; 100 is the largest value",
    )
    dynamic_batch: bool = Field(
        default=False,
        description="Whether files take any number of images at once; else they take one, as every delegate of a phone "
        "does. A SavedModel always takes any number",
    )
    parity_samples: int = Field(
        default=64,
        ge=1,
        description="The number of validation images on which the outputs of file and model are compared",
    )
    verify_samples: int | None = Field(
        default=1000,
        ge=1,
        description="The number of validation images on which file and model are scored; null uses all",
    )
    max_drop: float = Field(
        default=0.02, ge=0, description="The largest accepted drop of the metric from the model to a file"
    )
    min_agreement: float = Field(
        default=0.8, ge=0, le=1, description="The smallest accepted agreement of a file's predictions with the model's"
    )

    @field_validator("formats")
    @classmethod
    def _known_formats(cls, names: list[str]) -> list[str]:
        for i, name in enumerate(names):
            if name not in FORMATS:
                raise ValueError(f"export.formats.{i} {unknown_format(name)}")
        return names

    @model_validator(mode="after")
    def _engine_makes_formats(self):
        for name in self.formats:
            FORMATS[name].engine(self.engine)
        return self

    @field_validator("outputs")
    @classmethod
    def _known_ending(cls, name: str) -> str:
        *first, last = (ending.name for ending in cls.endings or (Ending(name),))
        if name not in (*first, last):
            raise ValueError(f"must be {', '.join(first)}{' or ' if first else ''}{last}")
        return name


class Config(Section):
    """What every experiment has. Tasks narrow `model`, `data` and `export`."""

    # What `train.monitor` may name, the default first; * stands for the name of a class
    monitors: ClassVar[dict[str, Literal["max", "min"]]] = {}

    task: str = Field(description="The name of the task")
    seed: int = Field(
        default=0, ge=0, description="The seed of all random draws: weights, order, augmentation, drawn splits"
    )
    model: Model
    data: Data
    train: Train
    distill: Distill = Distill()
    quantize: Quantize = Quantize()
    export: Export = Export()

    @property
    def monitor(self) -> tuple[str, str]:
        """The metric that picks the best epoch, and whether the highest or the lowest is the best."""
        chosen = self.train.monitor or next(iter(self.monitors))
        return chosen, next(mode for name, mode in self.monitors.items() if fnmatch.fnmatchcase(chosen, name))

    @model_validator(mode="after")
    def _known_monitor(self):
        chosen = self.train.monitor
        if chosen and not any(fnmatch.fnmatchcase(chosen, name) for name in self.monitors):
            raise ValueError(f"train.monitor must be one of {', '.join(self.monitors)}. Received: {chosen}")
        return self

    @model_validator(mode="after")
    def _int8_options(self):
        if self.quantize.qat and self.train.precision.startswith("mixed"):
            raise ValueError(
                f"train.precision must be auto or float32 with quantize.qat. Received: {self.train.precision}"
            )
        if self.quantize.qat and self.export.float_layers:
            raise ValueError(f"export.float_layers must be 0 with quantize.qat. Received: {self.export.float_layers}")
        return self

    @classmethod
    def parse(cls, values: dict, origin: str = "config") -> Config:
        """Validates plain values. Raises UserError with one line for all mistakes."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{origin}: " + "; ".join(explain(e, cls) for e in error.errors())) from None

    def to_dict(self) -> dict:
        """The resolved values, as JSON and YAML can hold them, with the number of their schema."""
        return {"schema": migrations.SCHEMA, **self.model_dump(mode="json")}

    def save(self, path: Path) -> None:
        """Writes the resolved config, atomically."""
        with files.replacing(path) as temporary:
            temporary.write_text(yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True), encoding="utf-8")


def shipped() -> dict[str, Path]:
    """The configs that come with the package, by name."""
    import mobilenet_tf.configs as package

    folders = [Path(p) for p in package.__path__]
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*/*.yaml"))}


def find(name_or_path: str | Path) -> Path:
    """The file of a shipped config's name or of a YAML path. Raises UserError where there is neither."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise UserError(
            f"config must be an existing YAML file or the name of a shipped config. Received: {name_or_path}"
        )
    name, configs = str(name_or_path), shipped()
    if name in configs:
        return configs[name]
    raise UserError(f"config must be a YAML path or a shipped config ({_hint(name, configs)}). Received: {name}")


def _hint(name: str, configs: dict[str, Path]) -> str:
    """What somebody who gave the name of no config may have meant."""
    if Path(name).is_dir():
        return f"a folder of images is data.root: folder_v2 data.root={name}"
    if backbone := difflib.get_close_matches(name.lower(), specs.NETS, n=1, cutoff=0.9):
        return f"a network is chosen with model.backbone; nearest: folder_v2 model.backbone={backbone[0]}"
    if name in tasks():
        of_task = [known for known, path in configs.items() if path.parent.name == name]
        return f"a task is chosen by its configs: {', '.join(of_task)}"
    near = difflib.get_close_matches(name, configs, n=3, cutoff=0)
    return f"nearest: {', '.join(near)}; all of them: mobilenet-tf configs list"


def tasks() -> list[str]:
    """The names of all tasks."""
    return sorted(p.parent.name for folder in _task_folders() for p in Path(folder).glob("*/config.py"))


def schema(task: str) -> type[Config]:
    """The config class of a task, found by its name."""
    if task not in tasks():
        raise UserError(f"task must be one of {', '.join(tasks())}. Received: task={task}")
    return importlib.import_module(f"mobilenet_tf.tasks.{task}.config").Config


def load(name_or_path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Config:
    """A validated config from a shipped name or a YAML path, with `a.b=value` overrides applied in order."""
    path = find(name_or_path)
    return override(read(path), overrides, path.name)


def check_paths(cfg: Config, keys: Collection[str] = ()) -> None:
    """Raises UserError for what a training reads and does not exist, before anything slow is imported.

    keys: those that are looked at, such as data.root; none: all.
    """
    given = {
        "data.root": cfg.data.root if cfg.data.reader not in ("tfds", "scenes") else None,
        "data.split_file": cfg.data.split_file,
        "model.weights": cfg.model.weights if cfg.model.weights != "imagenet" else None,
        "train.network": cfg.train.network,
        "train.resume": cfg.train.resume,
        "distill.teacher": cfg.distill.teacher,
        "export.calibration": cfg.export.calibration,
    }
    for key in keys or given:
        path = given[key]
        if path is not None and not Path(path).exists():
            what = {"model.weights": "imagenet, null or a file", "data.split_file": "a file"}.get(
                key, "a folder or file"
            )
            raise UserError(f"{key} must be {what} that exists. Received: {path}")


def with_absolute_root(cfg: Config) -> Config:
    """The config with the path of its data from the root of the file system, so that it holds in any folder."""
    if cfg.data.root is None or cfg.data.root.is_absolute():
        return cfg
    return cfg.model_copy(update={"data": cfg.data.model_copy(update={"root": cfg.data.root.absolute()})})


def preview(name_or_path: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> tuple[dict, bool]:
    """The resolved values of a config, and whether it is complete: where it only lacks data.root, that is null."""
    try:
        return load(name_or_path, overrides).to_dict(), True
    except UserError:
        path = find(name_or_path)
        is_overridden = any(item.startswith(("data.root=", "root=")) for item in overrides)
        if is_overridden or (read(path).get("data") or {}).get("root"):
            raise
        values = override(read(path), ["data.root=PATH", *overrides], path.name).to_dict()
        values["data"]["root"] = None
        return values, False


def read(path: Path) -> dict:
    """The plain values in a YAML file, by their current names. Raises UserError where it holds no config."""
    try:
        values = strict_yaml.parse(read_text(path, option=None))
    except UserError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict) or "task" not in values:
        raise UserError(f"{path} must be a mapping with a key 'task'. Received: {str(values)[:60]!r}")
    return migrations.migrate(values, path.name, warn=True)


def override(values: dict, overrides: list[str] | tuple[str, ...], origin: str) -> Config:
    """A validated config from plain values, such as those stored in an artifact, with overrides applied in order.

    The values may be of an earlier schema, and the overrides may use its names.
    """
    values = migrations.migrate(values, origin)
    for item in overrides:
        _override(values, item)
    values = migrations.migrate(values, "override", warn=True)
    return schema(values.get("task", "")).parse(values, origin)


def _task_folders() -> list[str]:
    import mobilenet_tf.tasks as package

    return list(package.__path__)


def _override(values: dict, item: str) -> None:
    key, separator, text = item.partition("=")
    if not separator or not key:
        raise UserError(f"an override must look like key=value, for instance train.batch_size=16. Received: {item}")
    key = config_aliases.KEYS.get(key) or migrations.current_key(key, values.get("task"))
    if key in config_aliases.OF_STAGES:
        config_aliases.set_all_stages(values, key, _number_or_text(text), Duration.parse)
        return
    value = _value(key, text, values.get("task", ""))
    *parents, last = key.split(".")
    node: Any = values
    for depth, part in enumerate(parents):
        node = _child(node, part, ".".join(parents[: depth + 1]), item)
    if isinstance(node, list):
        _child(node, last, key, item)
        node[int(last)] = value
    else:
        node[last] = value


def _value(key: str, text: str, task: str) -> Any:
    """The value of an override: the text as it stands where the key takes text or a path, else the YAML in it."""
    types = types_of(key, schema(task)) if key != "task" else {str}
    if text == "null" and type(None) in types:
        return None
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    is_text = types and types <= {str, Path, type(None)} or Path in types and not text.startswith("[")
    if is_text and not quoted:
        return text
    try:
        value = strict_yaml.parse(text)
    except (yaml.YAMLError, ValueError):  # ValueError: a number of thousands of digits, a date that does not exist
        raise UserError(f"the value of {key} must be valid YAML. Received: {text[:200]}") from None
    return _number(value) if isinstance(value, str) and not is_text else value  # YAML 1.1 reads 1e-3 as text


def _child(node: Any, part: str, path: str, item: str) -> Any:
    if isinstance(node, list):
        if not part.isdigit() or int(part) >= len(node):
            raise UserError(f"{path} must be an index from 0 to {len(node) - 1}. Received: {item}")
        return node[int(part)]
    child = node.setdefault(part, {})
    if not isinstance(child, dict | list):
        raise UserError(f"{path} is a single value, not a section. Received: {item}")
    return child


def _number_or_text(text: str) -> float | str:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text


def _number(text: str) -> float | str:
    try:
        return float(text) if re.fullmatch(r"[-+]?[0-9.]+e[-+]?[0-9]+", text, re.IGNORECASE) else text
    except ValueError:
        return text
