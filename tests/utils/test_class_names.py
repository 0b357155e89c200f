"""Line breaks in class names, which would shift the labels of MediaPipe, are refused wherever names enter."""

import json

import pytest
import tensorflow as tf

from mobilenet_tf.data.label_files import check_class_names
from mobilenet_tf.data.source import Source
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.utils.class_names import check_characters
from mobilenet_tf.utils.errors import UserError

BAD = ("a\nb", "a\rb", "a\r\nb", "a\x1b[31mb", "a\0b", "a\x85b", "a\u2028b", "a\x0bb", "a\tb")
ENTRANCES = {
    "lists": lambda names: check_class_names(names, "data.classes"),
    "readers": lambda names: Source(tf.data.Dataset.range(1), lambda x: x, 1, list(names)),
    "model files": lambda names: Metadata("classification", list(names), (8, 8)),
    "metadata": lambda names: Metadata.from_json(
        json.dumps({"task": "classification", "input_size": [8, 8], "classes": names})
    ),
}


@pytest.mark.parametrize("entrance", ENTRANCES.values(), ids=ENTRANCES)
@pytest.mark.parametrize("name", BAD, ids=repr)
def test_line_breaks_and_control_characters_are_refused(entrance, name):
    with pytest.raises(UserError, match="must ") as caught:
        entrance(["cat", name])
    assert str(caught.value).isprintable() and "class 1" in str(caught.value)


def test_other_characters_are_left_alone():
    names = ["Löwchen", "柴犬", "a b", "👩‍🚀", "[red]", "=1", "ا\u200fب", ""]
    check_characters(names, "data.classes")
    for entrance in ("readers", "model files"):
        ENTRANCES[entrance](names)
