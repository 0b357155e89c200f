"""`predict`: where its files go, what it holds in memory, what its output is in any terminal."""

import csv
import json
import os
import subprocess
import sys
import tempfile
import weakref
import zipfile
from pathlib import Path

import numpy as np
import pytest
from command import call
from PIL import Image

import mobilenet_tf
from mobilenet_tf import config, prediction, workflow
from mobilenet_tf.data import images
from mobilenet_tf.inference import artifact
from mobilenet_tf.inference.predict import load_predictor
from mobilenet_tf.utils import files
from mobilenet_tf.utils.errors import UserError


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Runs of all tasks, with exports, that an earlier version made."""
    folder = tmp_path_factory.mktemp("runs")
    zipfile.ZipFile(Path(__file__).parent / "stored" / "0.1.0.zip").extractall(folder)
    return folder


@pytest.fixture
def model(runs) -> Path:
    return runs / "classification" / "exports" / "model.tflite"


@pytest.fixture
def photographs(tmp_path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(6):
        Image.new("RGB", (30 + index, 20), (40 * index, 90, 9)).save(folder / f"{index}.png")
    return folder


# Where files go


@pytest.fixture
def unread(monkeypatch):
    """No image may be read."""
    monkeypatch.setattr(images, "read", lambda *_: pytest.fail("the predictions began"))


@pytest.mark.parametrize("option", ["--images", "--csv"])
def test_a_place_that_cannot_be_made_is_one_line_before_the_predictions(capsys, model, photographs, option, unread):
    (photographs.parent / "file").write_bytes(b"")
    for place in (photographs.parent / "file" / "x", photographs.parent / "file" / "x" / "y"):
        code, out, err = call(capsys, "predict", model, photographs, option, place)
        assert (code, out) == (2, "") and "which is a file" in err and err.count("\n") == 1


@pytest.mark.parametrize("option", ["--images", "--csv"])
def test_a_folder_that_cannot_be_written_is_one_line(capsys, model, photographs, option, unread, monkeypatch):
    temporary_file = tempfile.TemporaryFile

    def refuse(*args, **options):
        if "dir" in options:
            raise PermissionError(13, "Permission denied")
        return temporary_file(*args, **options)

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    code, out, err = call(capsys, "predict", model, photographs, option, photographs.parent / "new" / "x")
    assert (code, out) == (2, "") and "Received: Permission denied" in err and err.count("\n") == 1


def test_nothing_is_left_where_it_was_tried_whether_a_folder_can_be_written(tmp_path):
    files.check_writable(tmp_path / "a" / "b")
    files.check_replaceable(tmp_path / "c" / "d.csv")
    assert not list(tmp_path.iterdir())


def test_a_table_that_fails_late_loses_no_prediction(capsys, model, photographs, monkeypatch):
    def fail(path, rows):
        raise UserError(f"{path} must be writable. Received: No space left on device")

    monkeypatch.setattr(files, "write_csv", fail)
    code, out, err = call(capsys, "predict", model, photographs, "--json", "--csv", photographs.parent / "rows.csv")
    assert code == 2 and len(json.loads(out)) == 6 and "No space left" in err


# Memory


@pytest.mark.parametrize("pixels", [1, 1300, 10**9])
def test_no_more_pixels_are_held_than_the_limit(model, photographs, pixels, monkeypatch):
    expected = workflow.predict_files(model, [str(photographs)])
    monkeypatch.setattr(prediction, "BATCH_PIXELS", pixels)
    held, predict = [], prediction.predict_images
    monkeypatch.setattr(
        prediction,
        "predict_images",
        lambda *args: (held.append([i.shape[0] * i.shape[1] for i in args[2]]), predict(*args))[1],
    )
    assert workflow.predict_files(model, [str(photographs)]) == expected
    assert sum(map(len, held)) == 6 and all(len(batch) == 1 or sum(batch) <= pixels for batch in held)
    assert len(held) == {1: 6, 1300: 4, 10**9: 1}[pixels]
    results = mobilenet_tf.load(model).predict(sorted(photographs.iterdir()))
    assert [result.name for result in results] == [row["label"] for row in expected]


def test_a_batch_is_let_go_before_the_next_one(monkeypatch):
    monkeypatch.setattr(prediction, "BATCH", 2)
    earlier = []
    for batch in prediction.batches(range(5), lambda index: None if index == 1 else np.zeros((1, 1, 3), np.uint8)):
        assert [item for item, _ in batch] in ([0, 2], [3, 4])
        assert all(image() is None for image in earlier)
        earlier += [weakref.ref(image) for _, image in batch]
    assert len(earlier) == 4


def test_rows_are_in_the_order_of_the_files(model, photographs):
    (photographs / "3.png").write_bytes(b"no image")
    rows = workflow.predict_files(model, [str(photographs)])
    assert [Path(row["file"]).name for row in rows] == [f"{index}.png" for index in range(6)]
    assert [index for index, row in enumerate(rows) if "error" in row] == [3]


# Rendering


@pytest.mark.parametrize("task", ["classification", "detection", "segmentation", "attributes", "embedding"])
def test_transparent_images_are_predicted_on_the_background_of_the_model(runs, task, tmp_path):
    """As the same image is that was flattened beforehand, also by `load` and in evaluation."""
    alpha = Image.new("RGBA", (40, 30), (255, 0, 0, 0))
    alpha.paste((0, 90, 200, 255), (5, 5, 25, 20))
    alpha.save(tmp_path / "cut_out.png")
    flat = Image.new("RGB", alpha.size, "black")
    flat.paste(alpha, mask=alpha)
    flat.save(tmp_path / "flat.png")
    file = tmp_path / "model.tflite"
    file.write_bytes((runs / task / "exports" / "model.tflite").read_bytes())
    metadata = artifact.read(file)
    metadata.config["data"]["background"] = "black"
    artifact.write(file, metadata)
    rows = [workflow.predict_files(file, [str(tmp_path / name)]) for name in ("cut_out.png", "flat.png")]
    without_file = [{key: value for key, value in row[0].items() if key != "file"} for row in rows]
    assert without_file[0] == without_file[1]
    opened = mobilenet_tf.load(file)
    inputs = [opened.inference.preprocess(opened._array(str(tmp_path / name))) for name in ("cut_out.png", "flat.png")]
    np.testing.assert_array_equal(*inputs)


@pytest.mark.parametrize("reader", ["folder", "csv"])
def test_readers_show_the_background_of_the_config(reader, tmp_path):
    from mobilenet_tf.tasks.classification.task import task

    lines = ["path,label,split"]
    for name in ("cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGBA", (8, 8), (255, 0, 0, 0)).save(tmp_path / name)
        lines.append(f"{name},{name[:3]},{'train' if name.endswith('a.png') else 'validation'}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    root = tmp_path if reader == "folder" else tmp_path / "list.csv"
    values = {"reader": reader, "root": str(root), "background": "#0000ff", "validation_fraction": 0.5}
    base = {"task": "classification", "data": values, "train": {"stages": [{"duration": 1, "learning_rate": 1}]}}
    source = task(config.override(base, [], "test")).source("train")
    for record in source.items:
        np.testing.assert_array_equal(source.load(record)["image"], np.full((8, 8, 3), [0, 0, 255]))


@pytest.mark.parametrize("color", ["nothing", "#12345678", ""])
def test_the_background_must_be_a_color(color):
    with pytest.raises(UserError, match="data.background must be the name of a color, such as white, or #rrggbb"):
        config.load("folder_v2", ["data.root=x", f"data.background={color}"])


# Output


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names of any bytes are a matter of Linux")
@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}]
)
@pytest.mark.parametrize("output", ["--json", "table"])
def test_any_name_is_printed_in_any_terminal(model, photographs, environment, output):
    os.rename(photographs / "0.png", photographs / "größe 猫.png")
    os.rename(os.fsencode(photographs / "1.png"), os.fsencode(photographs) + b"/caf\xe9.png")
    table = photographs.parent / "rows.csv"
    command = [
        sys.executable,
        "-c",
        "from mobilenet_tf import cli; cli.main()",
        "predict",
        str(model),
        str(photographs),
    ]
    command += ["--csv", str(table), "--images", str(photographs.parent / "drawn")]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("LC_", "LANG", "PYTHON"))}
    clean |= {"PYTHONCOERCECLOCALE": "0"} | environment
    done = subprocess.run(command + ["--json"] * (output == "--json"), capture_output=True, env=clean)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr and b"\x1b" not in done.stdout
    if output == "--json":
        rows = json.loads(done.stdout)
        assert len(rows) == 6 and not any("error" in row for row in rows)
        assert all(os.path.basename(row["file"]) for row in rows)
    with open(table, encoding="utf-8") as file:
        assert len({row["file"] for row in csv.DictReader(file)}) == 6
    assert len(list((photographs.parent / "drawn").iterdir())) == 6


def test_too_many_threads_are_refused_before_they_are_started(capsys, model, photographs):
    code, _, err = call(capsys, "predict", model, photographs, "--threads", 100_000)
    assert code == 2 and "threads must be 1 to" in err and err.count("\n") == 1
    with pytest.raises(UserError, match="threads must be 1 to"):
        load_predictor(model, threads=100_000)
    with pytest.raises(UserError, match="threads must be 1 to"):
        mobilenet_tf.load(model, threads=-1)
