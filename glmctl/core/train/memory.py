"""Keeps the memory of a CPU process between steps.

glibc gives large tensors back to the system when they are freed, and the system clears every page
of the next ones: up to a fifth of the time of a training step.
"""

import ctypes
import sys

# The names of malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = -1


def keep_freed_memory() -> None:
    """Let the process keep what it has freed; what it holds at most stays the same."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, NEVER)
