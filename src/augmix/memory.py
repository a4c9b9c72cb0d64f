"""Too little memory: what is left of the address space, and what errors mean that it is used up.

Where a limit on the address space is nearly used up (``ulimit -v``), libraries abort the process
and threads that are being started wait forever, neither of which can be caught. So commands and
pools of threads look first whether what they need is there.
"""

import sys
from pathlib import Path

from augmix.errors import RunError, first_line

START_BYTES = 3 * 2**30  # torch, numba, OpenCV and their threads: 2.2 GB were not enough
_THREAD_BYTES = 2**27  # stack and arena of malloc
_WORDS = (
    "allocate memory",
    "bad_alloc",
    "failed to map segment",
    "insufficient memory",
    "out of memory",
    "start new thread",
    "unable to allocate",
)


def check_headroom(num_bytes: int, what: str) -> None:
    """Refuse to begin work for which the address space of this process is too small.

    Raises:
        RunError: If it is limited and fewer bytes are left.
    """
    free = _free_bytes()
    if free is not None and free < num_bytes:
        raise RunError(
            f"{what} needs {num_bytes / 2**20:,.0f} MiB of address space, and this process may "
            f"take {max(free, 0) / 2**20:,.0f} MiB more; raise its limit (ulimit -v unlimited)"
        )


def check_threads(num_threads: int) -> None:
    """Refuse to start threads that the address space of this process is too small for."""
    check_headroom(num_threads * _THREAD_BYTES, f"a pool of {num_threads} thread(s)")


def _free_bytes() -> int | None:
    """What is left of the address space; None if it has no limit or the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    import resource  # there on all systems but Windows

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return limit - pages * resource.getpagesize()


def memory_error(error: BaseException) -> str:
    """The line that says that memory was used up, of an error or a cause of it; else empty."""
    cause: BaseException | None = error
    while cause is not None:
        text = str(cause).lower()
        if isinstance(cause, MemoryError) or any(word in text for word in _WORDS):
            return first_line(cause)
        cause = cause.__cause__ or cause.__context__
    return ""
