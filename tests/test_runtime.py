"""requirements-runtime.txt: .tflite files are predicted, inspected and timed with these packages and no others."""

import configparser
import json
import re
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
from gradient import picture
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

ROOT = Path(__file__).parents[1]
LINES = [line for line in (ROOT / "requirements-runtime.txt").read_text().splitlines() if line]
TASKS = ("classification", "classification_int8", "detection", "segmentation", "attributes", "embedding")
RUN = "import sys; sys.modules |= dict.fromkeys({blocked}); from mobilenet_tf import cli; cli.main()"


def test_the_versions_are_those_of_the_package():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    core = [line.partition("  #")[0].strip() for line in parser["options"]["install_requires"].splitlines()]
    wanted = [line.removeprefix("# ").partition("  #")[0] for line in LINES if ">=" in line]
    assert len(wanted) == 10 and set(wanted) <= set(core)


@pytest.fixture(scope="module")
def run():
    """run(*arguments) -> (exit code, stdout, stderr) of the command line, where nothing else can be imported."""
    allowed, left = {"mobilenet-tf"}, [Requirement(line).name for line in LINES if not line.startswith("#")]
    while left:
        name = canonicalize_name(left.pop())
        if name not in allowed:
            allowed.add(name)
            try:
                needed = map(Requirement, requires(name) or ())
            except PackageNotFoundError:  # for another system
                continue
            left += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    owners = packages_distributions()
    blocked = [module for module, names in owners.items() if not allowed & set(map(canonicalize_name, names))]
    assert {"tensorflow", "keras", "matplotlib", "onnxruntime", "h5py", "mediapipe"} & set(owners) <= set(blocked)
    code = RUN.format(blocked=blocked)

    def run(*arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT.parent)
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtime")
    zipfile.ZipFile(ROOT / "tests" / "stored" / "0.1.0.zip").extractall(folder)
    Image.fromarray(np.uint8(picture())).save(folder / "image.png")
    return folder


def tflite(folder, task):
    return folder / task / "exports" / ("model_int8.tflite" if task.endswith("int8") else "model.tflite")


@pytest.mark.slow
def test_files_are_predicted_inspected_and_timed_without_tensorflow(run, stored):
    paths = [tflite(stored, task) for task in TASKS]
    for path in paths:
        code, out, err = run("predict", path, stored / "image.png", stored / "image.png", "--json")
        assert code == 0 and len(json.loads(out)) in (1, 2), err  # an embedding compares two
        assert err == "", path
    code, out, err = run("inspect", paths[1], "--json")
    assert code == 0 and json.loads(out)["npu"]["fit"] is True, err
    code, out, err = run("benchmark", *paths[:2], "--runs", 3, "--threads", 1, "--json")
    assert code == 0 and err.strip() == "", err
    assert [row["runtime"] for row in json.loads(out)] == ["LiteRT", "LiteRT CompiledModel"] * 2


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        (("evaluate", "classification/exports/model.tflite"), "tensorflow"),
        (("predict", "classification", "image.png"), "h5py"),
        (("predict", "classification/exports/model.tflite", "image.png", "--images", "drawn"), "matplotlib"),
    ],
)
def test_what_needs_more_says_so_in_one_line(run, stored, arguments, package):
    arguments = [stored / text if (stored / text).exists() else text for text in arguments]
    code, out, err = run(*arguments)
    assert code == 2 and not out
    assert re.fullmatch(f"error: this needs {package}, which is not installed: pip install mobilenet-tf\n", err)
