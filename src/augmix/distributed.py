"""Several processes as one run: rank, world size, broadcast, gather, reduce.

Without an initialised process group every function describes a single process. `torchrun` starts
the processes; `joined` makes a group of them. CPU tensors are always exchanged by gloo, so several
processes may share a GPU as long as they exchange nothing on it. Every exchange raises a `RunError`
if another process has ended.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from augmix.errors import RunError, first_line

Result = TypeVar("Result")

_LAUNCHED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets
_SOURCE_LINE = re.compile(r"\[\S+:\d+\] ")  # file and line at the start of gloo's messages
_LOST = ("gloo/transport", "Connection closed", "Connection reset", "Broken pipe")


def rank() -> int:
    """Return this process's number, 0 .. world_size() - 1."""
    return dist.get_rank() if _is_distributed() else 0


def world_size() -> int:
    """Return how many processes work on this run."""
    return dist.get_world_size() if _is_distributed() else 1


def local_rank() -> int:
    """Return this process's number on its machine; 0 unless `torchrun` started it."""
    return int(os.environ.get("LOCAL_RANK", "0")) if _is_distributed() else 0


def local_world_size() -> int:
    """Return how many processes of this run are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if _is_distributed() else 1


@contextmanager
def joined(*, backend: str = "gloo") -> Iterator[None]:
    """Join the processes that `torchrun` started into one group; a single process stays alone.

    An existing group is used and left. Gradients on GPUs need the backend ``cpu:gloo,cuda:nccl``.

    Raises:
        RunError: If the processes do not find each other.
    """
    if _is_distributed() or not all(name in os.environ for name in _LAUNCHED):
        yield
        return
    try:
        dist.init_process_group(backend)
    except (RuntimeError, ValueError) as error:
        raise RunError(
            f"process {os.environ['RANK']} of {os.environ['WORLD_SIZE']} cannot join the others "
            f"({first_line(error)}); start all of them by torchrun, with one --master-port"
        ) from error
    try:
        yield
    finally:
        dist.destroy_process_group()


def sum_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Return the elementwise sum over all ranks, on every rank."""
    if _is_distributed():
        values = values.clone()
        collective(lambda: dist.all_reduce(values))
    return values


def any_rank(flag: bool) -> bool:
    """Return on every rank whether the flag is set on at least one."""
    return bool(sum_over_ranks(torch.tensor([int(flag)])))


def agree(value: str, what: str) -> None:
    """Refuse to work with processes that were started with other settings.

    Raises:
        RunError: If this rank has another value than rank 0; the message calls it ``what``.
    """
    if broadcast(value) != value:
        raise RunError(
            f"process {rank()} of {world_size()} has another {what} than process 0; start all with "
            "the same command, on the same files"
        )


def broadcast(value: Result) -> Result:
    """Return rank 0's value on every rank: anything that pickle takes."""
    if not _is_distributed():
        return value
    values: list[Any] = [value if rank() == 0 else None]
    collective(lambda: dist.broadcast_object_list(values, src=0))
    return values[0]


def gather(values: np.ndarray) -> list[np.ndarray]:
    """Return the arrays of all ranks in order, on rank 0; none on the others."""
    if not _is_distributed():
        return [values]
    found: list[Any] | None = [None] * world_size() if rank() == 0 else None
    collective(lambda: dist.gather_object(values, found))
    return found or []


def collective(call: Callable[[], Result]) -> Result:
    """Make a call that all ranks make, with a message of its own if one of them has ended."""
    try:
        return call()
    except RuntimeError as error:  # torch has no type of its own for it
        raise lost(error) from error


def lost(error: Exception) -> RunError:
    """Make the error of a call of all ranks that failed."""
    reason = _SOURCE_LINE.sub("", first_line(error)).split(". ")[0]
    return RunError(
        f"process {rank()} of {world_size()} has lost the others ({reason}): one of "
        "them ended, with its reason above; what was finished is kept: start again to continue"
    )


def is_lost(error: Exception) -> bool:
    """Return whether an error of a longer computation means that a process has ended."""
    if not _is_distributed() or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, dist.DistError) or any(word in str(error) for word in _LOST)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()
