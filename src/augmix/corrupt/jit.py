"""Compiling a kernel with numba: without the interpreter lock, kept on disk where possible."""

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at first use, strictly by IEEE 754, so that every machine gives the same bytes.

    numba keeps the machine code beside the source, in NUMBA_CACHE_DIR or in the cache of the user.
    Where none of them can be written, the kernel is compiled anew in every process.
    """
    kernel = numba.njit(nogil=True, error_model="numpy")(function)
    try:
        kernel.enable_caching()
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
    return kernel
