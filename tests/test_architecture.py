"""The house rules: which way dependencies point, and what must not import TensorFlow."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARY = {path.stem: path for path in (ROOT / "mobilenet_tf").glob("*.py")}
# They may use config, errors, images only.
ALONE = {"specs", "config", "optim", "errors", "layers", "images", "decoding", "preprocess"}


def imports(path: Path) -> set[str]:
    """The modules of this package that a file names at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mobilenet_tf"):
            rest = node.module.split(".")[1:]
            found |= {".".join(rest)} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.startswith("mobilenet_tf.")}
    return found


@pytest.mark.parametrize("name", sorted(LIBRARY))
def test_the_library_imports_no_task(name):
    assert not {module for module in imports(LIBRARY[name]) if module.startswith("tasks")} - {"tasks"}


@pytest.mark.parametrize("name", sorted(ALONE))
def test_the_foundations_stand_alone(name):
    assert imports(LIBRARY[name]) <= {"errors", "config", "images", "configs", "tasks"}, name


def test_transforms_know_samples_and_images_only():
    assert imports(LIBRARY["transforms"]) <= {"data", "decoding", "images", "errors"}


@pytest.mark.parametrize("path", sorted((ROOT / "tasks").glob("*/*.py")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_tasks_do_not_import_each_other(path):
    others = {module for module in imports(path) if module.startswith("tasks.")}
    assert all(module.split(".")[1] == path.parent.name for module in others)


TASKS = sorted(path.parent.name for path in (ROOT / "tasks").glob("*/task.py"))
FAST = ["", ".cli", ".config", ".specs", ".errors", ".task", ".workflow", ".tasks.classification.config"]
SLOW = ("tensorflow", "keras", "matplotlib")


@pytest.mark.parametrize("module", [*FAST, *(f".tasks.{name}.inference" for name in TASKS)])
def test_nothing_slow_where_it_must_start_fast(module):
    code = f"import sys, mobilenet_tf{module}; sys.exit(any(name in sys.modules for name in {SLOW}))"
    assert subprocess.run([sys.executable, "-c", code], cwd="/").returncode == 0
