"""Damaged files of every kind end in one line for the user, or are read: over 5,000 mutations, the same in every run.

MOBILENET_TF_FUZZ_SEED draws others; MOBILENET_TF_FUZZ_FACTOR makes them more.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from subjects import SUBJECTS

SEED = os.environ.get("MOBILENET_TF_FUZZ_SEED", "1")
FACTOR = float(os.environ.get("MOBILENET_TF_FUZZ_FACTOR", "1"))
MOST_GROWTH = 1024  # MiB; the files have some KiB


def test_there_are_mutations_enough():
    assert sum(subject.count for subject in SUBJECTS.values()) >= 5000


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_damaged_files_are_read_or_refused_in_one_line(name):
    count = max(1, round(SUBJECTS[name].count * FACTOR))
    worker = [sys.executable, str(Path(__file__).with_name("worker.py")), name, SEED, str(count)]
    result = subprocess.run(worker, capture_output=True, text=True, timeout=1800)
    lines = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert result.returncode == 0, f"the process ended at: {result.stderr[-3000:]}"
    *faults, summary = lines
    assert not faults, json.dumps(faults[:5], indent=1)
    assert summary["done"] == count and summary["growth"] < MOST_GROWTH, summary
