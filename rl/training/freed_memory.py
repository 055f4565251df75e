"""Lets the process keep the memory that one update frees and the next one asks for again."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20


@cache
def keep_freed_memory(num_bytes: int = 512 * 2**20) -> bool:
    """Tell glibc not to return freed memory to the system at once, for the rest of the process.

    Activations of a wide batch are megabytes that every update allocates and frees. By default
    glibc gives them back, and the next update pays for every page anew.

    Args:
        num_bytes: Most that is kept.

    Returns:
        False where there is no glibc, and nothing was done.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    kept = library.mallopt(_TRIM_THRESHOLD, num_bytes)
    return bool(kept and library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD))
