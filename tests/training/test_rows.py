"""The rows that a training prints: aligned, the best marked, with what is left of the run."""

import pytest

from mobilenet_tf.training.rows import Bar, Rows, duration


def row(epoch, seconds, value=None):
    scores = {} if value is None else {"val_top1": value}
    return {"epoch": epoch, "loss": 1.25, "learning_rate": 0.001, "seconds": seconds, **scores}


def test_an_epoch_is_one_aligned_row():
    rows = Rows("top1", epochs=12, steps=40)
    lines = [
        rows.header(),
        rows.row(row(1, 30.0, 0.5), 10, True),
        rows.row(row(2, 2.0), 10, False),
        rows.row(row(3, 4.0, 0.4), 10, False),
        rows.row(row(4, 3.0, 0.61), 10, True),
    ]
    ends = {line.index(word) + len(word) for line, word in zip(lines, ("loss", *["1.2500"] * 4), strict=True)}
    assert len(ends) == 1
    assert [line.split()[0] for line in lines[1:]] == ["1/12", "2/12", "3/12", "4/12"]
    assert [("best" in line) for line in lines[1:]] == [True, False, False, True]
    assert lines[2].split()[2] == "-"  # not evaluated
    assert lines[1].endswith("1:30 min") and lines[2].endswith("4.0 s")  # the first epoch compiles
    assert lines[3].endswith("3.0 s") and lines[4].endswith(" -") and max(map(len, lines)) <= 80


def test_a_run_with_more_epochs_than_expected_says_so():
    assert Rows("top1", epochs=2, steps=0).row(row(3, 1.0, 0.5), 5, False).split()[0] == "3/3"


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.24, "4.2 s"), (59.9, "59.9 s"), (60, "1:00 min"), (3599.4, "59:59 min"), (9600, "2:40 h")]
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


def test_there_is_no_bar_in_a_pipe(capsys):
    bar = Bar()
    bar.start("epoch 1", 3)
    bar.advance()
    bar.close()
    assert capsys.readouterr() == ("", "")
