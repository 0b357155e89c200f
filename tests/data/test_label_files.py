"""Files of class names: one a line, in the order of the labels."""

import pytest

from mobilenet_tf.data.label_files import check_class_count, check_class_names, read_class_names
from mobilenet_tf.utils.errors import UserError


def test_names_come_in_the_order_of_their_lines_without_blanks(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("\ufeffdog \n\n  traffic light\ncat", encoding="utf-8")
    assert read_class_names(path) == ["dog", "traffic light", "cat"]


@pytest.mark.parametrize(
    "content, message",
    [
        (None, "labels.txt must be a text file that can be read. Received: No such file"),
        (b"caf\xe9", "labels.txt, line 1 must be text in UTF-8. Received: byte 0xe9"),
        (b" \n", "labels.txt must name the classes, one a line. Received: no name"),
        (b"a\nb\na\n", "labels.txt must name each class once. Received: a more than once"),
    ],
)
def test_unusable_files_are_one_line(tmp_path, content, message):
    path = tmp_path / "labels.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_class_names(path)
    assert "\n" not in str(error.value)


def test_the_number_of_classes_is_checked():
    assert check_class_count(("a", "b"), "labels") == ["a", "b"]
    with pytest.raises(UserError, match="^labels must have at least two classes. Received: a$"):
        check_class_count(["a"], "labels")
    with pytest.raises(UserError, match="^labels must have at most 2 classes. Received: 3$"):
        check_class_count(["a", "b", "c"], "labels", most=2)
    with pytest.raises(UserError, match="^data.classes must name each class once. Received: a more than once$"):
        check_class_names(["a", " a"], "data.classes")
