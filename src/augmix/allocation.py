"""How this process keeps the memory that it frees.

glibc gives large blocks back to the system as soon as they are freed and asks for them again at the
next step, page by page; on a CPU, networks then spend up to half of their time in the kernel.
"""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
_NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let freed memory be used again by this process instead of being given back to the system.

    Peak memory grows by about half at most, and nothing else changes. For programs, which own their
    process; a library has no business here.

    Returns:
        Whether this C library could be told; only glibc can.
    """
    if not has_glibc():
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_TRIM_THRESHOLD, _NEVER) and library.mallopt(_MMAP_MAX, 0))


def has_glibc() -> bool:
    """Whether this process runs on the GNU C library."""
    return sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
