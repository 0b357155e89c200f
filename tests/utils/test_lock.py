"""One process at a time in a folder; what a killed one leaves stands in nobody's way."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from mobilenet_tf.utils import lock
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.lock import locked
from mobilenet_tf.utils.run_folder import RunFolder

HOLD = """
import sys
from pathlib import Path
from mobilenet_tf.utils.lock import locked
with locked(Path(sys.argv[1]), "the run folder"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_process_gets_one_line_and_the_next_the_folder(tmp_path):
    process = holder(tmp_path)
    with pytest.raises(UserError) as error, locked(tmp_path, "the run folder"):
        pass
    wanted = f"in use by process {process.pid} on {socket.gethostname()} since "
    message = str(error.value)
    assert message.startswith("the run folder must not be in use by another process") and "\n" not in message
    assert wanted in message
    process.communicate("")
    assert not list(tmp_path.iterdir()), "nothing stays"
    with locked(tmp_path, "the run folder"):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        assert not RunFolder(tmp_path).other_files() and not RunFolder(tmp_path).is_run()


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    assert (tmp_path / ".lock").exists() and not RunFolder(tmp_path).other_files()
    with locked(tmp_path, "the run folder"):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{}", "garbage", '{"pid": 1, "host": "elsewhere", "since": "then"}'])
def test_a_file_that_nobody_locks_is_no_lock(tmp_path, content):
    """Not even with the id of a process that runs: ids come again."""
    (tmp_path / ".lock").write_text(content)
    with locked(tmp_path, "the run folder"):
        pass
    with locked(tmp_path, "the run folder"):  # one process takes it once only, too
        (tmp_path / ".lock").write_text(content)
        with (
            pytest.raises(UserError, match="in use by (another process|process 1 on elsewhere)"),
            locked(tmp_path, "x"),
        ):
            pass


def test_it_is_given_back_after_an_error(tmp_path):
    with pytest.raises(KeyError), locked(tmp_path, "the run folder"):
        raise KeyError
    with locked(tmp_path, "the run folder"):
        pass


def test_where_nothing_can_be_locked_it_is_said(tmp_path, monkeypatch):
    def refused(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", refused)
    with (
        pytest.warns(UserWarning, match=r"cannot be locked \(No locks"),
        locked(tmp_path, "the run folder"),
    ):
        pass


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / ".lock").mkdir()
    with pytest.raises(UserError, match="the run folder must be writable: "), locked(tmp_path, "the run folder"):
        pass
