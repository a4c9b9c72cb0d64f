"""Which process this is: rank, world size, and sums over all ranks.

Without an initialised process group every function describes a single process.
"""

import torch
import torch.distributed as dist


def rank() -> int:
    """This process's number, 0 .. world_size() - 1."""
    return dist.get_rank() if _is_distributed() else 0


def world_size() -> int:
    """How many processes work on this run."""
    return dist.get_world_size() if _is_distributed() else 1


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The elementwise sum over all ranks, on every rank."""
    if _is_distributed():
        values = values.clone()
        dist.all_reduce(values)
    return values


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
