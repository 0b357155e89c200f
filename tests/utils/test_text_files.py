"""Text that other people made: encodings, bounds, and one line for each fault."""

import os
import tracemalloc

import pytest

from mobilenet_tf.utils import text_files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.text_files import (
    listed_file,
    read_json,
    read_lines,
    read_table,
    read_text,
    read_xml,
    table_rows,
)


def write(folder, data, name="file.txt"):
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"], ids=lambda name: name
)
def test_encodings_that_show_themselves(tmp_path, encoding):
    text = "path\tlabel\r\nbär.jpg\tdog\n"
    assert read_text(write(tmp_path, text.encode(encoding))) == text


def test_other_encodings_are_named_with_the_line_and_the_option(tmp_path):
    path = write(tmp_path, "dog\ncat\nbär\n".encode("cp1252"))
    with pytest.raises(UserError, match=r"file.txt, line 3 must be text in UTF-8.*0xe4.*data.encoding=cp1252"):
        read_text(path)
    assert read_lines(path, "cp1252") == ["dog", "cat", "bär"]
    with pytest.raises(UserError, match="in an encoding that Python knows. Received: utf-9"):
        read_text(path, "utf-9")


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    for name in ("pipe.txt", ".", "missing.txt", "a\0b"):
        with pytest.raises(UserError, match="must be a text file that can be read"):
            read_text(tmp_path / name)


def test_json_faults_have_their_place(tmp_path):
    with pytest.raises(UserError, match="line 2, column 1 must be JSON"):
        read_json(write(tmp_path, b'{"a": 1,\n}'))
    with pytest.raises(UserError, match="too deeply nested"):
        read_json(write(tmp_path, b"[" * 100_000))
    with pytest.raises(UserError, match="must be JSON of plain values"):
        read_json(write(tmp_path, b"1" * 10_000))
    assert read_json(write(tmp_path, b'\xef\xbb\xbf{"a": null}')) == {"a": None}


@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "iso-8859-1", "utf-8"])
def test_xml_in_the_encoding_it_declares(tmp_path, encoding):
    name = "Bär" if encoding == "iso-8859-1" else "狗"
    text = f'<?xml version="1.0" encoding="{encoding}"?>\n<a><name>{name}</name></a>'
    assert read_xml(write(tmp_path, text.encode(encoding))).findtext("name") == name


def test_xml_that_grows_or_is_none_is_refused(tmp_path):
    bomb = b'<!DOCTYPE a [<!ENTITY x "yyyy">]><a>&x;</a>'
    with pytest.raises(UserError, match="without entity declarations"):
        read_xml(write(tmp_path, bomb))
    with pytest.raises(UserError, match="must be XML"):
        read_xml(write(tmp_path, b"<a><b></a>"))
    with pytest.raises(UserError, match="encoding that Python knows"):
        read_xml(write(tmp_path, b'<?xml version="1.0" encoding="klingon"?><a/>'))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_of_any_spreadsheet(tmp_path, delimiter):
    text = f"path{delimiter} label \r\n\r\na.jpg{delimiter}dog\r\nb.jpg\r\n"
    path = write(tmp_path, text.encode())
    assert read_table(path, ["path", "label"]) == [
        (f"{path}, line 3", {"path": "a.jpg", "label": "dog"}),
        (f"{path}, line 4", {"path": "b.jpg", "label": ""}),
    ]


def test_tables_with_faults(tmp_path):
    with pytest.raises(UserError, match="each column once. Received: path"):
        read_table(write(tmp_path, b"path,label,path\n"))
    with pytest.raises(UserError, match="must have the columns path and label. Received: path, name"):
        read_table(write(tmp_path, b"path,name\n"), ["path", "label"])
    with pytest.raises(UserError, match="line 2 must have 2 cells, one a column. Received: 3"):
        read_table(write(tmp_path, b"path,label\na.jpg,dog,cat\n"))
    with pytest.raises(UserError, match="must be a row of a CSV table"):
        read_table(write(tmp_path, b'path,label\n"' + b"x" * 200_000 + b'",dog\n'))
    assert read_table(write(tmp_path, b"")) == []


def test_a_table_is_read_a_row_at_a_time_and_a_late_fault_has_its_line(tmp_path, monkeypatch):
    path = write(tmp_path, b"\n path,label\r\n" + b"a.jpg,dog\n" * 300_000 + b"b.jpg,d\xe9g\n" + b"a.jpg,dog\n" * 9)
    rows = table_rows(path, ["path"])
    assert next(rows) == (f"{path}, line 3", {"path": "a.jpg", "label": "dog"})
    tracemalloc.start()
    with pytest.raises(UserError, match=r"line 300003 must be text in UTF-8. Received: byte 0xe9 in '.*b.jpg,d"):
        for _ in rows:
            pass
    assert tracemalloc.get_traced_memory()[1] < len("a.jpg,dog\n") * 300_000
    tracemalloc.stop()
    monkeypatch.setattr(text_files, "MAX_LINE", 1000)
    with pytest.raises(UserError, match="must have lines of at most 1,000 characters. Received: more"):
        read_table(write(tmp_path, b"path\n" + b"x" * 2000))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_tables_in_other_encodings(tmp_path, encoding):
    path = write(tmp_path, "path,label\ra.jpg,Käfer\r".encode(encoding))
    given = {"encoding": encoding} if encoding == "cp1252" else {}
    assert read_table(path, ["path"], **given) == [(f"{path}, line 2", {"path": "a.jpg", "label": "Käfer"})]


@pytest.mark.parametrize("name", ["", " ", "missing.jpg", "a\0b", "x" * 5000, "."])
def test_files_that_a_list_names_must_exist(tmp_path, name):
    with pytest.raises(UserError, match="line 7: path must be a file that exists"):
        listed_file(name, tmp_path, "a.csv, line 7: path")
