"""Keeps the memory of freed tensors inside the process, so that the next step does not have to be given it again."""

from __future__ import annotations

import ctypes
import platform

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER = 2**31 - 1  # bytes at the top of the heap before some are given back


def keep_freed() -> bool:
    """Asks the C library to hand nothing back to the system; returns whether it agreed (glibc does, others are left).

    A training step frees and asks for gigabytes of activations. By default every large tensor is a fresh mapping, whose
    pages the kernel has to zero and map one by one: a third of the CPU time of a MobileNet's step. Call it before
    TensorFlow starts its threads, so that they all share the one heap.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER, M_ARENA_MAX: 1}
    return all(mallopt(option, value) == 1 for option, value in settings.items())
