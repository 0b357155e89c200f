"""The report card as a page: what is in it, and that text stays text."""

from mobilenet_tf.export import report
from mobilenet_tf.export.verification import Parity, Verification

PARITY = Parity(0.1, 0.01, 0.975, 8)


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
