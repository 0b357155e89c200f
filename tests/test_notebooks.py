"""Every notebook runs from top to bottom, ends in a model that has learned, and is committed without outputs."""

import os
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
TIMEOUTS = {"depthwise": 240}  # seconds for a whole notebook; several times what it takes on two idle cores
DEFAULT_TIMEOUT = 480
# What holds behind the last cell: far from chance, which is 0.1, 0.5 (one animal or none a pixel) and the priors
FLOORS = {
    "classification": "scores['top1'] >= 0.3",
    "detection": "scores['AP50'] >= 0.6",
    "segmentation": "run.metrics['miou'] >= 0.7",
    "attributes": "scores['mean_ap'] >= scores['prior'] + 0.1",
    "depthwise": "len(layers) >= 13",
}


def test_there_are_notebooks():
    assert "depthwise" in {path.stem for path in NOTEBOOKS}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_without_outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path, tmp_path, monkeypatch):
    """Runs in an empty folder and on the headless backend; the timeout is for each cell, so also for a hang."""
    monkeypatch.setitem(os.environ, "MPLBACKEND", "agg")
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=TIMEOUTS.get(path.stem, DEFAULT_TIMEOUT),
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    floor = FLOORS[path.stem]
    notebook.cells.append(nbformat.v4.new_code_cell(f"assert {floor}, {floor.partition('[')[0]}"))
    client.execute()  # raises CellExecutionError with the cell and its traceback
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
