"""The arguments and options that several commands have, and what they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilenet_tf.inference.formats import KINDS, suffixes
from mobilenet_tf.utils.errors import UserError

if TYPE_CHECKING:
    from mobilenet_tf.foreign.declaration import Declaration

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Overrides of config values, such as train.batch_size=16."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
THREADED = " and ".join(kind.suffix for kind in KINDS.values() if kind.threads)
Threads = Annotated[
    int | None, typer.Option(min=1, help=f"Number of threads for {THREADED} models. Default: all cores.")
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Open a SavedModel even if its graph reads or writes files, runs Python or uses the network."
    ),
]
# What a model of others does not say itself
TaskName = Annotated[
    str | None,
    typer.Option("--task", help="For a model of others: classification, attributes, embedding or segmentation."),
]
Classes = Annotated[
    str | None,
    typer.Option(help="For a model of others: a file with the class names, one a line, or numbered for plain numbers."),
]
InputRange = Annotated[
    str | None,
    typer.Option(help="For a model of others: what it takes, such as 0..255, -1..1, 0..1, torch or caffe."),
]
EndsIn = Annotated[
    str | None, typer.Option(help="For a model of others: what its outputs are, logits, softmax or sigmoid.")
]
ImageSize = Annotated[
    str | None, typer.Option("--size", help="For a model of others that takes any: pixels, such as 224 or 224x320.")
]
WeightsOf = Annotated[
    str | None, typer.Option("--weights", help="For the name of a network: imagenet, or a .h5 file with its weights.")
]
Architecture = Annotated[
    str | None,
    typer.Option(
        help="For a checkpoint of PyTorch: torchvision's or timm's name of what it holds, such as mobilenet_v3_large."
    ),
]
DataRoot = Annotated[Path | None, typer.Option("--data", help="The data set to score on; the same as data.root=PATH.")]
Calibration = Annotated[
    Path | None,
    typer.Option(help="A folder of images for int8 to be calibrated on; the same as export.calibration=PATH."),
]


def _config_names(incomplete: str) -> list[str]:
    """What a shell offers for the name of a config."""
    from mobilenet_tf import config

    return [name for name in config.shipped() if name.startswith(incomplete)]


ConfigName = Annotated[
    str,
    typer.Argument(
        help="The name of a shipped config or the path of a YAML file.", metavar="config", autocompletion=_config_names
    ),
]
ModelPath = Annotated[Path, typer.Argument(help=f"A run folder, a SavedModel or a {suffixes()} file.")]


def declaration(
    task: str | None,
    classes: str | None,
    input_range: str | None,
    ends_in: str | None,
    size: str | None,
    weights: str | None = None,
    architecture: str | None = None,
) -> Declaration:
    """What the options say of a model of others. Raises UserError where a size is none."""
    from mobilenet_tf.foreign.declaration import Declaration

    pixels = numbers(size, "x", "--size", (1, 2)) if size else None
    return Declaration(
        task=task,
        classes=Path(classes) if classes else None,
        input_range=input_range,
        ends_in=ends_in,
        size=(pixels[0], pixels[-1]) if pixels else None,
        weights=weights,
        architecture=architecture,
    )


def with_paths(overrides: Sequence[str] | None, data: Path | None, calibration: Path | None = None) -> list[str]:
    """The overrides, with those that stand for --data and --calibration in front."""
    given = {"data.root": data, "export.calibration": calibration}
    return [*(f"{key}={path}" for key, path in given.items() if path is not None), *(overrides or ())]


def numbers(text: str, separator: str, option: str, counts: tuple[int, ...]) -> list[int]:
    """The whole numbers in an option such as 224x320. counts: how many there may be. Raises UserError."""
    parts = text.split(separator)
    if len(parts) not in counts or not all(part.isdigit() and int(part) for part in parts):
        wanted = " or ".join(separator.join(["N"] * count) for count in counts)
        raise UserError(f"{option} must look like {wanted} with whole numbers above 0. Received: {text}")
    return [int(part) for part in parts]
