"""How CPU kernels are compiled and run: without the GIL, strictly by IEEE 754, kept on disk.

No kernel uses fastmath, so no multiplication and addition are contracted, and none uses numba's own
threads, whose fallback threading layer must not be entered from two Python threads at once.
"""

import functools
import itertools
import os
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, event
from numba.extending import intrinsic

from augmix.errors import check_threads

_RANGES = 4  # for each thread, so that one with harder work does not keep the others waiting

inner = njit(nogil=True, error_model="numpy")
"""Decorator of a kernel that other kernels call; it is compiled and kept with its caller."""


def outer(function: Callable) -> Any:
    """Decorator of a kernel that Python calls: compiled at its first call, then kept on disk.

    Numba keeps it beside the source, in NUMBA_CACHE_DIR, or in the user's cache folder. Where none
    of them can be written, every process compiles the kernel again.
    """
    compiled = njit(nogil=True, error_model="numpy")(function)
    try:
        compiled.enable_caching()
    except RuntimeError as error:
        if "no locator" not in str(error):
            raise
    return compiled


def watch_compiling(tell: Callable[[], None]) -> None:
    """Call a function once, when the first kernel is compiled and not read from the disk."""

    class Listener(event.Listener):
        has_started = False

        def on_start(self, event: Any) -> None:
            if not self.has_started:
                self.has_started = True
                tell()

        def on_end(self, event: Any) -> None:
            return

    event.register("numba:compile", Listener())


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


def vector_at(
    context: Any, builder: Any, array: Any, value: Any, offset: Any, lanes: int
) -> ir.Instruction:
    """The address of some elements of a contiguous array, for an intrinsic that writes LLVM."""
    data = context.make_array(array)(context, builder, value).data
    here = builder.gep(data, [offset])
    return builder.bitcast(here, ir.VectorType(here.type.pointee, lanes).as_pointer())


@intrinsic
def borrowed(typing_context: Any, array: Any) -> Any:
    """The same array without its count of references, which the caller must own for longer.

    Numba counts the references of every slice by atomic instructions, and each of these waits for
    all stores before it; behind this function there is nothing to count.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        same = context.make_array(array)(context, builder, arguments[0])
        same.meminfo = cgutils.get_null_value(same.meminfo.type)
        same.parent = cgutils.get_null_value(same.parent.type)
        return same._getvalue()

    return array(array), generate


def run_on_threads(kernel: Any, arguments: tuple[Any, ...], count: int, num_threads: int) -> None:
    """Call ``kernel(*arguments, start, stop)`` for ranges that cover 0 .. count, on threads."""
    if num_threads == 1 or count <= 1:
        call(kernel, *arguments, 0, count)
        return
    edges = np.linspace(0, count, min(count, num_threads * _RANGES) + 1).astype(int)
    pool = _threads(num_threads, os.getpid())
    ranges = itertools.pairwise(edges)
    done = [pool.submit(call, kernel, *arguments, int(start), int(stop)) for start, stop in ranges]
    for future in done:
        future.result()


@functools.lru_cache(maxsize=4)
def _threads(num_threads: int, process: int) -> ThreadPoolExecutor:
    """Threads kept for the next batch; a forked process, which has none, starts its own."""
    check_threads(num_threads)
    return ThreadPoolExecutor(num_threads, f"augmix-render-{process}")


def call(kernel: Any, *arguments: Any) -> None:
    """Call an outer kernel, also where its compiled form cannot be kept on disk."""
    try:
        kernel(*arguments)
    except OSError:  # the kernel is compiled, but there was no space to keep it
        kernel(*arguments)
