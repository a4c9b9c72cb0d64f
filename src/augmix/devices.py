"""Devices, torch settings, memory and errors of the machine a model runs on.

glibc gives large blocks back to the system as soon as they are freed and asks for them again at the
next step, page by page; on a CPU, networks then spend up to half of their time in the kernel.
"""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from augmix import distributed
from augmix.errors import RunError

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


_CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS is not deterministic
NAMES = ("auto", "cpu", "cuda", "mps")


def resolve_device(name: str) -> torch.device:
    """A device by name; ``auto`` is CUDA, else Apple's GPU, else the CPU.

    Of several processes on a machine each takes the next GPU; they share them if there are fewer.

    Raises:
        ValueError: If the name is unknown.
        RunError: If this machine or this build of torch has no such device.
    """
    if name not in NAMES:
        raise ValueError(f"device must be one of {', '.join(NAMES)}; got {name!r}")
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, is_there in found.items() if is_there), "cpu")
    if not found.get(name, True):
        raise RunError(
            f"device {name!r} was asked for, but torch {torch.__version__} finds none on this "
            "machine; use --device auto or cpu"
        )
    if name == "cuda" and distributed.world_size() > 1:
        return torch.device(name, distributed.local_rank() % torch.cuda.device_count())
    return torch.device(name)


@contextmanager
def torch_settings(
    device: torch.device,
    *,
    seed: int,
    num_threads: int = 0,
    is_tuned: bool = False,
    is_deterministic: bool = False,
) -> Iterator[None]:
    """torch seeded and set up for a run; all of the caller's settings are put back after.

    Args:
        device: Where it computes.
        seed: Of torch's generators.
        num_threads: CPU threads of torch; 0 leaves torch's own choice.
        is_tuned: Whether cuDNN tries which of its ways is fastest; they differ in the last bits.
        is_deterministic: Whether only operations that repeat their bits are taken.
    """
    threads, was_tuned = torch.get_num_threads(), torch.backends.cudnn.benchmark
    was_strict = torch.are_deterministic_algorithms_enabled()
    if device.type == "cuda" and device.index is not None:  # of several processes
        torch.cuda.set_device(device)
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        torch.backends.cudnn.benchmark = is_tuned
        if is_deterministic:
            os.environ.setdefault(*_CUBLAS)
            torch.use_deterministic_algorithms(True)
        if num_threads:
            torch.set_num_threads(num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(was_strict)
            torch.backends.cudnn.benchmark = was_tuned


def peak_memory_mib(device: torch.device) -> float:
    """The most memory that tensors took on a GPU, or this process on the CPU, so far; in MiB.

    0 where the system does not tell (Windows).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device.type == "mps":
        return torch.mps.driver_allocated_memory() / 2**20
    if sys.platform == "win32":
        return 0.0
    import resource  # there on all systems but Windows

    unit = 1 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
