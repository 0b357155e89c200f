"""What type checkers, and so editors, see of this package: the user's imports, and no error in our own files."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SCRIPT = """\
import mobilenet_tf
from mobilenet_tf import MobileNetV2, config
from mobilenet_tf.tasks.classification.task import task
from mobilenet_tf.training.train import train

cfg = config.load("folder_v2", ["data.root=IMAGES"])
run = train(task, cfg, "runs/mine")
top1: float = run.metrics["top1"]
mobilenet_tf.load(run.folder).predict("image.jpg")
MobileNetV2(alpha=0.5)
wrong: int = run.folder
"""
CHECKERS = {
    "pyright": ["basedpyright", "--level", "error", "--pythonpath", sys.executable],
    "mypy": ["mypy", "--no-incremental", "--python-executable", sys.executable],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_users_script_is_checked_against_our_types(checker, tmp_path):
    """All imports are found and typed: the one error is the one that the script makes on its last line."""
    pytest.importorskip("basedpyright" if checker == "pyright" else "mypy")
    (tmp_path / "script.py").write_text(SCRIPT)
    command, *options = CHECKERS[checker]
    done = subprocess.run(
        [Path(sys.executable).with_name(command), *options, "script.py"], cwd=tmp_path, capture_output=True, text=True
    )
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert len(errors) == 1 and f"script.py:{len(SCRIPT.splitlines())}:" in errors[0], done.stdout + done.stderr
