"""Downloads from servers that are slow, endless, lie or send something else: one line, and nothing is left behind."""

import http.server
import threading
import time
from typing import Any

import h5py
import numpy as np
import pytest

from mobilenet_tf.models import specs, weights
from mobilenet_tf.models.weights import catalog
from mobilenet_tf.utils.errors import UserError

PAGE = b"<!doctype html><html><body>Please log in</body></html>"


def network(path, net="mobilenet_v1", alpha=0.25):
    """A weight file as Keras writes it, with the kernels of a network and nothing else."""
    with h5py.File(path, "w") as file:
        names = []
        for number, shape in enumerate(specs.NETS[net].kernels(alpha)):
            names.append(f"conv_{number}")
            file[f"conv_{number}/kernel:0"] = np.zeros(shape, np.float32)
            file[f"conv_{number}"].attrs["weight_names"] = [b"kernel:0"]
        file.attrs["layer_names"] = [name.encode() for name in names]
    return path.read_bytes()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.0"

    server: Any

    def do_GET(self):
        self.server.answer(self)

    def log_message(self, *args):
        pass

    def reply(self, content, length=None, code=200, **headers):
        self.send_response(code)
        if length != "none":
            self.send_header("Content-Length", str(len(content) if length is None else length))
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content)

    def drip(self, piece, pause=0.0, count=10**6):
        self.send_response(200)
        self.end_headers()
        for _ in range(count):
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(pause)


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """(what the server answers, record) -> the file, once downloaded; the cache must be empty after an error."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # the client went away
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def download(answer, **values):
        server.answer = answer
        record = weights.published("mobilenet_v1", 0.25)
        url = f"http://127.0.0.1:{server.server_address[1]}/{record.file}"
        record = weights.Published(**{**vars(record), "url": url, "md5": None, **values})
        try:
            return weights.download(record)
        except UserError as error:
            assert "\n" not in str(error)
            raise
        finally:
            names = [path.name for path in catalog.cache_folder().iterdir()]
            assert names in ([], [record.file]), "no partial file stays"

    yield download
    server.shutdown()
    server.server_close()


def test_a_network_enters_the_cache(fetch, tmp_path):
    content = network(tmp_path / "a.h5")
    assert fetch(lambda h: h.reply(content)).read_bytes() == content
    assert fetch(lambda h: h.reply(PAGE)).read_bytes() == content, "kept"


def test_a_size_that_is_not_announced_is_no_fault(fetch, tmp_path):
    content = network(tmp_path / "a.h5")
    assert fetch(lambda h: h.reply(content, "none")).read_bytes() == content


ANSWERS = {
    "a login page": (lambda h: h.reply(PAGE), r"a web page \(HTML\) instead of an HDF5 file"),
    "a login page behind a redirect": (
        lambda h: h.reply(PAGE) if "login" in h.path else h.reply(b"", code=302, Location="/login"),
        "a web page",
    ),
    "nothing": (lambda h: h.reply(b""), "an empty file instead"),
    "text": (lambda h: h.reply(b"rate limit exceeded"), "a text instead"),
    "a size too large": (lambda h: h.reply(b"x" * 100, 1000), "broke off after 100 of 1000 bytes"),
    "a size of gigabytes": (lambda h: h.reply(b"x", 10**15 - 1), "over the limit of 268,435,456"),
    "a size of many digits": (lambda h: h.reply(b"x", "9" * 5000), "over the limit of"),
    "a negative size": (lambda h: h.reply(PAGE, -5), "a web page"),
    "a redirect to a file": (lambda h: h.reply(b"", code=302, Location="file:///etc/passwd"), "redirect"),
    "a redirect to FTP": (lambda h: h.reply(b"", code=302, Location="ftp://127.0.0.1:9/x"), "redirect"),
    "redirects in a circle": (lambda h: h.reply(b"", code=302, Location=h.path), "redirect"),
    "a missing file": (lambda h: h.reply(PAGE, code=404), "404"),
}


@pytest.mark.parametrize(("answer", "message"), ANSWERS.values(), ids=ANSWERS)
def test_what_is_no_weight_file_never_enters_the_cache(fetch, answer, message):
    with pytest.raises(UserError, match=rf"(?i)must be downloaded from http.*Received: .*{message}"):
        fetch(answer)


def test_a_size_too_small_is_no_whole_file(fetch, tmp_path):
    content = network(tmp_path / "a.h5")
    with pytest.raises(UserError, match=r"Received: "):
        fetch(lambda h: h.reply(content, len(content) // 2))


def test_another_network_never_enters_the_cache(fetch, tmp_path):
    content = network(tmp_path / "a.h5", "mobilenet_v2", 0.35)
    with pytest.raises(UserError, match=r"of MobileNetV2 alpha=0\.35 instead of MobileNetV1 alpha=0\.25"):
        fetch(lambda h: h.reply(content))


def test_a_page_in_the_cache_is_downloaded_again(fetch, tmp_path):
    content, folder = network(tmp_path / "a.h5"), catalog.cache_folder()
    folder.mkdir(parents=True)
    (folder / weights.published("mobilenet_v1", 0.25).file).write_bytes(PAGE)
    assert fetch(lambda h: h.reply(content)).read_bytes() == content


def test_an_endless_file_ends(fetch, monkeypatch):
    monkeypatch.setattr(catalog, "MAX_BYTES", 10**6)
    with pytest.raises(UserError, match="more than 1,000,000 bytes"):
        fetch(lambda h: h.drip(b"x" * 10_000))


def test_a_slow_file_ends(fetch, monkeypatch):
    monkeypatch.setattr(catalog, "MAX_SECONDS", 0.1)
    with pytest.raises(UserError, match=r"bytes in 0\.1 seconds"):
        fetch(lambda h: h.drip(b"x", 0.02))


def test_a_page_under_a_checksum_is_named(fetch):
    with pytest.raises(UserError, match=r"instead of 0{32}: a web page"):
        fetch(lambda h: h.reply(PAGE), md5="0" * 32)
