"""CSV files of images with one label each."""

import numpy as np
import pytest
from PIL import Image

from mobilenet_tf.data.image_lists import LabeledFile, read_csv
from mobilenet_tf.utils.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a" / "1.png")
    return tmp_path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_spreadsheets(folder, encoding, delimiter):
    path = folder / "t.csv"
    rows = [["path", "label", "split"], ["a/1.png", " Bär ", "Test"], [r"a\1.png", "Hund", ""]]
    path.write_text("\r\n".join(delimiter.join(row) for row in rows), encoding=encoding)
    image = folder / "a" / "1.png"
    assert read_csv(path) == [LabeledFile(image, "Bär", "test"), LabeledFile(image, "Hund", None)]


def test_another_encoding_is_an_option(folder):
    path = folder / "t.csv"
    path.write_text("path,label\na/1.png,Bär\n", encoding="cp1252")
    with pytest.raises(UserError, match="t.csv, line 2 must be text in UTF-8.*data.encoding=cp1252"):
        read_csv(path)
    assert read_csv(path, encoding="cp1252")[0].label == "Bär"


@pytest.mark.parametrize(
    "row, message",
    [
        ("a/2.png,dog", "line 2: path must be a file that exists. Received: .*a/2.png"),
        ("a/1.png\0,dog", "line 2"),
        ("a/1.png,", "line 2: label must not be empty"),
        ("a/1.png,dog,cat", "line 2 must have 2 cells, one a column. Received: 3"),
        (",dog", "line 2: path must be a file that exists. Received: nothing"),
    ],
)
def test_faults_have_file_and_line(folder, row, message):
    (folder / "t.csv").write_text(f"path,label\n{row}\n")
    with pytest.raises(UserError, match=message):
        read_csv(folder / "t.csv")
