"""The command that tries an exported file in the browser."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer


def try_model(
    model: Annotated[Path, typer.Argument(help="A run folder with exports, or a .tflite file.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port on this machine; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page, where this machine has a display.")] = True,
):
    """Try an exported .tflite file in the browser: drop a picture or use the camera.

    The file runs in the page, which is served to this machine alone; Ctrl-C ends it.
    """
    from mobilenet_tf.export import apps, serve
    from mobilenet_tf.workflow import write_app

    folder = write_app("web", model)
    apps.install(folder)
    running = serve.server(folder, port)
    print(f"{serve.address(running)}  (Ctrl-C ends it)", flush=True)
    if browser and _has_display():
        webbrowser.open(serve.address(running))
    try:
        running.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        running.server_close()


def _has_display() -> bool:
    screens = (os.environ.get("DISPLAY"), os.environ.get("WAYLAND_DISPLAY"), sys.platform in ("darwin", "win32"))
    return any(screens) and sys.stdout.isatty()
