"""Damaged files of every reader of annotations: each is read, or is one line that says what is wrong."""

import json
import random
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import test_detection_tools as tools
import test_detection_voc as voc
import test_detection_yolo as yolo
from detection_sets import examine

from mobilenet_tf.utils.errors import UserError

COUNT = 60  # damaged files of each data set
TOKENS = (
    b"nan", b"NaN", b"Infinity", b"1e999", b"-1", b"null", b"true", b"[]", b"{}", b'""', b"\xff\xfe", b"\x00", b"<",
    b">", b"\xef\xbb\xbf", b"9" * 30, b"&lt;", b"\n", b"\r", b",", b":", b"- ", b"../", b"/", b"~", b"\\", b"1_0",
    b"\xa0", b"%00", b"\xe2\x80\xa8", b"!!python/name:os.system", b"&a [*a,*a]", b"2020-13-45", b"a" * 300,
    b"\xf0\x9f\x98\x80",
)  # fmt: skip
VALUES = (
    None, True, -1, 0, 1e300, float("nan"), float("inf"), 10**30, "", "x", "1", "\x00", "a\nb", "\ud800", [], {}, [[]],
    [None], {"a": 1}, "../../etc/hosts", "x" * 300,
)  # fmt: skip


def voc_lists(root: Path) -> list[Path]:
    voc.SPLIT_LAYOUTS["lists with columns"](root)
    return [*(root / "Annotations").iterdir(), *root.rglob("*.txt")]


def voc_folders(root: Path) -> list[Path]:
    voc.SPLIT_LAYOUTS["Roboflow"](root)
    return list(root.rglob("*.xml"))


def yolo_table(root: Path) -> list[Path]:
    yolo.roboflow(
        root, "path: .\ntrain: train/images\nval: valid/images\nnames: {0: cat, 1: dog}\nkpt_shape: [2, 3]\nnc: 2\n"
    )
    return [*root.rglob("*.txt"), *[root / "data.yaml"] * 6]


def darknet(root: Path) -> list[Path]:
    yolo.darknet(root)
    return [*root.rglob("*.txt"), *[root / "obj.data", root / "obj.names"] * 2]


def labelme(root: Path) -> list[Path]:
    tools.labelme_set(root, *(shape for shape, _ in tools.SHAPES.values()), names="abc")
    return list(root.glob("*.json"))


def label_studio(root: Path) -> list[Path]:
    for number in range(1, 4):
        tools.image(root / f"{number}.jpg")
    regions = [region for region, _ in tools.REGIONS.values()]
    return [tools.write_studio(root, *(tools.task(number, *regions) for number in range(1, 4))) / "export.json"]


def openimages(root: Path) -> list[Path]:
    for name in ("train/a", "train/b", "validation/c"):
        tools.image(root / f"{name}.jpg")
    tools.write_openimages(root, train=tools.row("a") + tools.row("b"), validation=tools.row("c"))
    return list(root.glob("*.csv"))


SETS: dict[str, tuple[str, Callable[[Path], list[Path]]]] = {
    "voc, lists": ("voc", voc_lists), "voc, folders": ("voc", voc_folders), "yolo": ("yolo", yolo_table),
    "darknet": ("yolo", darknet), "labelme": ("labelme", labelme), "label_studio": ("label_studio", label_studio),
    "openimages": ("openimages", openimages),
}  # fmt: skip


def damaged(data: bytes, draw: random.Random) -> bytes:
    """The bytes with something changed, put in, left out or repeated; or another value or word in its place."""
    kind, start = draw.randrange(6), draw.randrange(len(data) + 1)
    if kind < 3 and data[:1] in (b"{", b"["):
        return json.dumps(with_other_value(json.loads(data), draw)).encode()
    if kind < 3:
        words = list(re.finditer(rb"<[^>]*>|[\w./-]+", data)) or [re.match(b"", data)]
        word = draw.choice(words)
        assert word
        return data[: word.start()] + draw.choice((b"", *TOKENS)) + data[word.end() :]
    end = start + draw.randrange(30)
    put = {3: draw.choice(TOKENS), 4: bytes([draw.randrange(256)]), 5: data[start:end] * 2}[kind]
    return data[:start] + put + data[draw.choice((start, end, len(data))) :]


def with_other_value(content: Any, draw: random.Random) -> Any:
    """The content with one value, anywhere in it, left out or replaced."""
    places = list(walk(content))
    parent, key = draw.choice(places)
    if draw.random() < 0.2:
        del parent[key]
    else:
        parent[key] = draw.choice(VALUES)
    return content


def walk(content: Any):
    keys = range(len(content)) if isinstance(content, list) else list(content) if isinstance(content, dict) else ()
    for key in keys:
        yield content, key
        yield from walk(content[key])


@pytest.mark.parametrize("name", SETS)
def test_damaged_files_are_read_or_one_line(tmp_path, name):
    reader, write = SETS[name]
    files = write(tmp_path)
    whole = {file: file.read_bytes() for file in files}
    draw, read = random.Random(7), 0
    for number in range(COUNT):
        file = draw.choice(files)
        file.write_bytes(damaged(whole[file], draw))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                examine(reader, tmp_path, ("train", "validation")[number % 2])
            read += 1
        except UserError as error:
            assert "\n" not in str(error), file.read_bytes()
        file.write_bytes(whole[file])
    assert 0 < read < COUNT
