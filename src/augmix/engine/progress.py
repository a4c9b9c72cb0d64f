"""What long work tells while it goes on, and work that runs ahead of it."""

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar

from augmix.data.batches import prefetch

OnProgress = Callable[[dict[str, Any]], None]
Made = TypeVar("Made")


def ignore(event: dict[str, Any]) -> None:
    """Take progress events while nobody watches."""


def run_ahead(
    make: Callable[[int], Made], indices: Iterable[int], *, num_threads: int
) -> Generator[Made]:
    """`prefetch` with one more ahead than there are threads; closing it stops the threads."""
    yield from prefetch(make, indices, num_threads=num_threads, num_ahead=num_threads + 1)
