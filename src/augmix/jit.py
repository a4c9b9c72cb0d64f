"""How CPU kernels are compiled: without the GIL, strictly by IEEE 754, kept on disk if possible.

No kernel uses fastmath, so no multiplication and addition are contracted, and none uses numba's own
threads: its fallback threading layer must not be entered from two Python threads at once.
"""

import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from numba import njit

inner = njit(nogil=True, error_model="numpy")
"""Decorator of a kernel that other kernels call; it is compiled and kept with its caller."""


def outer(function: Callable) -> Any:
    """Decorator of a kernel that Python calls: compiled at its first call, then kept on disk.

    Numba keeps it beside the source, in NUMBA_CACHE_DIR, or in the user's cache folder. Where none
    of them can be written the kernel is compiled anew in every process.
    """
    compiled = njit(nogil=True, error_model="numpy")(function)
    try:
        compiled.enable_caching()
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
    return compiled


def source_stamp(*modules: ModuleType) -> int:
    """A checksum of the sources of the kernels that an outer kernel calls.

    Numba compares only the file of the outer kernel itself with what it kept. A kernel that closes
    over this number is compiled again when one of the other files has changed.
    """
    stamp = 0
    for module in modules:
        path = Path(str(module.__file__))
        stamp = zlib.crc32(path.read_bytes() if path.exists() else b"", stamp)
    return stamp
