"""Latency and size: what is timed, the turns, the warnings, and files that are not ours."""

import io
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from mobilenet_tf.analysis import benchmark, timing
from mobilenet_tf.analysis.benchmark import Latency, compare, latency
from mobilenet_tf.analysis.inspect_tflite import inspect_tflite
from mobilenet_tf.analysis.timing import COMPILED, contender
from mobilenet_tf.export.convert import export
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.inference.predict import Predictor, load_predictor
from mobilenet_tf.inference.tflite_compiled import compiled_runner
from mobilenet_tf.utils.errors import UserError

METADATA = Metadata("classification", ["a", "b"], (16, 24))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    images = keras.Input((None, None, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3)(images))
    model = keras.Model(images, keras.layers.Dense(2)(x))
    calibration = [np.random.default_rng(0).uniform(0, 255, (4, 16, 24, 3)).astype(np.float32)]
    model.save(folder / "model.keras")
    return {
        "keras": folder / "model.keras",
        "savedmodel": export(model, folder / "saved", "savedmodel", metadata=METADATA),
        "float": export(model, folder / "model.tflite", "tflite", metadata=METADATA),
        "int8": export(model, folder / "int8.tflite", "tflite_int8", metadata=METADATA, calibration=calibration),
    }


def fake(name, milliseconds, calls):
    def run(images):
        calls.append(name)
        time.sleep(milliseconds / 1e3)
        return {"logits": np.zeros((len(images), 2), np.float32)}

    return Predictor(run, "keras", name, (None, 8, 8, 3))


def test_the_clock_is_right():
    calls = []
    result = latency(fake("slow", 5, calls), warmup=2, runs=20)
    assert 5.0 <= result.min_ms <= result.median_ms <= result.p90_ms
    assert result.median_ms < 50
    assert result.runs == 20
    assert len(calls) >= 22


def test_files_take_turns():
    calls = []
    benchmark._time([contender(fake(name, 0, calls), batch=1) for name in "ab"], warmup=0, runs=20)
    changes = sum(before != after for before, after in zip(calls, calls[1:], strict=False))
    assert changes == 3, "a b a b"
    assert calls.count("a") == calls.count("b")


@pytest.mark.slow
def test_every_kind_side_by_side(files):
    results = compare(files.values(), threads=(1, 2), warmup=1, runs=3)
    assert [(r.file, r.threads) for r in results] == [
        ("model.keras", None),
        ("saved", None),
        ("model.tflite", 1),
        ("int8.tflite", 1),
        ("model.tflite", 2),
        ("int8.tflite", 2),
    ]
    assert [r.quantized for r in results] == [False, False, False, True, False, True]
    assert all(0 < r.median_ms <= r.p90_ms and r.runs == 3 for r in results)
    assert results[2].size == files["float"].stat().st_size
    assert results[1].size > (files["savedmodel"] / "saved_model.pb").stat().st_size
    assert results[2].input_shape == (1, 16, 24, 3)
    assert results[0].input_shape == (1, 224, 224, 3), "a file that takes any size and says nothing"


def test_results_are_json(files):
    [result] = compare([files["float"]], threads=(1,), warmup=0, runs=2)
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert result.to_dict()["input_shape"] == [1, 16, 24, 3]


def test_batches(files):
    assert latency(files["float"], threads=1, warmup=0, runs=2, batch=3).input_shape == (3, 16, 24, 3)


def test_files_of_the_same_name_are_listed_with_their_paths(files, tmp_path):
    other = tmp_path / "model.tflite"
    other.write_bytes(files["float"].read_bytes())
    names = [r.file for r in compare([files["float"], other], threads=(1,), warmup=0, runs=1)]
    assert names == [str(files["float"]), str(other)]


def test_compiled_model_runs_each_tflite_file_too(files):
    results = compare([files["float"], files["int8"], files["keras"]], threads=(1, 2), warmup=1, runs=12, compiled=True)
    rows = [
        ("model.tflite", "LiteRT"),
        ("model.tflite", COMPILED),
        ("int8.tflite", "LiteRT"),
        ("int8.tflite", COMPILED),
    ]
    assert [(r.file, r.runtime) for r in results] == [*rows, ("model.keras", "TensorFlow"), *rows]
    assert all(r.runs == 12 and 0 < r.min_ms <= r.median_ms <= r.p90_ms for r in results)
    assert [r.threads for r in results] == [1] * 4 + [None] + [2] * 4
    assert json.loads(json.dumps(results[1].to_dict()))["runtime"] == "LiteRT CompiledModel"
    shown = io.StringIO()
    Console(file=shown, width=120).print(benchmark.table(results))
    assert shown.getvalue().count(COMPILED) == 4


def test_compiled_model_answers_as_the_interpreter_does(files):
    images = np.random.default_rng(1).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    for name in ("float", "int8"):
        run = compiled_runner(files[name], threads=1)
        wanted = load_predictor(files[name], threads=1)
        for batch in (images[:1], images, images[1:]):  # other sizes one after the other
            [got] = run(batch).values()
            np.testing.assert_allclose(got, wanted.run(batch)["logits"], atol=1e-4, err_msg=name)


def test_outputs_of_no_fixed_size_are_not_given_to_compiled_model(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
    def bright(images):
        return tf.cast(tf.where(images > 127.0), tf.float32)

    path = converted(bright, tmp_path / "bright.tflite")
    with pytest.warns(UserWarning, match="not timed: .*bright.tflite must run in LiteRT's CompiledModel. Received: "):
        [result] = compare([path], threads=(1,), warmup=0, runs=1, compiled=True)
    assert result.runtime == "LiteRT"


def test_a_process_that_ends_is_one_warning(files, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.warns(UserWarning, match="not timed: .*its process ended"):
        [result] = compare([files["float"]], threads=(1,), warmup=0, runs=1, compiled=True)
    assert result.runtime == "LiteRT"


def test_a_process_that_ends_between_turns_is_one_line(files):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([shutil.which("false")], **pipes) as process:
        process.wait()
        with pytest.raises(UserError, match="model.tflite must run in LiteRT's CompiledModel. Received: its process"):
            timing._turn_elsewhere(process, files["float"], 3)


def converted(function, path):
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()]).convert())
    return path


FLOAT = Latency("float.tflite", "tflite", 4_000_000, False, (1, 8, 8, 3), 1, 10, 2.0, 2.5, 1.9, "LiteRT")
INT8 = replace(FLOAT, file="int8.tflite", quantized=True)


@pytest.mark.parametrize(
    ("milliseconds", "threads", "count"),
    [(3.0, 1, 1), (1.0, 1, 0), (3.0, 2, 0)],
    ids=["slower", "faster", "nothing to compare with"],
)
def test_a_slow_int8_file_is_one_warning(milliseconds, threads, count):
    lines = benchmark.warnings([FLOAT, replace(INT8, median_ms=milliseconds, threads=threads)])
    assert len(lines) == count
    assert all("\n" not in line and "int8.tflite is slower than float.tflite" in line for line in lines)


def test_a_warning_blames_only_what_the_file_has(files):
    slow = replace(INT8, median_ms=3.0)
    [line] = benchmark.warnings([FLOAT, slow])
    assert "HARD_SWISH" not in line
    [line] = benchmark.warnings([FLOAT, replace(slow, slow_operations=("HARD_SWISH",))])
    assert "no fast quantized kernel of HARD_SWISH on x86" in line
    [result] = compare([files["int8"]], threads=(1,), warmup=0, runs=1)
    operations = {row.type for row in inspect_tflite(files["int8"])["rows"]}
    assert set(result.slow_operations) == operations & {"HARD_SWISH"}


def test_one_warning_a_file():
    twice = [replace(r, threads=n) for n in (1, 2) for r in (FLOAT, replace(INT8, median_ms=3.0))]
    [line] = benchmark.warnings(twice)
    assert "threads: 1" in line


def test_the_table_shows_rows_and_warnings():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(benchmark.table([FLOAT, replace(INT8, median_ms=3.25)]))
    text = console.export_text()
    assert "3.25" in text and "4.00" in text and "1x8x8x3" in text
    assert "int8.tflite is slower than float.tflite" in text


@pytest.mark.parametrize("option", [{"runs": 0}, {"warmup": -1}, {"batch": 0}])
def test_bad_numbers_are_one_line(files, option):
    with pytest.raises(UserError, match=r"must be at least \d\. Received: "):
        latency(files["float"], **option)


def test_a_foreign_tflite_of_another_input(tmp_path):
    @tf.function(input_signature=[tf.TensorSpec((1, 7, 5), tf.float32)])
    def double(x):
        return 2 * x

    assert latency(converted(double, tmp_path / "double.tflite"), threads=1, warmup=0, runs=2).input_shape == (1, 7, 5)
