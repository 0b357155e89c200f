"""The ImageNet weight files that Keras publishes: a table, and their verified download."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from mobilenet_tf.models import specs
from mobilenet_tf.models.weights.files import open_weights
from mobilenet_tf.models.weights.identity import Identity, identify
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.file_kinds import HDF5, what_is

TIMEOUT = 30  # seconds without a response
MAX_SECONDS = 1800  # that a download may take in all: the largest file comes in that time over 200 kbit/s
MAX_BYTES = 2**28  # of a file: the largest has a tenth of it
CHUNK = 1 << 18  # bytes

_BASE = "https://storage.googleapis.com/tensorflow/keras-applications/"
_SLIM_V1 = "TF-slim's table of the checkpoints of 2017-06-14 that the Keras files were converted from"
_SLIM_V2 = "TF-slim, nets/mobilenet/README.md, the checkpoints that the Keras files were converted from"
_KERAS_V3 = "the table in keras.applications.mobilenet_v3"

# width -> top-1 at 224, 192, 160, 128
_TOP1_V1 = {
    1.0: (70.7, 69.3, 67.2, 64.1),
    0.75: (68.4, 67.4, 65.2, 61.8),
    0.5: (64.0, 62.1, 59.9, 56.2),
    0.25: (50.6, 49.0, 46.0, 41.3),
}
# width -> top-1 at 224, 192, 160, 128, 96
_TOP1_V2 = {
    1.4: (75.0,),
    1.3: (74.4,),
    1.0: (71.8, 70.7, 68.8, 65.3, 60.3),
    0.75: (69.8, 68.7, 66.4, 63.2, 58.8),
    0.5: (65.4, 63.9, 61.0, 57.7, 51.2),
    0.35: (60.3, 58.2, 55.7, 50.8, 45.5),
}
# (net, width) -> top-1 at 224
_TOP1_V3 = {
    ("mobilenet_v3_large", 1.0): 75.6,
    ("mobilenet_v3_large", 0.75): 73.3,
    ("mobilenet_v3_large_minimalistic", 1.0): 72.3,
    ("mobilenet_v3_small", 1.0): 68.1,
    ("mobilenet_v3_small", 0.75): 65.4,
    ("mobilenet_v3_small_minimalistic", 1.0): 61.9,
}

# V3: keras.applications.mobilenet_v3, WEIGHTS_HASHES. Keras pins no hash for V1 and V2; those of the four 1.0-224 files
# are the ones that the MIA project (github.com/MIAnalyzer/MIA) pins for its mirror of them. A file that is not listed
# has no published hash: its own is shown after the download, and the load checks its structure.
_MD5 = {
    "mobilenet_1_0_224_tf.h5": "03394917f9a9ea3362f46332a5b6a215",
    "mobilenet_1_0_224_tf_no_top.h5": "725ccbd03d61d7ced5b5c4cd17e7d527",
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5": "321911b381f6fd09b744356f6796ee18",
    "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5": "f1a68526548f7541cda07e19ba6c85f4",
    "weights_mobilenet_v3_large_224_0.75_float.h5": "765b44a33ad4005b3ac83185abf1d0eb",
    "weights_mobilenet_v3_large_224_0.75_float_no_top_v2.h5": "40af19a13ebea4e2ee0c676887f69a2e",
    "weights_mobilenet_v3_large_224_1.0_float.h5": "59e551e166be033d707958cf9e29a6a7",
    "weights_mobilenet_v3_large_224_1.0_float_no_top_v2.h5": "07fb09a5933dd0c8eaafa16978110389",
    "weights_mobilenet_v3_large_minimalistic_224_1.0_float.h5": "675e7b876c45c57e9e63e6d90a36599c",
    "weights_mobilenet_v3_large_minimalistic_224_1.0_float_no_top_v2.h5": "ec5221f64a2f6d1ef965a614bdae7973",
    "weights_mobilenet_v3_small_224_0.75_float.h5": "cb65d4e5be93758266aa0a7f2c6708b7",
    "weights_mobilenet_v3_small_224_0.75_float_no_top_v2.h5": "ebdb5cc8e0b497cd13a7c275d475c819",
    "weights_mobilenet_v3_small_224_1.0_float.h5": "8768d4c2e7dee89b9d02b2d03d65d862",
    "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5": "d3e8ec802a04aa4fc771ee12a9a9b836",
    "weights_mobilenet_v3_small_minimalistic_224_1.0_float.h5": "99cd97fb2fcdad2bf028eb838de69e37",
    "weights_mobilenet_v3_small_minimalistic_224_1.0_float_no_top_v2.h5": "cde8136e733e811080d9fcd8a252f7e4",
}


@dataclass(frozen=True)
class Published:
    """One weight file. size: the input side it was trained at. md5: None where none is published. top1: percent."""

    net: str
    alpha: float
    size: int
    top: bool
    file: str
    url: str
    md5: str | None
    top1: float
    source: str


def _records():
    for alpha, row in _TOP1_V1.items():
        for size, top1 in zip((224, 192, 160, 128), row, strict=True):
            width = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0", 0.25: "2_5"}[alpha]
            for top, ending in ((True, ""), (False, "_no_top")):
                file = f"mobilenet_{width}_{size}_tf{ending}.h5"
                yield _record("mobilenet_v1", alpha, size, top, f"mobilenet/{file}", top1, _SLIM_V1)
    for alpha, row in _TOP1_V2.items():
        for size, top1 in zip((224, 192, 160, 128, 96), row, strict=False):
            for top, ending in ((True, ""), (False, "_no_top")):
                file = f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{size}{ending}.h5"
                yield _record("mobilenet_v2", alpha, size, top, f"mobilenet_v2/{file}", top1, _SLIM_V2)
    for (net, alpha), top1 in _TOP1_V3.items():
        for top, ending in ((True, ""), (False, "_no_top_v2")):
            kind = net.removeprefix("mobilenet_v3_")
            file = f"weights_mobilenet_v3_{kind}_224_{alpha}_float{ending}.h5"
            yield _record(net, alpha, 224, top, f"mobilenet_v3/{file}", top1, _KERAS_V3)


def _record(net, alpha, size, top, path, top1, source) -> Published:
    file = path.rpartition("/")[2]
    return Published(net, alpha, size, top, file, _BASE + path, _MD5.get(file), top1, source)


PUBLISHED: tuple[Published, ...] = tuple(_records())
"""All weight files that Keras publishes for the networks of `specs.NETS`."""


def published(net: str, alpha: float, size: int | None = None, top: bool = True) -> Published:
    """The record of a weight file; the one trained at 224 where none was trained at `size`, as in keras.applications.

    Raises UserError for an unknown network or an alpha without published weights.
    """
    title = specs.find(net).title
    fitting = [r for r in PUBLISHED if r.net == net and r.top == top and r.alpha == alpha]
    if not fitting:
        alphas = ", ".join(str(a) for a in sorted({r.alpha for r in PUBLISHED if r.net == net}))
        if not alphas:
            raise UserError(f"weights must be a path or None: none are published for {title}. Received: imagenet")
        raise UserError(f"alpha must be one of {alphas} for published {title} weights. Received: alpha={alpha}")
    by_size = {r.size: r for r in fitting}
    return by_size[size if size in by_size else 224]


def cache_folder() -> Path:
    """Where Keras keeps its weight files: `$KERAS_HOME/models`, by default `~/.keras/models`."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"


def download(record: Published) -> Path:
    """The path of a published file in the cache, after a verified download where it is not there yet.

    Raises UserError, with the address and the place to put the file by hand, when it cannot be had.
    """
    target = cache_folder() / record.file
    if target.is_file() and (_md5(target) == record.md5 if record.md5 else not _fault(target, record)):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = _fetch(record, target)
    except (OSError, HTTPException, ValueError) as error:
        reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        reason = " ".join(str(reason).split())
        raise UserError(
            f"{record.file} must be downloaded from {record.url}, or put by hand at {target}. Received: {reason}"
        ) from error
    if record.md5 is None:
        print(f"{record.file}: no published checksum to compare with; md5 {digest}", file=sys.stderr)
    return target


def _fetch(record: Published, target: Path) -> str:
    """Downloads to a temporary file, verifies it, and moves it into place; returns its md5."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            digest = _transfer(record, out)
        if record.md5 not in (None, digest):
            raise OSError(f"a file with md5 {digest} instead of {record.md5}{_kind(temporary)}")
        if record.md5 is None and (fault := _fault(temporary, record)):
            raise OSError(fault)
        temporary.chmod(0o644)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def _transfer(record: Published, out: BinaryIO) -> str:
    """Writes what the address of a record sends to a file, within MAX_BYTES and MAX_SECONDS; returns its md5."""
    from rich.console import Console
    from rich.progress import Progress

    digest, end = hashlib.md5(usedforsecurity=False), time.monotonic() + MAX_SECONDS
    with (
        urllib.request.build_opener(_SameScheme).open(record.url, timeout=TIMEOUT) as response,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        length = _length(response.headers.get("Content-Length"))
        bar = progress.add_task(record.file, total=length)
        while chunk := response.read1(CHUNK):  # read would wait for a whole chunk, however slowly it comes
            out.write(chunk)
            digest.update(chunk)
            progress.advance(bar, len(chunk))
            if out.tell() > MAX_BYTES:
                raise OSError(f"more than {MAX_BYTES:,} bytes")
            if time.monotonic() > end:
                raise OSError(f"{out.tell()} bytes in {MAX_SECONDS} seconds, the longest that a download may take")
        if length is not None and out.tell() != length:
            raise OSError(f"the connection broke off after {out.tell()} of {length} bytes")
    return digest.hexdigest()


def _length(header: str | None) -> int | None:
    """The size that a server announces; None where it announces none that makes sense."""
    if header is None or not header.isascii() or not header.isdigit():
        return None
    if len(header) > 15 or int(header) > MAX_BYTES:
        raise OSError(f"a file of {header[:20]} bytes, over the limit of {MAX_BYTES:,}")
    return int(header)


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the same scheme, or from HTTP to HTTPS: never back to HTTP, to FTP or to files."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        scheme = newurl.partition(":")[0].lower()
        if scheme not in (req.type, "https"):
            raise OSError(f"a redirect from {req.type} to {scheme}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fault(path: Path, record: Published) -> str | None:
    """What is wrong with a file without a published checksum: it is no HDF5 file, or has not the network's kernels."""
    kind = what_is(path)
    if kind != HDF5:
        return f"{kind} instead of an HDF5 file"
    try:
        with open_weights(path) as stored:
            identity = identify(shape for layer in stored for shape in layer.shapes)
    except UserError as error:
        return str(error)
    wanted = Identity(record.net, record.alpha)
    return None if identity == wanted else f"an HDF5 file of {identity or 'no MobileNet'} instead of {wanted}"


def _kind(path: Path) -> str:
    kind = what_is(path)
    return "" if kind == HDF5 else f": {kind}"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
