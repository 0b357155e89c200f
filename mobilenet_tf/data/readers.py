"""How a task finds its readers: `data.reader=NAME` is read by the function `read` of the module NAME in its data/.

A reader is a function (data, split, seed, size) -> Source, where `data` is the task's Data section with all options,
`split` one of `splits.SPLITS`, `seed` that of the experiment and `size` the side of built-in scenes in pixels.
A new reader is therefore such a module, and its name in the Literal `Data.reader` of the task's config.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, get_args

from mobilenet_tf.config import Data


def reader_table(package: str, section: type[Data]) -> dict[str, Callable[..., Any]]:
    """{name: its reader} for every name that `data.reader` may have.

    Args:
        package: the task's `data` package, such as mobilenet_tf.tasks.detection.data.
        section: the task's Data section, whose `reader` is a Literal of names.
    """
    names = get_args(section.model_fields["reader"].annotation)
    return {name: importlib.import_module(f"{package}.{name}").read for name in names}
