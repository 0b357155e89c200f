"""The page of a run: what is in it, that text stays text, and that it fits a phone."""

import csv
import dataclasses
import json
import types
import warnings
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from mobilenet_tf.export import pages, report, usage
from mobilenet_tf.export.verification import Parity, Verification
from mobilenet_tf.inference.artifact import Metadata
from mobilenet_tf.training.intervals import Interval, Scores
from mobilenet_tf.utils.run_folder import RunFolder

PARITY = Parity(0.1, 0.01, 0.975, 80, exact=0.0, compared=80)


def verification(file, **values):
    known = {"latency_ms": {"1": 2.5, "2": 1.25}, "peak_memory": 3_400_000, "unsupported_ops": ["FlexErf"]}
    scores = {"m": 0.9, "count": 500}, {"m": values.pop("score", 0.5), "count": 500}
    return Verification(file, "tflite", 1_500_000, PARITY, *scores, ("m", "max"), 0.02, **known | values)


class Task:
    """What the page asks of a task."""

    compares, name = False, "classification"

    def __init__(self, words):
        self.words = words

    def decode(self, raw, sizes):
        return [{}] * len(sizes)

    def draw(self, image, prediction, classes):
        return image


def exporter(word="cat", scores=None):
    metadata = Metadata("classification", ["a", "b"], (32, 48), outputs="softmax")
    model = types.SimpleNamespace(backbone=word, alpha=0.5)
    cfg = types.SimpleNamespace(task="classification", model=model, to_dict=lambda: {"data": {"root": word}})

    def reference(images):
        return np.zeros((len(images), 2))

    return types.SimpleNamespace(
        task=Task(word),
        cfg=cfg,
        metadata=dataclasses.replace(metadata, classes=[]),
        images=np.zeros((9, 32, 48, 3), np.float32),
        validation=None,
        reference=reference,
        reference_for=lambda name: (reference, scores or Scores({"m": 0.9, "count": 500})),
    )


def stored_run(path, word="cat"):
    run = RunFolder(path)
    run.plots.mkdir(parents=True)
    for name in ("curves", "confusion"):
        Image.new("RGB", (1500, 300)).save(run.plots / f"{name}.png")
    run.metrics.write_text(json.dumps({"test": {"m": 0.8, "count": 2000}, "validation": {"m": 0.9}}))
    with (run.plots / "per_class.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(
            [["name", "recall", "support"], [word.encode("utf-8", "replace").decode(), "0.75", "20"], ["b", "", "0"]]
        )
    return run


def test_the_page_is_one_file_with_all_of_it(tmp_path):
    rows = [
        verification("a.tflite", intervals={"m": Interval(0.45, 0.55, "Wilson")}),
        verification("b.onnx", score=0.9, latency_ms={"auto": 7.0}, peak_memory=None),
    ]
    scores = Scores({"m": 0.9, "count": 500}, {"m": Interval(0.88, 0.92, "jackknife")})
    path = report.write(
        tmp_path / "report.html",
        "run <one>",
        exporter(scores=scores),
        rows,
        [],
        ["slow & steady"],
        stored_run(tmp_path),
    )
    text = path.read_text()
    for expected in ("1.50", "+0.400", "2.50", "1.25", "3.4", "FlexErf", "7.00", "failed", "ok", "97.5%", "0.9000"):
        assert f">{expected}<" in text, expected
    assert "0.450 - 0.550 (Wilson)" in text and "0.880 - 0.920 (jackknife)" in text
    assert "0.790 - 0.810 (scaled)" in text, "four times the samples, half the width"
    assert "0.531 - 0.888 (Wilson)" in text, "recall of 15 of 20"
    assert "a.tflite is failed: m drops by 0.400" in text
    assert "run &lt;one&gt;" in text and "slow &amp; steady" in text and "<one>" not in text
    assert text.count("<img ") == report.EXAMPLE_IMAGES * 2 + 2, "image and model; curves and confusion"
    assert 'content="width=device-width' in text and "http" not in text.replace("http-equiv", "")
    for place in ("Android", "iOS", "Browser", "Raspberry Pi", "ImageClassifier.createFromOptions"):
        assert place in text


def test_a_model_without_a_run_has_a_page(tmp_path):
    path = report.write(tmp_path / "report.html", "m", exporter(), [verification("a.tflite")], [])
    text = path.read_text()
    assert 'id="files"' in text and 'id="curves"' not in text and 'id="classes"' not in text


@pytest.mark.parametrize("damaged", ["metrics.json", "plots/curves.png", "plots/confusion.png", "plots/per_class.csv"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00{", b"[]"])
def test_a_damaged_file_of_the_run_costs_its_part_of_the_page_alone(damaged, content, tmp_path):
    run = stored_run(tmp_path)
    (tmp_path / damaged).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = report.write(tmp_path / "report.html", "m", exporter(), [verification("a.tflite")], [], run=run)
    assert 'id="files"' in path.read_text()


@pytest.mark.parametrize("task", sorted(usage.APIS))
def test_how_to_use_a_file_for_every_task(task):
    outputs = {"segmentation": "logits", "detection": "detections", "embedding": "embedding"}.get(task, "softmax")
    uses = usage.of(Metadata(task, ["a"], (32, 32), outputs=outputs), ["model.tflite", "model.onnx"], "runs/one")
    assert [use.place for use in uses][:4] == ["Android", "iOS", "Browser", "Raspberry Pi"]
    text = "\n".join(line for use in uses for line in [*use.text, *use.code])
    assert usage.APIS[task].name in text and "mobilenet-tf try runs/one" in text and "model.onnx" in text
    for use in uses:
        if "Python" in use.place or use.place == "Raspberry Pi":
            compile("\n".join(use.code), use.place, "exec")


def test_files_that_mediapipe_does_not_open_are_told():
    uses = usage.of(Metadata("segmentation", ["a"], (32, 32), outputs="class_map"), ["model.tflite"], "RUN")
    assert uses[0].place == "Android and iOS" and "do not open files that end in class_map" in uses[0].text[0]


EVIL = """<script>alert('x')</script>"><img src=x onerror='y'>&amp;\x1b[31m\udc80{{ 7 * 7 }}"""


def test_names_of_strangers_are_text_wherever_they_stand(tmp_path):
    """File names, metrics, operations, notes, classes, titles and config: none of them becomes markup."""
    row = verification(EVIL, unsupported_ops=[EVIL], min_runtime=EVIL)
    row = dataclasses.replace(row, monitor=(EVIL, "max"), reference={EVIL: 0.9}, candidate={EVIL: 0.5})
    scores = Scores({EVIL: 0.9, "count": 5})
    path = report.write(
        tmp_path / "report.html", EVIL, exporter(EVIL, scores), [row], [], [EVIL], stored_run(tmp_path, EVIL)
    )
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    assert not {"script"} & tags.names and tags.names >= {"table", "img"}
    assert not [key for key in tags.attributes if key.startswith("on")]
    assert tags.count["img"] == report.EXAMPLE_IMAGES * 2 + 2
    assert tags.text.count("<script>") >= 10 and "\x1b" not in tags.text and "{{ 7 * 7 }}" in tags.text


def test_a_template_that_lacks_a_value_is_an_error():
    with pytest.raises(Exception, match="undefined"):
        pages.render("report.html", title="only this")


class Tags(HTMLParser):
    """Collects the names of the tags and of their attributes, and the text."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes, self.text, self.count = set(), [], "", Counter()

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.count[tag] += 1
        self.attributes += [key for key, _ in attrs]

    def handle_data(self, data):
        self.text += data
