"""The command line as a user meets it: fast help, one-line mistakes, JSON that parses, every command on a real run."""

import csv
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer
from command import call
from PIL import Image

from mobilenet_tf import cli
from mobilenet_tf.inference import artifact

COMMANDS = (
    "demo",
    "train",
    "evaluate",
    "export",
    "predict",
    "try",
    "benchmark",
    "inspect",
    "prune",
    "cost",
    "configs",
    "doctor",
)


def test_help_names_every_command(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0 and all(f"  {name} " in out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "stanford_dogs_v2", "train.batchsize=3"], "unknown key train.batchsize (nearest: train.batch_size"),
        (["train", "stanford_dogs"], "nearest: stanford_dogs_v"),
        (["train", "folder_v2"], "data.root must be set"),
        (["cost", "mobilenet_v4"], "mobilenet_v4"),
        (["cost", "mobilenet_v2", "--size", "big"], "--size must look like N or NxN"),
        (["evaluate", "nowhere.tflite"], "nowhere.tflite"),
        (["evaluate", "x", "--split", "trian"], "--split must be train, validation or test"),
        (["predict", "nowhere.keras", "a.jpg"], "nowhere.keras"),
        (["try", "nowhere"], "a run folder or a .tflite file must exist. Received: nowhere"),
        (["export", "nowhere", "--app", "ios"], "--app must be one of web, android. Received: ios"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2_without_tensorflow(arguments, message):
    code = "import sys\nfrom mobilenet_tf import cli\ntry: cli.main()\nfinally: print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert done.stdout.strip() == "False"


def test_doctor_and_configs_report_as_json(capsys):
    found = json.loads(call(capsys, "doctor", "--json")[1])
    assert found["tensorflow"].startswith("2.") and found["cores"] == os.cpu_count()
    assert found["ai-edge-litert"].startswith("2.")
    names = [row["name"] for row in json.loads(call(capsys, "configs", "list", "--json")[1])]
    assert {"demo", "folder_v2", "stanford_dogs_v1", "stanford_dogs_v2", "stanford_dogs_v3_large"} <= set(names)
    shown = json.loads(call(capsys, "configs", "show", "demo", "seed=5", "--json")[1])
    assert shown["seed"] == 5 and shown["train"]["ema"] is None


@pytest.mark.slow
def test_cost_reports_the_paper_and_draws(capsys, tmp_path):
    numbers = json.loads(call(capsys, "cost", "mobilenet_v1", "--json", "--formulas", "3,512,512,14")[1])
    assert round(numbers["mult_adds"] / 1e6, 2) == 568.74
    assert [row["kind"] for row in numbers["formulas"]][0] == "standard"
    code, out, _ = call(capsys, "cost", "mobilenet_v1", "--plot", tmp_path / "grid.png")
    assert code == 0 and "94.86" in out and Image.open(tmp_path / "grid.png").width > 400


@pytest.mark.slow
def test_evaluate_scores_a_run_and_keeps_the_numbers(capsys, small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    code, out, _ = call(capsys, "evaluate", run, "--json")
    numbers = json.loads(out)
    assert code == 0 and numbers["count"] == 24
    stored = json.loads((run / "metrics.json").read_text())
    assert stored["test"] == numbers and stored["validation"]["count"] == 24
    assert (run / "plots" / "test" / "confusion.png").exists()
    few = json.loads(call(capsys, "evaluate", run, "--json", "--limit", 10)[1])
    assert few["count"] == 10


@pytest.mark.slow
def test_export_verifies_every_file_and_fails_on_a_drop(capsys, small_run, tmp_path):
    run = shutil.copytree(small_run, tmp_path / "run")
    code, out, _ = call(capsys, "export", run, "--formats", "tflite,tflite_int8", "--json", "--allow-drop")
    results = json.loads(out)
    assert code == 0 and [r["file"] for r in results] == ["model.tflite", "model_int8.tflite"]
    assert results[0]["parity"]["max_diff"] < 1e-4 and results[0]["drop"] == 0
    written = json.loads((run / "exports" / "model.tflite.json").read_text())
    assert written["ok"] is True and written["unsupported_ops"] == []
    assert set(written["latency_ms"]) == {"1", "2"} and all(time > 0 for time in written["latency_ms"].values())
    assert written["peak_memory"] is None or written["peak_memory"] > 100_000
    page = (run / "exports" / "report.html").read_text()
    plots = len(list((run / "plots").glob("*.png")))
    assert page.count("data:image/jpeg;base64,") == 6 * 4 + plots and "model_int8.tflite" in page
    assert len(list((run / "exports" / "examples").glob("*.png"))) == 6
    assert artifact.read(run / "exports" / "model_int8.tflite").outputs == "softmax"
    code, _, _ = call(capsys, "export", run, "--formats", "tflite", "export.max_drop=0")
    assert code == 0
    score = json.loads(call(capsys, "evaluate", run / "exports" / "model.tflite", "--json", "--split", "validation")[1])
    assert score["top1"] == results[0]["reference"]["top1"]
    code, _, err = call(capsys, "export", run, "--formats", "tflight")
    assert code == 2 and "Received: tflight" in err


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("export", ("--analyze", "--analyse")),
        ("predict", ("--images", "--pictures")),
        ("prune", ("--output", "--to")),
        ("prune", ("--flops-reduction", "--fewer")),
        ("prune", ("--criterion", "--by")),
    ],
)
def test_old_names_of_options_still_work(command, names):
    options = typer.main.get_command(cli.app).commands[command].params
    assert [option for option in options if set(names) <= set(option.opts)]


@pytest.mark.slow
def test_analyze_ranks_the_layers_and_tries_the_worst_in_float(capsys, small_run, tmp_path, monkeypatch):
    from mobilenet_tf.export import sensitivity

    monkeypatch.setattr(sensitivity, "FLOAT_LAYER_COUNTS", (0, 2))
    changes = ["export.verify_samples=8", "export.calibration_samples=8"]
    code, out, _ = call(capsys, "export", small_run, "--analyze", *changes, "--folder", tmp_path, "--json")
    result = json.loads(out)
    assert code == 0 and result["metric"] == "top1" and 0 <= result["reference"] <= 1
    assert {"logits", "conv_dw_1"} <= {layer["layers"][-1] for layer in result["layers"]}
    assert [trial["float_layers"] for trial in result["trials"]] == [0, 2]
    assert json.loads((tmp_path / "sensitivity.json").read_text()) == result
    assert Image.open(tmp_path / "sensitivity.png").width > 800


@pytest.mark.slow
def test_a_drop_over_the_limit_is_exit_code_3(capsys, small_run, tmp_path, monkeypatch):
    from mobilenet_tf.export import verification

    monkeypatch.setattr(verification.Verification, "drop", property(lambda self: 0.5))
    run = shutil.copytree(small_run, tmp_path / "run")
    assert call(capsys, "export", run, "--formats", "tflite")[0] == 3
    assert call(capsys, "export", run, "--formats", "tflite", "--allow-drop")[0] == 0


def test_predict_takes_files_folders_and_globs(capsys, small_run, tmp_path):
    from mobilenet_tf.data import scenes

    pictures = scenes.write_folder(tmp_path / "pictures", {"test": 4}, size=64)
    broken = tmp_path / "pictures" / "broken.jpg"
    broken.write_text("this is no picture")
    out = call(
        capsys,
        "predict",
        small_run,
        pictures,
        "--json",
        "--csv",
        tmp_path / "rows.csv",
        "--images",
        tmp_path / "drawn",
    )[1]
    rows = json.loads(out)
    assert len(rows) == 5 and len({row["file"] for row in rows}) == 5
    assert [row for row in rows if "error" in row][0]["file"] == str(broken)
    with open(tmp_path / "rows.csv") as file:
        assert len({row["file"] for row in csv.DictReader(file)}) == 5
    assert len(list((tmp_path / "drawn").rglob("*.png"))) == 4
    again = json.loads(call(capsys, "predict", small_run, str(pictures / "test" / "*" / "*.jpg"), "--json")[1])
    assert [row["file"] for row in again] == [row["file"] for row in rows if "error" not in row]
    code, _, err = call(capsys, "predict", small_run, tmp_path / "nothing*.jpg")
    assert code == 2 and "nothing*.jpg" in err


def test_predict_agrees_with_evaluation(capsys, small_run, small_config, tmp_path):
    """One preprocessing: predict prints for a PNG the probability that evaluation gives that picture."""
    from mobilenet_tf.data.source import evaluation_batches
    from mobilenet_tf.inference.predict import load_predictor
    from mobilenet_tf.tasks.classification.task import task

    cfg = small_config()
    source = task(cfg).source("test")
    sample = source.load(next(iter(source.items)))
    Image.fromarray(sample["image"].numpy()).save(tmp_path / "one.png")
    batch = next(iter(evaluation_batches(source, task(cfg).transform(training=False), batch_size=1)))
    expected = task(cfg).decode(load_predictor(small_run)(batch["image"].numpy()), None)[0]["probabilities"]
    row = json.loads(call(capsys, "predict", small_run, tmp_path / "one.png", "--json")[1])[0]
    assert row["probability"] == pytest.approx(float(expected.max()), abs=1e-3)


def test_other_classes_in_the_data_are_refused(capsys, small_run, tmp_path):
    from mobilenet_tf.data import scenes

    root = scenes.write_folder(tmp_path / "pictures", {"test": 20, "train": 20}, size=32)
    shutil.rmtree(next((root / "test").iterdir()))
    first = sorted(p.name for p in (root / "train").iterdir())[0]
    os.rename(root / "train" / first, root / "train" / "aardvark")
    shutil.rmtree(root / "test" / first, ignore_errors=True)
    code, _, err = call(capsys, "evaluate", small_run, "data.reader=folder", f"data.root={root}", "--split", "train")
    assert code == 2 and "aardvark" in err and err.count("\n") == 1


def test_a_foreign_tflite_benchmarks_but_says_what_is_missing(capsys, small_run, tmp_path):
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.export(tmp_path / "saved", verbose=False)
    path = tmp_path / "foreign.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
    results = json.loads(call(capsys, "benchmark", path, "--threads", 1, "--runs", 5, "--json")[1])
    assert len(results) == 1
    (tmp_path / "picture.jpg").touch()
    for arguments in (["evaluate", path], ["predict", path, tmp_path / "picture.jpg"]):
        code, _, err = call(capsys, *arguments)
        assert code == 2 and err.startswith("error: --classes must give the 2 classes of the network")
    code, _, err = call(capsys, "evaluate", path, "--config", small_run / "config.yaml")
    assert code == 2 and err.startswith(f"error: {path} must have ") and err.endswith("Received: 2 outputs\n")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(path.read_bytes()[:500])
    for command in ("evaluate", "predict", "inspect", "benchmark"):
        code, _, err = call(capsys, command, cut, *([tmp_path / "picture.jpg"] if command == "predict" else []))
        assert code == 2 and f"error: {cut} must be a whole TFLite model. Received: " in err and err.count("\n") == 1


def test_a_finished_run_is_never_touched_and_ctrl_c_says_how_to_go_on(capsys, small_run, tmp_path, monkeypatch):
    folders = []

    def interrupted(_, __, folder, **___):
        folders.append(folder)
        raise KeyboardInterrupt

    monkeypatch.setattr("mobilenet_tf.training.train.train", interrupted)
    run = shutil.copytree(small_run, tmp_path / "run")
    code, out, _ = call(capsys, "train", small_run / "config.yaml", "--run-dir", run)
    assert code == 130 and folders == [tmp_path / "run-2"]
    assert f"{run} holds a finished run, which stays as it is: the new one goes to {tmp_path / 'run-2'}" in out
    (tmp_path / "run-2" / "checkpoints").mkdir(parents=True)
    shutil.copy(run / "config.yaml", tmp_path / "run-2")
    code, out, _ = call(capsys, "train", small_run / "config.yaml", "--run-dir", run)
    assert code == 130 and f"the one that was interrupted is continued in {tmp_path / 'run-2'}" in out
    code, _, err = call(capsys, "train", small_run / "config.yaml", "--run-dir", run, "--resume")
    assert code == 2 and err.startswith("error: --resume needs an unfinished run")
    code, _, err = call(capsys, "train", small_run / "config.yaml", "--run-dir", tmp_path / "new")
    assert code == 130 and "continues from the last finished epoch" in err


def test_the_wheel_holds_every_module_and_config(tmp_path):
    root = Path(__file__).parent.parent
    junk = shutil.ignore_patterns(".git", ".venv*", "runs", "*.egg-info", "__pycache__")
    copy = shutil.copytree(root, tmp_path / "copy", ignore=junk)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", tmp_path, copy]
    subprocess.run(command, check=True, capture_output=True)
    names = zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist()
    library = {str(path.relative_to(root)) for path in (root / "mobilenet_tf").rglob("*.py")}
    mapped = {
        f"mobilenet_tf/{p.relative_to(root)}" for p in [*root.glob("tasks/**/*.py"), *root.glob("configs/*/*.yaml")]
    }
    assert library | mapped <= set(names)
    assert all(name.startswith("mobilenet_tf") for name in names)
