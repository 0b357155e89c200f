"""Serves a folder to this machine alone: http.server on 127.0.0.1."""

from __future__ import annotations

import functools
import http.server
from http import HTTPStatus
from pathlib import Path

from mobilenet_tf.utils.errors import UserError

LOOPBACK = "127.0.0.1"
NAMES = {"localhost", LOOPBACK}  # by which a browser may ask: a name of a stranger's that leads here is refused


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of one folder, without lists of folders, for browsers on this machine."""

    extensions_map = {
        **http.server.SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".json": "application/json",
    }

    def send_head(self):
        """Answers with a file; refuses requests under another name than that of this machine."""
        if (self.headers.get("Host") or "").rpartition(":")[0] not in NAMES:
            self.send_error(HTTPStatus.FORBIDDEN, "this server is for this machine alone")
            return None
        return super().send_head()

    def list_directory(self, path):
        """Refuses to list a folder."""
        self.send_error(HTTPStatus.NOT_FOUND, "no such file")

    def end_headers(self):
        """Adds what keeps other pages from using this one, and an old file from staying in a browser."""
        self.send_header("Cache-Control", "no-cache")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        super().end_headers()

    def log_message(self, format, *args):
        """Stays silent: the terminal belongs to the command."""


def server(folder: Path, port: int = 0) -> http.server.ThreadingHTTPServer:
    """Returns a server of a folder on 127.0.0.1; port 0 takes a free one. Raises UserError for a port in use."""
    try:
        return http.server.ThreadingHTTPServer(
            (LOOPBACK, port), functools.partial(Handler, directory=str(folder.resolve()))
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--port must be a free port of this machine: {reason}. Received: {port}") from None


def address(running: http.server.ThreadingHTTPServer) -> str:
    """Returns the address of a server's page."""
    return f"http://{LOOPBACK}:{running.server_address[1]}/"
