"""What the C library does with memory that a training step gives back."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # names of mallopt(3)
BLOCK = 2**25  # bytes: the largest that glibc allows for the first
KEPT = 2**30  # bytes of freed memory that a process may keep


@cache
def keep_freed_memory() -> None:
    """Let this process keep up to a gigabyte of freed memory for its next allocation; blocks of over 32 MiB excepted.

    A training step on the CPU asks for the same tens or hundreds of megabytes every time, and by default glibc returns
    them to the system after every step: page faults are then up to a third of its time. Does nothing where the C
    library is another one.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(MMAP_THRESHOLD, BLOCK)
        libc.mallopt(TRIM_THRESHOLD, KEPT)
