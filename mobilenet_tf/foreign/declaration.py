"""What the user of a model file says about it, where the file does not say it itself. No TensorFlow here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from mobilenet_tf.inference.endings import SHARED
from mobilenet_tf.models.specs import IMAGENET_MEAN, IMAGENET_STD
from mobilenet_tf.utils.class_names import check_characters, unique
from mobilenet_tf.utils.errors import UserError, short, some
from mobilenet_tf.utils.text_files import read_json, read_lines

Ending = Literal["logits", "softmax", "sigmoid"]
ENDINGS: tuple[str, ...] = get_args(Ending)
TASKS = ("classification", "attributes", "embedding", "segmentation", "detection")
MAX_CATEGORY = 10_000
NUMBERED = "numbered"  # instead of a file with class names: the numbers from 0
GRAY = (0.299, 0.587, 0.114)  # the shares of red, green and blue, ITU-R BT.601, as Pillow has them
CAFFE_MEAN = (103.939, 116.779, 123.68)  # of blue, green and red in 0..255; keras.applications' ResNet and VGG
CANDIDATES = ("0..255", "-1..1", "0..1", "torch", "caffe")  # the ranges that networks are commonly trained with

assert set(SHARED) == set(ENDINGS)


@dataclass(frozen=True)
class Range:
    """What a network takes instead of 0..255: `scale * image + offset`, each one number or one a channel.

    is_bgr: the channels are swapped first, as networks trained with Caffe want them.
    """

    scale: tuple[float, ...] = (1.0,)
    offset: tuple[float, ...] = (0.0,)
    is_bgr: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether the network takes 0..255."""
        return not self.is_bgr and set(self.scale) == {1.0} and set(self.offset) == {0.0}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Images in 0..255 [..., 3] -> what the network takes, float32."""
        images = np.asarray(images, np.float32)
        images = images[..., ::-1] if self.is_bgr else images
        return images * np.array(self.scale, np.float32) + np.array(self.offset, np.float32)

    @classmethod
    def parse(cls, text: str) -> Range:
        """Reads `0..255`, `-1..1`, `0..1`, any `LOW..HIGH`, `torch` or `caffe`. Raises UserError for others."""
        if text == "torch":
            return cls.normalized(IMAGENET_MEAN, IMAGENET_STD)
        if text == "caffe":
            return cls((1.0,), tuple(-mean for mean in CAFFE_MEAN), is_bgr=True)
        number = r"[+-]?(?:\d+\.?\d*|\.\d+)"
        match = re.fullmatch(rf"\s*({number})\s*\.\.\s*({number})\s*", text)
        low, high = map(float, match.groups()) if match else (0.0, 0.0)
        if low >= high:
            raise UserError(
                "--input-range must be what the network takes for black and white, such as 0..255, -1..1 or 0..1; or "
                "torch for ImageNet's mean and standard deviation, caffe for BGR without ImageNet's mean. "
                f"Received: {text}"
            )
        return cls(((high - low) / 255,), (low,))

    @classmethod
    def normalized(cls, mean: Sequence[float], std: Sequence[float]) -> Range:
        """The range of networks that subtract a mean from images in 0..1 and divide by a deviation, by channel."""
        scale = tuple(1 / (255 * deviation) for deviation in std)
        return cls(scale, tuple(-average / deviation for average, deviation in zip(mean, std, strict=True)))


@dataclass(frozen=True)
class Declaration:
    """What is said of a model file; None where nothing is said.

    task: what the network is for. classes: a file with a name a line, COCO annotations, whose ids count, the names
    themselves, or "numbered".
    input_range: see `Range.parse`. ends_in: logits, softmax or sigmoid. size: (height, width) of the images.
    weights: for the name of a network, "imagenet" or a file. architecture: what a checkpoint of PyTorch holds.
    """

    task: str | None = None
    classes: Path | Sequence[str] | None = None
    input_range: str | None = None
    ends_in: str | None = None
    size: tuple[int, int] | None = None
    weights: str | None = None
    architecture: str | None = None

    def __post_init__(self):
        for option, value, known in (("--task", self.task, TASKS), ("--ends-in", self.ends_in, ENDINGS)):
            if value is not None and value not in known:
                raise UserError(f"{option} must be {', '.join(known[:-1])} or {known[-1]}. Received: {value}")
        if self.input_range is not None:
            Range.parse(self.input_range)

    def given(self) -> list[str]:
        """The options that say something, as the command line calls them."""
        return [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None]

    def class_names(self, count: int | None, suggested: Sequence[str] = ()) -> list[str]:
        """The class names: those that are said, or else those that the file or its data suggest.

        Raises UserError where there are none, or not `count` (None: any number).
        """
        names = list(suggested) if self.classes is None else self._said(count)
        if not names:
            wanted = "the classes" if count is None else f"the {count} classes"
            raise UserError(
                f"--classes must give {wanted} of the network: a file with a name a line, in the order of the outputs, "
                f"or {NUMBERED} for plain numbers. Received: none"
            )
        if count is not None and len(names) != count:
            raise UserError(
                f"--classes must name the {count} classes that the network has outputs for. "
                f"Received: {len(names)}, {some(names)}"
            )
        return names

    def _said(self, count: int | None) -> list[str]:
        if isinstance(self.classes, str | Path):
            if str(self.classes) == NUMBERED:
                return [str(number) for number in range(count or 0)]
            if Path(self.classes).suffix == ".json":
                return _of_categories(read_json(self.classes), self.classes)
            names = _without_numbers([line for line in read_lines(self.classes, option=None) if line])
        else:
            names = list(self.classes or ())
        check_characters(names, "--classes")
        return unique(names)  # ImageNet has two cranes


def _of_categories(annotations: Any, path: str | Path) -> list[str]:
    """The names of COCO's categories by their ids from 1; numbers that COCO does not use have a name of their own."""
    entries = annotations.get("categories") if isinstance(annotations, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path} must be COCO annotations with categories. Received: none")
    names: dict[int, str] = {}
    for entry in entries:
        number, name = (entry.get("id"), entry.get("name")) if isinstance(entry, dict) else (None, None)
        if type(number) is not int or not 1 <= number <= MAX_CATEGORY or not isinstance(name, str):
            raise UserError(f"{path} must have categories with an id from 1 and a name. Received: {short(entry)}")
        names[number] = name
    return unique([names.get(number, f"unused {number}") for number in range(1, max(names) + 1)])


def _without_numbers(names: list[str]) -> list[str]:
    """Returns the names without the numbers from 0 that Teachable Machine writes before them: "0 Class 1"."""
    parts = [name.partition(" ") for name in names]
    numbered = all(first == str(number) and last for number, (first, _, last) in enumerate(parts))
    return [last.strip() for _, _, last in parts] if numbered else names
