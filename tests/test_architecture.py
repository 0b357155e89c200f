"""The house rules: which way imports point, in every file, and what must not import TensorFlow."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# What the files of each room may import besides their own room, at any depth. A task may import no other task.
ROOMS = {
    "utils": (),
    "registration": (),
    "migrations": ("utils",),
    "models": ("utils",),
    "viz": ("utils",),
    "inference": ("registration", "utils"),
    "config_errors": (),
    "config_aliases": ("utils",),
    "config": ("config_aliases", "config_errors", "inference", "migrations", "models", "utils"),
    "config_keys": ("config",),
    "data": ("config", "utils"),
    "task": ("config", "data", "inference", "utils"),
    "prediction": ("data", "inference", "task", "utils", "viz"),
    "answer_files": ("prediction", "utils"),
    "qat": ("models", "utils"),
    "analysis": ("inference", "models", "qat", "utils", "viz"),
    "prune": ("analysis", "models", "utils"),
    "training": ("config", "data", "inference", "models", "qat", "task", "utils", "viz"),
    "foreign": ("config", "data", "inference", "models", "utils"),
    "export": ("analysis", "data", "foreign", "inference", "models", "qat", "task", "training", "utils", "viz"),
    "tasks": ("config", "data", "inference", "models", "task", "training", "utils", "viz"),
    "workflow": (
        "analysis",
        "config",
        "config_aliases",
        "data",
        "export",
        "foreign",
        "inference",
        "prediction",
        "prune",
        "task",
        "training",
        "utils",
        "viz",
    ),
    "api": ("data", "export", "foreign", "inference", "prediction", "task", "utils", "workflow"),
    "train": ("training",),
    "weights": ("models",),
    "demo": ("analysis", "data", "export", "utils", "workflow"),
    "doctor": ("utils",),
    "commands": ("analysis", "answer_files", "config", "config_keys", "data", "demo", "doctor", "export", "foreign")
    + ("inference", "models", "prune", "task", "training", "utils", "workflow"),
    "cli": ("commands", "config_aliases", "doctor", "utils"),
    "__main__": ("cli",),
    "__init__": ("api", "models", "registration", "weights"),
}


def module(path: Path) -> str:
    """The dotted name of a file without the package: "data.source", "tasks.detection.task", "__init__"."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "tasks" else parts[1:]
    return ".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1])


FILES = {
    module(path): path
    for folder in ("mobilenet_tf", "tasks")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if not {"tasks", "configs"} & set(path.relative_to(ROOT / folder).parts[:-1])
}


def imports(path: Path, typing: bool = True) -> set[str]:
    """The modules of this package that a file names at any depth; without those for type checkers alone, if asked."""
    tree = ast.parse(path.read_text())
    if not typing:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
                node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mobilenet_tf"):
            assert node.level == 0, "imports are absolute"
            base = node.module.removeprefix("mobilenet_tf").removeprefix(".")
            for alias in node.names:
                full = f"{base}.{alias.name}" if base else alias.name
                found.add(full if full in FILES else base or "__init__")
        elif isinstance(node, ast.Import):
            found |= {a.name.partition(".")[2] for a in node.names if a.name.startswith("mobilenet_tf.")}
    return found - {"configs", "tasks"}  # their folders are looked up as packages


def room(name: str) -> str:
    return name.split(".")[0]


def test_every_room_has_its_rule():
    assert {room(name) for name in FILES} == set(ROOMS)


@pytest.mark.parametrize("name", sorted(FILES))
def test_imports_point_one_way(name):
    others = {room(found) for found in imports(FILES[name])} - {room(name)}
    assert others <= set(ROOMS[room(name)]), name


def test_the_rooms_have_no_circle():
    list(TopologicalSorter(ROOMS).static_order())


def test_the_files_have_no_circle():
    graph = {name: imports(path, typing=False) & set(FILES) - {name} for name, path in FILES.items()}
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.count(".") and room(name) == "tasks"))
def test_tasks_do_not_import_each_other(name):
    others = {found.split(".")[1] for found in imports(FILES[name]) if room(found) == "tasks"}
    assert others <= {name.split(".")[1]}


TASKS = sorted(path.parent.name for path in (ROOT / "tasks").glob("*/task.py"))
EVERY_TASK = {"config", "data", "model", "loss", "metric", "report", "inference", "export", "task"}


@pytest.mark.parametrize("task", TASKS)
def test_all_tasks_have_the_same_files(task):
    folder = ROOT / "tasks" / task
    assert {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()} >= EVERY_TASK


def test_transforms_know_samples_and_images_only():
    assert {room(found) for found in imports(FILES["data.transforms"])} <= {"data", "utils"}


FAST = ["", ".api", ".cli", ".config", ".models.specs", ".utils.errors", ".task", ".workflow"]
SLOW = ("tensorflow", "keras", "matplotlib")


@pytest.mark.parametrize(
    "module", [*FAST, *(f".tasks.{name}.{part}" for name in TASKS for part in ("config", "inference"))]
)
def test_nothing_slow_where_it_must_start_fast(module):
    code = f"import sys, mobilenet_tf{module}; sys.exit(any(name in sys.modules for name in {SLOW}))"
    assert subprocess.run([sys.executable, "-c", code], cwd="/").returncode == 0
