"""Verdicts on exported files: what the metric, the agreement and the number of samples say together."""

import io
import json
from dataclasses import replace

import pytest

from mobilenet_tf.export import verification
from mobilenet_tf.export.verification import Parity, Verification

QUANTIZED = Parity(0.1, 0.01, 0.98, 64, exact=0.0, compared=64)
ROUNDED = replace(QUANTIZED, exact=1.0, agreement=1.0)


def judged(parity=QUANTIZED, *, model=0.9, file=0.9, count=1000, error=None):
    reference, candidate = {"m": model, "count": count}, {"m": file, "count": count}
    return Verification("m.tflite", "tflite", 1, parity, reference, candidate, ("m", "max"), 0.02, drop_error=error)


@pytest.mark.parametrize(
    ("result", "verdict", "reason"),
    [
        (judged(), "ok", ""),
        (judged(file=0.87), "failed", "m drops by 0.030, more than export.max_drop=0.02"),
        (judged(file=float("nan")), "failed", "m drops by nan"),
        # The case of the field: 24 samples, and every fifth answer is another one
        (judged(replace(QUANTIZED, agreement=0.79, compared=24), count=24), "failed", "agrees with the model on 79.0%"),
        (judged(count=24), "unproven", "24 samples cannot show that m drops by at most 0.02, as it may drop by 0.125"),
        (judged(count=24), "unproven", "about 150 would (export.verify_samples)"),
        (judged(file=0.89, count=200), "unproven", "about 300 would"),
        (judged(file=0.89, error=0.01), "unproven", "about 3,400 would"),
        (judged(file=0.89, error=0.004), "ok", ""),
        (judged(file=0.88), "unproven", "it is at its limit"),
        (judged(replace(QUANTIZED, agreement=0.85)), "unproven", "64 images with something to compare cannot show"),
        # A detector that finds something in one image of 64, as the file does, agrees in one image and not in 64
        (judged(replace(QUANTIZED, agreement=1.0, compared=1)), "unproven", "1 image with something to compare"),
        (judged(replace(QUANTIZED, agreement=None, compared=0)), "unproven", "the same, or nothing, for all 64 images"),
        # A file that gives the model's numbers needs no statistics, however few the samples
        (judged(ROUNDED, count=8), "ok", ""),
        (judged(replace(ROUNDED, agreement=None)), "unproven", "predicts the same, or nothing"),
        (replace(judged(), reference={}, candidate={}), "unproven", "no metric was measured"),
    ],
)
def test_a_verdict_is_what_metric_agreement_and_samples_say(result, verdict, reason):
    assert result.verdict == verdict and reason in result.reason and bool(result.reason) == (verdict != "ok")
    assert result.ok is (verdict == "ok")
    written = json.loads(json.dumps(result.to_dict()))
    assert written["verdict"] == verdict and written["reason"] == result.reason


def test_the_number_that_would_do_does():
    """As many samples with the same drop and agreement are told to be enough."""
    for drop in (0.0, 0.005, 0.015):
        few = judged(file=0.9 - drop, count=50, error=0.02)
        [needed] = [word for word in few.reason.replace(",", "").split() if word.isdigit() and int(word) > 50]
        more = judged(file=0.9 - drop, count=int(needed), error=0.02 * (50 / int(needed)) ** 0.5)
        assert (few.verdict, more.verdict) == ("unproven", "ok")
    few = judged(replace(QUANTIZED, agreement=0.85))
    needed = int(few.reason.split("about ")[1].split()[0].replace(",", ""))
    assert judged(replace(QUANTIZED, agreement=0.85, compared=needed)).ok


def test_the_table_says_why(capsys):
    from rich.console import Console

    console = Console(width=200)
    console.print(verification.table([judged(), judged(count=24)]))
    text = " ".join(capsys.readouterr().out.split())
    assert "m.tflite is unproven: 24 samples cannot show" in text and text.count(" is ok") == 0


def test_the_table_keeps_names_whole_in_80_columns_and_its_reasons_apart():
    from rich.console import Console

    from mobilenet_tf.utils.console import fit

    results = [replace(judged(count=24), file=name) for name in ("model_int8.tflite", "model[8].onnx")]
    table = verification.table(results)
    fit(table, 80)
    screen = Console(width=80, record=True, file=io.StringIO())
    screen.print(table)
    lines = screen.export_text().splitlines()
    assert max(map(len, lines)) <= 80 and not any("\\n" in line for line in lines)
    for result in results:
        assert any(line.startswith(f"{result.file} ") and "unproven" in line for line in lines)
        assert any(line.startswith(f"{result.file} is unproven: 24 samples") for line in lines)
    assert "unsupported" not in screen.export_text()
