"""Devices by name, torch's settings for a run, and memory."""

import ctypes
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from augmix import distributed
from augmix.errors import RunError
from augmix.shards import find_shard

NAMES = ("auto", "cpu", "cuda", "mps")
_CUBLAS = ("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS is not deterministic
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h
_NEVER = 2**31 - 1
_CALLS_BEFORE_CAPTURE = 3


def resolve_device(name: str) -> torch.device:
    """Return the device of this name; ``auto`` is CUDA, else Apple's GPU, else the CPU.

    Of several processes on a machine each takes the next GPU; they share GPUs if there are fewer.

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
    if name == "cuda" and (distributed.world_size() > 1 or find_shard(None)):
        rank = distributed.local_rank() or int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device(name, rank % torch.cuda.device_count())
    return torch.device(name)


def choose_precision(device: torch.device, *, is_depthwise: bool = False) -> tuple[str, str]:
    """Return the arithmetic in which a device computes a network fast, and why, in words.

    It is bfloat16 on GPUs with tensor cores for it (compute capability 8.0), and on CPUs with AMX
    unless the network's convolutions are depthwise, which the CPU computes faster in float32.
    """
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major >= 8:
            return "bf16", "which this GPU computes by tensor cores"
        return "fp32", f"since this GPU (compute capability {major}.{minor}) has no fast bfloat16"
    has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    if device.type == "cpu" and has_tiles():
        if is_depthwise:
            return "fp32", "since CPUs compute depthwise convolutions faster than in bfloat16"
        return "bf16", "which this CPU computes by AMX"
    return "fp32", f"since this {device.type} has no fast bfloat16"


@contextmanager
def torch_settings(
    device: torch.device,
    *,
    seed: int,
    num_threads: int = 0,
    is_tuned: bool = False,
    is_deterministic: bool = False,
) -> Iterator[None]:
    """Seed torch and apply settings; restore generators and settings at the end.

    Args:
        device: The device of the run; torch's current one, if it is a GPU with an index.
        num_threads: CPU threads of torch; 0 leaves the number unchanged.
        is_tuned: Let cuDNN time its algorithms and take the fastest; they differ in the last bits.
        is_deterministic: Allow deterministic operations only.
    """
    threads, was_tuned = torch.get_num_threads(), torch.backends.cudnn.benchmark
    was_deterministic = torch.are_deterministic_algorithms_enabled()
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
            torch.use_deterministic_algorithms(was_deterministic)
            torch.backends.cudnn.benchmark = was_tuned


class GraphedFunction:
    """A function of tensors whose work on a GPU is launched at once, as a CUDA graph.

    The first calls run as they are, on a stream of their own, so that all kernels are compiled and
    chosen; the next one is captured. From then on a call copies its tensors into those of the
    capture and replays it: what a call returned is overwritten by the next.

    Args:
        function: Must neither wait for the device nor depend on anything but its tensors and what
            stays where it is on the device; its tensors have the same shapes at every call.
        device: A GPU.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device) -> None:
        self._function, self._device = function, device
        self._stream = torch.cuda.Stream(device)
        self._calls_left = _CALLS_BEFORE_CAPTURE
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._result: Any = None

    def __call__(self, *inputs: Tensor) -> Any:
        """The function of tensors on the device, or in pinned memory of the host."""
        if self._calls_left:
            self._calls_left -= 1
            current = torch.cuda.current_stream(self._device)
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                result = self._function(*inputs)
            current.wait_stream(self._stream)
            return result
        if self._graph is None:
            self._inputs = [torch.empty_like(each, device=self._device) for each in inputs]
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                self._result = self._function(*self._inputs)
            self._graph = graph
        for own, given in zip(self._inputs, inputs, strict=True):
            own.copy_(given, non_blocking=True)
        self._graph.replay()
        return self._result


def peak_memory_mib(device: torch.device) -> float:
    """Return the peak memory so far in MiB: of tensors on a GPU, of this process on the CPU.

    0 where the system does not report it (Windows).
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


def keep_freed_memory() -> bool:
    """Make malloc reuse freed memory instead of returning it to the system.

    By default glibc returns large blocks as soon as they are freed and requests them again, page
    by page, at the next step; networks on a CPU then spend up to half of their time in the kernel.
    Peak memory grows by about half at most. The setting is global, so it is meant for programs
    that own their process, not for libraries. Return whether it was applied; only glibc has it.
    """
    if not has_glibc():
        return False
    library = ctypes.CDLL(None)
    return bool(library.mallopt(_TRIM_THRESHOLD, _NEVER) and library.mallopt(_MMAP_MAX, 0))


def has_glibc() -> bool:
    """Check whether this process runs on the GNU C library."""
    return sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
