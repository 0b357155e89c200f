"""Sections of a config as a YAML file gives them, for tests of what takes them."""

from __future__ import annotations

import importlib
from pathlib import Path

from mobilenet_tf import config
from mobilenet_tf.data.source import Source


def data_section(task: str, **keys) -> config.Data:
    """The Data section of a task, checked like that of a config file. Raises UserError."""
    values = {"task": task, "data": keys, "train": {"stages": [{"learning_rate": 0.1}]}}
    return config.schema(task).parse(values).data


def reader_of(task: str):
    """read(reader, root, split, seed=0, size=96, **keys of the Data section) -> the Source of the task's split."""

    def read(reader: str, root: str | Path | None, split: str, *, seed: int = 0, size: int = 96, **keys) -> Source:
        data = importlib.import_module(f"mobilenet_tf.tasks.{task}.data")
        return data.read(data_section(task, reader=reader, root=root, **keys), split, seed=seed, size=size)

    return read
