"""Runs of all tasks that are stopped at any moment, again and again, end with the very weights of one that never was.

MOBILENET_TF_CRASH_SEED chooses other moments, MOBILENET_TF_CRASHES how many there are for each task.
"""

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import mobilenet_tf  # noqa: F401 - makes its layers known to Keras

SEED = int(os.environ.get("MOBILENET_TF_CRASH_SEED", "1"))
KILLS = int(os.environ.get("MOBILENET_TF_CRASHES", "2"))
STORED = Path(__file__).parents[1] / "stored" / "0.1.0.zip"
TEACHER = "classification/model.keras"  # in there: ten breeds, as in the config `demo`

COMMON = [
    "model.backbone=mobilenet_v1",
    "model.alpha=0.05",
    "model.input_size=[32, 32]",
    "data.counts={train: 48, validation: 16, test: 16}",
    "train.batch_size=16",
    "train.stages=[{train: all, duration: 5 epochs, learning_rate: 0.01}]",
    "train.ema=0.9",
]
TWO_STAGES = (
    "train.stages=[{train: head, duration: 2 epochs, learning_rate: 0.01, augment: false}, "
    "{train: all, duration: 4 epochs, learning_rate: 0.01}]"
)
SCENARIOS = {
    "cached features, distillation": ("demo", [TWO_STAGES, "distill.teacher={teacher}"]),
    "qat": ("attributes_scenes", ["quantize.qat=true"]),
    "detection": ("ssdlite_scenes", ["model.input_size=[64, 64]", "train.stages.0.duration=3"]),
    "segmentation": ("lraspp_scenes", ["model.backbone=mobilenet_v2", "model.alpha=0.01", "model.filters=8"]),
    "embedding": ("embedding_scenes", ["data.counts={train: 80, validation: 40, test: 60}", TWO_STAGES]),
}


class Nursery:
    """A process that trains in forks of itself; see nursery.py."""

    def __init__(self, folder: Path):
        self.child = None  # the process that trains
        command = [sys.executable, str(Path(__file__).with_name("nursery.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.teacher = folder / TEACHER
        zipfile.ZipFile(STORED).extract(TEACHER, folder)

    def begin(self, scenario: str, run: Path) -> int:
        """Starts training and returns the number of the process."""
        config, overrides = SCENARIOS[scenario]
        overrides = [override.replace("{teacher}", str(self.teacher)) for override in overrides]
        job = {"config": config, "overrides": [*COMMON, *overrides], "folder": str(run), "log": f"{run}.log"}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        self.child = int(self.process.stdout.readline())
        return self.child

    def end(self) -> int:
        """Waits for the process and returns its exit code, or minus the signal that ended it."""
        self.child = None
        return int(self.process.stdout.readline())

    def stop(self, number: int) -> int:
        """Sends the process a signal, where it has not ended yet, and returns how it ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, number)
        return self.end()

    def train(self, scenario: str, run: Path) -> None:
        """Trains to the end."""
        self.begin(scenario, run)
        assert self.end() == 0, log(run)


def log(run: Path) -> str:
    path = Path(f"{run}.log")
    return path.read_text()[-2000:] if path.exists() else ""


@pytest.fixture(scope="module")
def shared_nursery(tmp_path_factory):
    found = Nursery(tmp_path_factory.mktemp("crashes"))
    yield found
    found.process.stdin.close()
    found.process.wait()


@pytest.fixture
def nursery(shared_nursery):
    yield shared_nursery
    if shared_nursery.child:  # of a test that failed
        shared_nursery.stop(signal.SIGKILL)


def same_run(first: Path, second: Path) -> None:
    """The same weights, bit for bit, and the same log."""
    models = [keras.saving.load_model(run / "model.keras", compile=False).get_weights() for run in (first, second)]
    for one, other in zip(*models, strict=True):
        np.testing.assert_array_equal(one, other)
    logs = [list(csv.DictReader((run / "log.csv").open())) for run in (first, second)]
    assert [{**row, "seconds": ""} for row in logs[0]] == [{**row, "seconds": ""} for row in logs[1]]


def stop_again_and_again(
    nursery: Nursery, scenario: str, run: Path, rng: random.Random, duration: float, most: int
) -> int:
    """Trains to the end with at most so many stops on the way, and returns how many there were."""
    for stops in range(most):
        nursery.begin(scenario, run)
        time.sleep(rng.uniform(0.1, 1.0) * duration)
        code = nursery.stop(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
        assert code in (0, -signal.SIGKILL, -signal.SIGTERM, 130), (code, log(run))
        if code == 0:  # it was finished before the signal came
            return stops
    nursery.train(scenario, run)
    return most


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_stopped_at_any_moment_ends_as_one_that_never_was(nursery, tmp_path, scenario):
    began = time.monotonic()
    nursery.train(scenario, tmp_path / "whole")
    duration = time.monotonic() - began
    rng, stops, stopped = random.Random(f"{scenario} {SEED}"), 0, tmp_path / "stopped"
    while stops < KILLS:
        shutil.rmtree(stopped, ignore_errors=True)
        stops += stop_again_and_again(nursery, scenario, stopped, rng, duration, KILLS - stops)
        same_run(tmp_path / "whole", stopped)
        duration *= 0.9  # moments that come before the end, however long the first run took
    left = {path.name for path in stopped.iterdir()}
    assert "cache" not in left and not any(name.endswith(".npy") for name in left)


@pytest.mark.slow
def test_a_second_process_in_a_run_folder_is_refused_and_the_first_goes_on(nursery, tmp_path):
    scenario, run = "segmentation", tmp_path / "run"
    other = Nursery(tmp_path)
    nursery.begin(scenario, run)
    while not (run / "config.yaml").exists():
        time.sleep(0.05)
    other.begin(scenario, run)
    assert other.end() == 2 and "Traceback" not in log(run)
    assert nursery.end() == 0, log(run)
    other.process.stdin.close()
    other.process.wait()
    nursery.train(scenario, tmp_path / "alone")
    same_run(tmp_path / "alone", run)


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", folder], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_continues_where_there_is_room(nursery, tmp_path, small_disk):
    scenario, run = "cached features, distillation", small_disk / "run"
    nursery.begin(scenario, run)
    assert nursery.end() == 2, "a UserError, and no signal of a memory map"
    assert "Traceback" not in log(run) and "error: " in log(run)
    subprocess.run(["mount", "-o", "remount,size=50m", small_disk], check=True)
    nursery.train(scenario, run)
    nursery.train(scenario, tmp_path / "whole")
    same_run(tmp_path / "whole", run)
