import platform
import subprocess
import sys

import pytest

PAGES_ASKED_AGAIN = """
import resource
import numpy as np
from mobilenet_tf import memory

KEEP
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 27, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(faults())
"""


def pages_asked_again(keep: str) -> int:
    program = PAGES_ASKED_AGAIN.replace("KEEP", keep)
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has these settings")
def test_freed_memory_is_used_again():
    fresh, kept = pages_asked_again("pass"), pages_asked_again("assert memory.keep_freed()")
    assert kept < 10 < fresh


def test_other_c_libraries_are_left_alone(monkeypatch):
    from mobilenet_tf import memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep_freed()
