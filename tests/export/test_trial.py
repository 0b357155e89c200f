"""`mobilenet-tf try`: the page is written beside the exports, served, and ends with the command."""

import shutil

import pytest

from mobilenet_tf.commands import trial
from mobilenet_tf.export import apps, serve
from mobilenet_tf.utils.errors import UserError


class Running:
    """A server that is stopped at once, as by Ctrl-C."""

    server_address = ("127.0.0.1", 8000)
    closed = False

    def serve_forever(self):
        raise KeyboardInterrupt

    def server_close(self):
        self.closed = True


def test_the_page_is_served_until_ctrl_c(tmp_path, monkeypatch, capsys):
    running, calls = Running(), []
    monkeypatch.setattr(
        apps, "write_app", lambda kind, folder, models, examples: calls.append((kind, models)) or folder
    )
    monkeypatch.setattr(apps, "install", lambda folder: calls.append(folder))
    monkeypatch.setattr(serve, "server", lambda folder, port: calls.append((folder, port)) or running)
    exports = tmp_path / "run" / "exports"
    exports.mkdir(parents=True)
    for name in ("model_int8.tflite", "model.tflite"):
        (exports / name).write_bytes(b"")
    trial.try_model(tmp_path / "run", port=0)
    web = exports / "web"
    assert calls == [("web", [exports / "model.tflite", exports / "model_int8.tflite"]), web, (web, 0)]
    assert running.closed and capsys.readouterr().out == "http://127.0.0.1:8000/  (Ctrl-C ends it)\n"


def test_a_run_without_exports_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"mobilenet-tf export .* must write a .tflite file first"):
        trial.try_model(tmp_path)


def test_a_browser_opens_only_where_there_is_a_display(monkeypatch):
    monkeypatch.setattr(trial.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not trial._has_display()


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no node on this machine")
@pytest.mark.parametrize("name", ["app.js", "preprocess.js", "tasks.js", "server.mjs"])
def test_the_programs_of_the_page_are_valid(name, tmp_path):
    import subprocess

    text = (apps.package_files("mobilenet_tf.export") / "templates" / "web" / name).read_text()
    (tmp_path / f"{name}.mjs").write_text(text)
    done = subprocess.run(["node", "--check", f"{name}.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
