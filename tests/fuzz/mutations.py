"""Seeded damage to files: what disks, downloads, editors and other people's tools do to them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

Mutation = Callable[[bytes, random.Random], bytes]

NUMBERS = ["-1", "0", "1e400", "NaN", "-Infinity", "1e9", "4294967296", "-0.5", "0x10", "1,5", "9" * 400, "", "null"]
WORDS = [
    "",
    "null",
    "true",
    "..",
    "/",
    "../../x",
    "a" * 300,
    "\u202e",
    "=1+1",
    "[red]",
    "<b>",
    "\x1b[31m",
    "ä" * 3,
    "%s",
]
VALUES: list[Any] = [None, True, -1, 0, 10**9, 2**70, 1.5, float("nan"), float("inf"), "", "x", "7", "\x00", [], [[]],
                     {}, {"a": {}}, [None], [1, 2, 3, 4, 5], "x" * 10_000]  # fmt: skip
ENCODINGS = ["utf-16", "utf-8-sig", "latin-1", "cp1252", "utf-32"]


def flip(data: bytes, rng: random.Random) -> bytes:
    """Other bits in one to eight bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def truncate(data: bytes, rng: random.Random) -> bytes:
    """The beginning alone, perhaps nothing."""
    return data[: rng.randrange(len(data) + 1)]


def cut(data: bytes, rng: random.Random) -> bytes:
    """A piece in the middle is gone."""
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.randrange(1, 200) :]


def repeat(data: bytes, rng: random.Random) -> bytes:
    """A piece comes again and again."""
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.randrange(1, 100)]
    return data[:start] + piece * rng.choice([2, 3, 50]) + data[start:]


def insert(data: bytes, rng: random.Random) -> bytes:
    """Bytes of chance, zeros or a byte order mark in between."""
    start = rng.randrange(len(data) + 1)
    piece = rng.choice(
        [rng.randbytes(rng.randrange(1, 30)), bytes(rng.randrange(1, 2000)), b"\xef\xbb\xbf", b"\xff\xfe"]
    )
    return data[:start] + piece + data[start:]


def replace_number(data: bytes, rng: random.Random) -> bytes:
    """Another number in place of one, or something that is none."""
    return _replace(data, rng, rb"-?\d+(\.\d+)?", NUMBERS)


def replace_word(data: bytes, rng: random.Random) -> bytes:
    """Another word in place of one."""
    return _replace(data, rng, rb"[A-Za-z_]{2,}", WORDS)


def _replace(data: bytes, rng: random.Random, pattern: bytes, values: list[str]) -> bytes:
    found = list(re.finditer(pattern, data))
    if not found:
        return data
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(values).encode("utf-8", "surrogatepass") + data[match.end() :]


def change_lines(data: bytes, rng: random.Random) -> bytes:
    """A line is gone, comes twice or elsewhere, or ends as on another system."""
    lines = data.split(b"\n")
    index = rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        del lines[index]
    elif change == 1:
        lines.insert(rng.randrange(len(lines) + 1), lines[index])
    elif change == 2:
        lines[index] = lines[index][: rng.randrange(len(lines[index]) + 1)]
    return (b"\r" if change == 3 else b"\n").join(lines)


def encode(data: bytes, rng: random.Random) -> bytes:
    """The same text in another encoding, with letters outside of ASCII."""
    return (data.decode("utf-8", "replace") + "é").encode(rng.choice(ENCODINGS), "replace")


def change_json(data: bytes, rng: random.Random) -> bytes:
    """One value anywhere in a JSON document is another one or gone."""
    try:
        document = json.loads(data)
    except ValueError:
        return flip(data, rng)
    places = list(_places(document))
    if not places:
        return b"[]"
    parent, key = rng.choice(places)
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = rng.choice(VALUES)
    return json.dumps(document).encode()


def _places(node: Any):
    for key, value in list(node.items()) if isinstance(node, dict) else enumerate(node):
        yield node, key
        if isinstance(value, dict | list):
            yield from _places(value)


BYTES: list[Mutation] = [flip, flip, truncate, cut, repeat, insert]
TEXT: list[Mutation] = [flip, truncate, cut, repeat, insert, replace_number, replace_number, replace_word, change_lines,
                        encode]  # fmt: skip
JSON: list[Mutation] = [change_json, change_json, change_json, change_json, *TEXT]
