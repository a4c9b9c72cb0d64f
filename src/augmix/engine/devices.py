"""Where a model computes: devices by name, and the memory it takes there."""

import sys

import torch

from augmix import ranks
from augmix.records import RunError

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
    if name == "cuda" and ranks.world_size() > 1:
        return torch.device(name, ranks.local_rank() % torch.cuda.device_count())
    return torch.device(name)


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
