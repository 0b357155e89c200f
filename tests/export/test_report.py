"""The report card as a page: what is in it, and that text stays text."""

import dataclasses
from collections import Counter
from html.parser import HTMLParser

from mobilenet_tf.export import report
from mobilenet_tf.export.verification import Parity, Verification

PARITY = Parity(0.1, 0.01, 0.975, 8, relative_diff=1e-6, compared=8)


def verification(file, **values):
    known = {"latency_ms": {"1": 2.5, "2": 1.25}, "peak_memory": 3_400_000, "unsupported_ops": ["FlexErf"]}
    scores = {"m": 0.9}, {"m": values.pop("score", 0.5)}
    return Verification(file, "tflite", 1_500_000, PARITY, *scores, ("m", "max"), 0.02, **known | values)


def test_the_page_is_one_file_with_all_of_it(tmp_path):
    rows = [verification("a.tflite"), verification("b.onnx", score=0.9, latency_ms={"auto": 7.0}, peak_memory=None)]
    examples = [[("model", "data:image/jpeg;base64,AA"), ("a.tflite", "data:image/jpeg;base64,BB")]]
    path = report.write(tmp_path / "report.html", "run <one>", rows, examples, ["slow & steady"])
    text = path.read_text()
    for expected in ("1.50", "+0.400", "97.5%", "2.50", "1.25", "3.4", "FlexErf", "7.00", "failed", "ok"):
        assert f">{expected}</td>" in text
    assert "run &lt;one&gt;" in text and "slow &amp; steady" in text and "<one>" not in text
    assert text.count("<img ") == 2 and "http" not in text


EVIL = """<script>alert('x')</script>"><img src=x onerror='y'>&amp;\x1b[31m\udc80"""


def test_names_of_strangers_are_text_wherever_they_stand(tmp_path):
    """File names, metrics, operations, notes, captions, titles and addresses: none of them becomes markup."""
    row = verification(EVIL, unsupported_ops=[EVIL], min_runtime=EVIL)
    row = dataclasses.replace(row, monitor=(EVIL, "max"), reference={EVIL: 0.9}, candidate={EVIL: 0.5})
    examples = [[(EVIL, f"data:image/jpeg;base64,{EVIL}"), ("b", EVIL)]]
    path = report.write(tmp_path / "report.html", EVIL, [row], examples, [EVIL])
    tags = Tags()
    tags.feed(path.read_text(encoding="utf-8"))
    assert not {"script"} & tags.names and tags.names >= {"table", "img"}
    assert not [key for key in tags.attributes if key.startswith("on")] and tags.count["img"] == 2
    assert tags.text.count("<script>") == 2 + 1 + 3 + 1 + 1, "title and heading, about, cells, note, caption"
    assert "\x1b" not in tags.text


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
