"""CelebA's own files: list_attr_celeba.txt, list_eval_partition.txt and img_align_celeba/ or its .zip.

The archive is unpacked beside itself.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from pathlib import Path

from mobilenet_tf.config import Split
from mobilenet_tf.data.images import is_image_file
from mobilenet_tf.data.source import Source, file_source
from mobilenet_tf.tasks.attributes.config import Data
from mobilenet_tf.tasks.attributes.data.values import choose, parse
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.file_kinds import WEB_PAGE, what_is
from mobilenet_tf.utils.progress import track
from mobilenet_tf.utils.text_files import read_lines
from mobilenet_tf.utils.zip_files import read_member

COUNT = re.compile("[0-9]{1,9}")
MAX_MEMBER_BYTES = 2**24  # an aligned image has some 10,000
PARTITIONS = {"train": 0, "validation": 1, "test": 2}  # in list_eval_partition.txt


def read(data: Data, split: Split, seed: int, size: int) -> Source:
    """The Source of a split, which CelebA's partition names."""
    root = data.path
    if not root.is_dir():
        raise UserError(f"data.root must be CelebA's folder. Received: {root}")
    attribute_file, partition_file = root / "list_attr_celeba.txt", root / "list_eval_partition.txt"
    known, rows = _attributes(attribute_file, data.encoding)
    indices = choose(known, data.attributes, attribute_file)
    partition = _partition(partition_file, data.encoding)
    if odd := sorted(set(rows) ^ set(partition)):
        raise UserError(
            f"{partition_file} must list the images of {attribute_file}. Received: {odd[0]} in one of them only"
        )
    names_of_split = [name for name in rows if partition[name] == PARTITIONS[split]]
    if not names_of_split:
        raise UserError(f"{partition_file} must have images for the split {split}. Received: none")
    folder = _image_folder(root)
    present = set(os.listdir(folder))
    if missing := [name for name in names_of_split if name not in present]:
        raise UserError(
            f"{folder} must have the images of {partition_file}. Received: {len(missing)} missing, {missing[0]} first"
        )
    attributes = [known[index] for index in indices]
    cells = [[rows[name][index] for index in indices] for name in names_of_split]
    values = parse(cells, attributes, [f"{attribute_file}, {name}" for name in names_of_split])
    paths = [folder / name for name in names_of_split]
    return file_source(paths, {"attributes": values}, attributes, on_corrupt=data.on_corrupt, rendering=data.rendering)


def _attributes(path: Path, encoding: str) -> tuple[list[str], dict[str, list[str]]]:
    """(names, {file: values}): a line with the number of files, one with the names, one a file."""
    lines = _lines(path, encoding)
    if len(lines) < 2 or len(lines[0]) != 1 or not COUNT.fullmatch(lines[0][0]):
        raise UserError(f"{path} must start with the number of images and a line of names. Received: other lines")
    (count,), names, *rows = lines
    if len(rows) != int(count):
        raise UserError(f"{path} must have as many rows as its first line says, {count}. Received: {len(rows)}")
    for number, row in enumerate(rows, 3):
        if len(row) != len(names) + 1:
            expected = f"a file name and {len(names)} values"
            raise UserError(f"{path}, line {number}: must have {expected}. Received: {max(0, len(row) - 1)} values")
    return names, {_plain_name(file, path): values for file, *values in rows}


def _plain_name(name: str, path: Path) -> str:
    if name != Path(name).name:  # it would lead out of the folder of the images
        raise UserError(f"{path} must name files of img_align_celeba/. Received: {name}")
    return name


def _partition(path: Path, encoding: str) -> dict[str, int]:
    """{file: 0, 1 or 2}."""
    partition = {}
    for number, row in enumerate(_lines(path, encoding), 1):
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            expected = "a file name and 0 (train), 1 (validation) or 2 (test)"
            raise UserError(f"{path}, line {number}: must have {expected}. Received: {' '.join(row)[:60] or 'nothing'}")
        partition[row[0]] = int(row[1])
    return partition


def _lines(path: Path, encoding: str) -> list[list[str]]:
    if not path.is_file():
        raise UserError(f"{path} must exist: it is one of CelebA's files. Received: no such file")
    _refuse_web_page(path)
    return [line.split() for line in read_lines(path, encoding)]


def _refuse_web_page(path: Path) -> None:
    if what_is(path) == WEB_PAGE:
        raise UserError(
            f"{path} must be CelebA's file. Received: a web page, as Google Drive sends when a file was downloaded too "
            "often or is too large for its virus scan; download it again, in a browser"
        )


def _image_folder(root: Path) -> Path:
    """The folder of images; an archive in its place is unpacked, all or nothing."""
    folder, archive = root / "img_align_celeba", root / "img_align_celeba.zip"
    if folder.is_dir():
        return folder
    if not archive.is_file():
        raise UserError(f"{root} must have img_align_celeba/ or img_align_celeba.zip. Received: neither")
    _refuse_web_page(archive)
    try:
        with zipfile.ZipFile(archive) as file, files.replacing(folder) as temporary:
            temporary.mkdir()
            members = [member for member in file.infolist() if is_image_file(member.filename)]
            for member in track(members, f"unpack {archive.name}"):
                (temporary / Path(member.filename).name).write_bytes(read_member(file, member, MAX_MEMBER_BYTES))
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:  # or with a password
        raise UserError(f"{archive} must be a whole zip archive; download it again. Received: {error}") from None
    return folder
