"""What a model file says of itself, and what becomes of it with what its user says: metadata or one clear question.

No TensorFlow here. Nothing is guessed: what neither the file nor its user says ends in a line that names the option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mobilenet_tf import config
from mobilenet_tf.config import Config
from mobilenet_tf.foreign.declaration import Declaration, Range
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.endings import SIGMOID
from mobilenet_tf.utils.errors import UserError

Shape = Sequence[int | None]

NO_DATA = Path("(not given)")  # the data.root in the config of a model whose data nobody named
READERS = {  # task -> the format of a data set that is given by its place alone
    "classification": "folder",
    "attributes": "csv",
    "embedding": "folder",
    "segmentation": "folder",
    "detection": "coco",
}
RANKS = {"classification": 2, "attributes": 2, "embedding": 2, "segmentation": 4}  # of the outputs, the batch included


@dataclass(frozen=True)
class Facts:
    """What a model file says of itself.

    outputs: the shapes of its outputs by name, batch first. rescales: whether it takes 0..255 and rescales inside.
    range, ends_in, classes, class_count, task: where it says them.
    """

    name: str
    input_shape: Shape
    outputs: Mapping[str, Shape]
    rescales: bool = False
    range: Range | None = None
    ends_in: str | None = None
    classes: Sequence[str] = ()
    class_count: int | None = None
    task: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # keys of the config that the file determines


@dataclass(frozen=True)
class Description:
    """A model of others as this package sees it. `cfg` holds its task's preprocessing."""

    cfg: Config
    classes: list[str]
    range: Range
    ends_in: str
    is_binary: bool  # whether its one output is the second of two classes

    @property
    def metadata(self) -> Metadata:
        """What a file of the model carries, once it takes 0..255 and has an output for each class."""
        ends_in = "softmax" if self.is_binary and self.ends_in == SIGMOID.name else self.ends_in
        return Metadata(
            task=self.cfg.task,
            classes=self.classes,
            input_size=self.cfg.model.input_size,
            config=self.cfg.to_dict(),
            outputs=ends_in,
        )


def describe(
    facts: Facts,
    declaration: Declaration,
    overrides: Sequence[str] = (),
    *,
    classes_of: Callable[[Config], Sequence[str]] | None = None,
) -> Description:
    """Joins what a file says with what its user says.

    Args:
        overrides: changes to the config, such as "data.root=FOLDER".
        classes_of: the classes of the data set that a config names, which are the model's where nobody says others.

    Raises:
        UserError: something is missing, or the two contradict each other. The line names the option.
    """
    _check_image(facts)
    task = declaration.task or facts.task or _task_of(facts)
    size = _size(facts, declaration)
    width = _width(facts, task)
    ends_in = _ends_in(facts, declaration, task)
    is_binary = task in ("classification", "segmentation") and width == 1
    count = None if task == "embedding" else 2 if is_binary else width
    values: dict[str, Any] = {
        "task": task,
        "model": {"input_size": list(size), "weights": None},
        "data": {"reader": READERS[task], "root": str(NO_DATA)},
        "train": {"stages": [{"learning_rate": 0.01}]},
    }
    for key, value in facts.settings.items():
        section, _, name = key.rpartition(".")
        (values.setdefault(section, {}) if section else values)[name] = value
    cfg = config.override(values, list(overrides), facts.name)
    classes = [] if task == "embedding" else _classes(facts, declaration, count, cfg, classes_of)
    return Description(cfg, classes, _range(facts, declaration), ends_in, is_binary)


def _classes(facts, declaration, count, cfg, classes_of) -> list[str]:
    suggested = facts.classes
    if declaration.classes is None and not suggested and classes_of and cfg.data.root != NO_DATA:
        suggested = classes_of(cfg)
    return declaration.class_names(count, suggested)


def _check_image(facts: Facts) -> None:
    """The input is an image with its channels last, in color or gray."""
    shape = list(facts.input_shape)
    if len(shape) == 4 and shape[-1] in (1, 3):
        return
    hint = ""
    if len(shape) == 4 and shape[1] in (1, 3):
        hint = "; this one has its channels first"
    elif len(shape) in (2, 3):
        hint = "; this one takes vectors or sequences"
    wanted = [None if size is None else int(size) for size in shape]
    raise UserError(f"{facts.name} must take images [N, height, width, 3 or 1]{hint}. Received: {_shape(wanted)}")


def _task_of(facts: Facts) -> str:
    shapes = list(facts.outputs.values())
    if len(shapes) == 1 and len(shapes[0]) == 2:
        return "classification"
    outputs = ", ".join(f"{name} {_shape(shape)}" for name, shape in facts.outputs.items())
    raise UserError(
        f"--task must say what {facts.name} is for, such as segmentation for a class for every pixel, since its "
        f"outputs are not those of a classifier, [N, classes]. Received: {outputs}"
    )


def _width(facts: Facts, task: str) -> int | None:
    """The number of values for each image or pixel, or of a detector's classes where its outputs tell.

    Raises UserError for other outputs.
    """
    shapes = list(facts.outputs.values())
    if facts.class_count is not None:
        return facts.class_count
    if task not in RANKS:
        logits = facts.outputs.get("class_logits")
        return None if logits is None or logits[-1] is None else logits[-1] - 1  # the first one is the background
    if len(shapes) != 1 or len(shapes[0]) != RANKS[task] or shapes[0][-1] is None:
        wanted = "[N, height, width, classes]" if RANKS[task] == 4 else "[N, values]"
        outputs = ", ".join(f"{name} {_shape(shape)}" for name, shape in facts.outputs.items())
        raise UserError(f"{facts.name} must have one output {wanted} for {task}. Received: {outputs}")
    return shapes[0][-1]


def _size(facts: Facts, declaration: Declaration) -> tuple[int, int]:
    height, width = facts.input_shape[1:3]
    if height is None or width is None:
        if declaration.size is None:
            raise UserError(
                f"--size must give the size of the images in pixels, such as 224 or 224x320: {facts.name} takes any. "
                "Received: none"
            )
        return declaration.size
    if declaration.size not in (None, (height, width)):
        asked = "x".join(map(str, declaration.size or ()))
        raise UserError(f"--size must be that of {facts.name}, {height}x{width}. Received: {asked}")
    return height, width


def _ends_in(facts: Facts, declaration: Declaration, task: str) -> str:
    if task == "detection":
        return facts.ends_in or "raw"
    if task == "embedding":
        return "embedding"
    said, found = declaration.ends_in, facts.ends_in
    if said and found and said != found:
        raise UserError(f"--ends-in must be {found}, which {facts.name} ends in. Received: {said}")
    ends_in = said or found
    if ends_in is None:
        raise UserError(
            f"--ends-in must say what the outputs of {facts.name} are, since it does not: logits, softmax or sigmoid. "
            "Received: none"
        )
    return ends_in


class MissingRangeError(UserError):
    """Neither the file nor its user says what the network takes; the caller adds what it answers under each."""


def _range(facts: Facts, declaration: Declaration) -> Range:
    said = None if declaration.input_range is None else Range.parse(declaration.input_range)
    known = Range() if facts.rescales else facts.range
    if said is not None:
        if known is not None and known != said:
            inside = "rescales 0..255 inside" if facts.rescales else "says another range itself"
            raise UserError(
                f"--input-range must be left out for {facts.name}, which {inside}: rescaled twice, it would see other "
                f"images. Received: {declaration.input_range}"
            )
        return said
    if known is None:
        raise MissingRangeError(
            f"--input-range must say what {facts.name} takes, such as 0..255, -1..1, 0..1 or torch: it does not say "
            "so and rescales nothing itself. Received: none"
        )
    return known


def _shape(shape: Shape) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
