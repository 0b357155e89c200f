"""Atomic files and the names in a run folder."""

import os
import re
from pathlib import Path

import pytest

from mobilenet_tf import config
from mobilenet_tf.training import checkpoint
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError
from mobilenet_tf.utils.run_folder import RunFolder


def test_temporary_names_differ_even_where_process_ids_do_not(tmp_path, monkeypatch):
    """Two hosts that share a folder may have processes with the same id."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    names = {files.temporary_path(tmp_path / "model.keras") for _ in range(100)}
    assert len(names) == 100
    assert all(path.parent == tmp_path and re.fullmatch(r"\.7-\w+-model\.keras", path.name) for path in names)


def test_everything_atomic_has_its_temporary_name_from_one_function(tmp_path, monkeypatch):
    asked, temporary_path = [], files.temporary_path

    def spy(path):
        asked.append(Path(path).name)
        return temporary_path(path)

    monkeypatch.setattr(files, "temporary_path", spy)
    files.write_json(tmp_path / "metrics.json", {})
    files.write_csv(tmp_path / "log.csv", [])
    config.load("demo").save(tmp_path / "config.yaml")
    checkpoint.save(tmp_path / "last.npz", {}, {"epoch": 1})
    assert asked == ["metrics.json", "log.csv", "config.yaml", "last.npz"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(asked)


def test_a_block_within_a_block_replaces_the_same_file(tmp_path):
    """Two writers in one process do not take each other's temporary file."""
    path = tmp_path / "file.txt"
    with files.replacing(path) as outer:
        outer.write_text("outer")
        with files.replacing(path) as inner:
            inner.write_text("inner")
        assert path.read_text() == "inner"
    assert path.read_text() == "outer" and list(tmp_path.iterdir()) == [path]


def test_a_run_folder_knows_its_files():
    run = RunFolder(Path("runs") / "demo")
    names = {name for name, value in vars(RunFolder).items() if isinstance(value, property)}
    paths = {name: getattr(run, name).relative_to(run.path).as_posix() for name in names}
    assert paths == {
        "config": "config.yaml",
        "model": "model.keras",
        "metrics": "metrics.json",
        "log": "log.csv",
        "splits": "splits.json",
        "checkpoints": "checkpoints",
        "last_checkpoint": "checkpoints/last.npz",
        "best_checkpoint": "checkpoints/best.keras",
        "teacher": "teacher.json",
        "exports": "exports",
        "plots": "plots",
        "tensorboard": "tensorboard",
        "cache": "cache",
    }


def test_a_folder_is_never_replaced_by_a_file(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("years of work")
    for write in (lambda path: files.write_csv(path, [{"a": 1}]), lambda path: files.write_json(path, {})):
        with pytest.raises(UserError, match="results must be a file or a new name. Received: a folder"):
            write(tmp_path / "results")
    assert (tmp_path / "results" / "thesis.txt").read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_folder_is_replaced_only_where_it_holds_nothing_else(tmp_path):
    target = tmp_path / "model"

    def export():
        with files.replacing(target, members=("saved_model.pb",)) as temporary:
            temporary.mkdir()
            (temporary / "saved_model.pb").write_text("new")

    export()
    (target / "saved_model.pb").write_text("old")
    export()
    assert (target / "saved_model.pb").read_text() == "new"
    (target / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"model must be a new name.*also holds notes\.txt"):
        export()
    assert (target / "notes.txt").read_text() == "mine" and list(tmp_path.iterdir()) == [target]


def test_a_folder_that_appears_meanwhile_stays(tmp_path):
    with pytest.raises(UserError, match="a folder"), files.replacing(tmp_path / "x.csv") as temporary:
        temporary.write_text("new")
        (tmp_path / "x.csv").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_no_cell_of_a_table_is_a_formula(tmp_path):
    path = files.write_csv(
        tmp_path / "t.csv", [{"name": "=cmd()", "drop": "-0.25", "at": "@x", "n": -1, "plus": "+1e5"}]
    )
    assert path.read_text().splitlines()[1] == "'=cmd(),-0.25,'@x,-1,+1e5"


def test_the_longest_name_that_a_file_may_have_can_be_written(tmp_path):
    for name in ("x" * 250 + ".json", "é" * 125 + ".json"):
        files.write_json(tmp_path / name, {"a": 1})
        assert files.read_json(tmp_path / name) == {"a": 1}
