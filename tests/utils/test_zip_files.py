"""Zip archives of strangers: what is too large, of another method or damaged is one line, and is never inflated."""

import zipfile

import pytest

from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.zip_files import check_total, open_zip, read_member


def archive(path, method=zipfile.ZIP_DEFLATED, size=10**6):
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("zeros", bytes(size))
        file.writestr("text", "hello")
    return path


def test_members_are_read_up_to_a_limit(tmp_path):
    with open_zip(archive(tmp_path / "a.zip")) as file:
        assert read_member(file, "text", 5) == b"hello"
        assert len(read_member(file, file.getinfo("zeros"), 10**6)) == 10**6
        with pytest.raises(
            UserError, match=r"^zeros in .*a\.zip must hold at most 999,999 bytes\. Received: 1,000,000$"
        ):
            read_member(file, "zeros", 10**6 - 1)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_inflate_without_a_limit_are_refused(tmp_path, method):
    with (
        open_zip(archive(tmp_path / "a.zip", method)) as file,
        pytest.raises(UserError, match="stored or deflated"),
    ):
        read_member(file, "text", 5)


def test_a_size_that_lies_inflates_no_more_than_it_says(tmp_path):
    path = archive(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes().replace((10**6).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    with pytest.raises(UserError, match="whole zip archive"), open_zip(path) as file:
        read_member(file, "zeros", 100)


def test_bombs_are_known_by_their_ratio(tmp_path):
    with (
        open_zip(archive(tmp_path / "a.zip", size=2**26)) as file,
        pytest.raises(UserError, match="inflate to at most"),
    ):
        check_total(file)
    with open_zip(archive(tmp_path / "b.zip", size=2**20)) as file:
        check_total(file)


@pytest.mark.parametrize("cut", [0, 3, 40, -30, -4])
def test_damaged_archives_are_one_line(tmp_path, cut):
    path = archive(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"a\.zip must be a whole zip archive\. Received: "), open_zip(path) as file:
        read_member(file, "text", 5)


def test_encrypted_members_are_one_line(tmp_path):
    path = archive(tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="encrypted"), open_zip(path) as file:
        read_member(file, "zeros", 10**7)
