"""What the readers of data sets on disk share: the folders and files that must exist, and the class names."""

from __future__ import annotations

from pathlib import Path

from mobilenet_tf.data.label_files import check_class_count, check_class_names, read_class_names
from mobilenet_tf.data.transforms import IGNORE
from mobilenet_tf.data.walk import is_hidden
from mobilenet_tf.utils.errors import UserError


def check_folder(root: Path) -> Path:
    """The folder of the data set. Raises UserError where it does not exist."""
    if not root.is_dir():
        raise UserError(f"data.root must be a folder that exists. Received: {root}")
    return root


def check_file(path: Path) -> Path:
    """A file that the layout has. Raises UserError where it does not exist."""
    if not path.is_file():
        raise UserError(f"{path} must exist, as this layout has it. Received: no such file")
    return path


def visible(folder: Path) -> dict[str, Path]:
    """{name in lower case: path} of what is in a folder, without what is hidden or of the system."""
    found = {path.name.casefold(): path for path in sorted(folder.iterdir(), reverse=True)}
    return {name: found[name] for name in sorted(found) if not is_hidden(name)}


def read_classes(classes: list[str] | Path, encoding: str) -> list[str]:
    """The names in `data.classes`, a list or a file of them."""
    if isinstance(classes, list):
        return check_class_names(classes, "data.classes")
    return read_class_names(classes, encoding)


def class_names(classes: list[str] | Path, encoding: str) -> list[str]:
    """The same, from 2 to 255 of them: the value 255 of a mask is none."""
    where = "data.classes" if isinstance(classes, list) else classes
    return check_class_count(read_classes(classes, encoding), where, most=IGNORE)
