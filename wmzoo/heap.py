"""How the C library hands out memory, which decides how fast large tensors come and go on a CPU."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # of glibc's mallopt
LARGEST = 2**31 - 1


def keep_pages() -> bool:
    """Keep the pages of freed tensors for the next ones, where the C library is glibc; whether it could be done.

    Left alone it maps each tensor of more than 32 MB anew and the kernel clears every page of it, in every step: at the
    paper's size and batch that is a fifth of a training step. The most that a process holds at once stays as it was.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, LARGEST))
