"""What lies in a folder that a reader cannot use, for messages."""

from __future__ import annotations

from pathlib import Path

from mobilenet_tf.data import tree
from mobilenet_tf.data.walk import files_with

READERS = {".xml": "voc", ".yaml": "yolo", ".txt": "yolo", ".json": "coco, labelme or label_studio"}  # by suffix


def contents(folder: Path, reader: str) -> str:
    """What lies in a folder, as `tree.contents` tells it, and which other reader that is for."""
    for suffix, other in READERS.items():
        if reader not in other and files_with(folder, [suffix]):
            return f"{tree.contents(folder)}; {suffix} files below it: data.reader={other}?"
    return tree.contents(folder)
