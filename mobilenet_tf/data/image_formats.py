"""Which formats of images this machine reads, told by their first bytes whatever the file is called. No TensorFlow."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")  # Pillow's names of what it always reads
START = 256  # bytes at the beginning of a file that tell its format


@dataclass(frozen=True)
class OptionalFormat:
    """A format that not every machine reads.

    article, name: as people call it. module: what reads it. install: what pip installs for it. suffixes: of its files.
    brands: what its files name in their `ftyp` box (ISO/IEC 23008-12).
    """

    article: str
    name: str
    module: str
    install: str
    suffixes: tuple[str, ...]
    brands: frozenset[bytes]

    @property
    def readable(self) -> bool:
        """Whether this machine reads the format."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def missing(self) -> str:
        """What an image of the format is called where it cannot be read."""
        return f'{self.article} {self.name} image, which needs pip install "{self.install}"'


OPTIONAL_FORMATS = {  # by Pillow's names; the first whose brand a file names is the one
    "AVIF": OptionalFormat("an", "AVIF", "PIL._avif", "pillow>=11.3", (".avif",), frozenset([b"avif", b"avis"])),
    "HEIF": OptionalFormat(
        "a",
        "HEIC",
        "pillow_heif",
        "mobilenet-tf[heif]",
        (".heic", ".heif"),
        frozenset(b"heic heix heim heis hevc hevx hevm hevs mif1 msf1".split()),
    ),
}
# What is often found under the name of an image, by how it begins
STRANGERS = (
    (b"II*\0", "a TIFF image of a kind that Pillow does not read"),
    (b"MM\0*", "a TIFF image of a kind that Pillow does not read"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"%pdf", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose file has not been downloaded"),
)


def missing_for(suffix: str) -> str | None:
    """Why this machine cannot read files of a suffix such as .heic, for counting and messages; None where it can."""
    for kind in OPTIONAL_FORMATS.values():
        if suffix in kind.suffixes and not kind.readable:
            return kind.missing
    return None


def formats_of(start: bytes) -> tuple[str, ...]:
    """Pillow's names of the formats that a file may have, by its first bytes. What reads HEIC is loaded if need be.

    Raises ValueError with the reason: a format that this machine does not read.
    """
    size = int.from_bytes(start[:4], "big")
    brands = {start[i : i + 4] for i in range(8, min(size, len(start)), 4)} if start[4:8] == b"ftyp" else set()
    for name, kind in OPTIONAL_FORMATS.items():
        if brands & kind.brands:
            if not kind.readable:
                raise ValueError(kind.missing)
            if name == "HEIF":
                _register_heif()
            return (name,)
    return FORMATS


@cache
def _register_heif() -> None:
    importlib.import_module("pillow_heif").register_heif_opener(thumbnails=False)


def received(start: bytes) -> str:
    """What a file is that is none of the formats, by its first bytes."""
    text = start.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    for beginning, name in STRANGERS:
        if start.startswith(beginning) or text.startswith(beginning):
            return name
    names = [*FORMATS, *(kind.name for kind in OPTIONAL_FORMATS.values() if kind.readable)]
    return f"not a {', '.join(names[:-1])} or {names[-1]} image"
