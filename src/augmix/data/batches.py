"""The order of training batches and of samples, and threads that prepare batches in advance."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TypeVar

import numpy as np
from jaxtyping import Int64

from augmix.errors import check_positive, check_threads
from augmix.rng import Purpose, Stream

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class BatchOrder:
    """The images that a rank trains on at each step, a pure function of (seed, step, rank).

    Every epoch is a new permutation of all images, cut into batches; the last one may be smaller
    and is kept. Each batch is split into one contiguous piece per rank; their lengths differ by
    at most one.

    Attributes:
        batch_size: Images of a whole batch, over all ranks.
        rank: This process, 0 .. world_size - 1.

    Example:
        >>> order = BatchOrder(num_images=10, batch_size=4, seed=0)
        >>> order.steps_per_epoch, [len(order.ids(step)) for step in range(4)]
        (3, [4, 4, 2, 4])
    """

    num_images: int
    batch_size: int
    seed: int
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        check_positive(self, "num_images", "batch_size", "world_size")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must be 0..{self.world_size - 1}, got {self.rank}")
        last = self.num_images - (self.steps_per_epoch - 1) * self.batch_size
        if last < self.world_size:
            raise ValueError(
                f"every rank needs an image at every step: the last batch of {self.num_images} "
                f"images in batches of {self.batch_size} has {last}, got {self.world_size} ranks; "
                "choose another batch size"
            )

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_images // self.batch_size)

    def epoch(self, step: int) -> int:
        """Return the epoch of a step, counted from the start of the run."""
        if step < 0:
            raise ValueError(f"step must be 0 or more, got {step}")
        return step // self.steps_per_epoch

    def count(self, step: int) -> int:
        """Count the images of a step over all ranks."""
        before = step % self.steps_per_epoch * self.batch_size
        return min(self.batch_size, self.num_images - before)

    def ids(self, step: int) -> Int64[np.ndarray, " batch"]:
        """Return the images of this rank at a step, counted from the start of the run."""
        order = _permutation(self.num_images, self.seed, self.epoch(step))
        start = step % self.steps_per_epoch * self.batch_size
        batch = order[start : start + self.batch_size]
        first, last = (len(batch) * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return batch[first:last].copy()


def run_ahead(
    make: Callable[[int], Made], indices: Iterable[int], *, num_threads: int = 1
) -> Generator[Made]:
    """Call ``make(index)`` on threads in advance, and yield the results in order.

    At most ``num_threads + 1`` results are pending or being made, besides the one in use. An error
    is raised where its result would have been yielded. When the consumer stops, by an error or
    because the generator is closed or dropped, calls that have not started are cancelled, and those
    that have are waited for.
    """
    remaining = iter(indices)
    waiting: deque[Future[Made]] = deque()
    check_threads(num_threads)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="augmix-ahead")
    try:
        while True:
            for index in islice(remaining, num_threads + 2 - len(waiting)):
                waiting.append(pool.submit(make, index))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@lru_cache(maxsize=2)
def spread_positions(count: int, num: int) -> list[int]:
    """Return ``num`` positions spread over 0 .. count - 1, ordered to cover the range early.

    Example:
        >>> spread_positions(100, 5)
        [0, 99, 49, 24, 74]
    """
    positions = np.linspace(0, count - 1, num).astype(int).tolist()
    order = sorted(range(num), key=lambda index: int(f"{index:08b}"[::-1], 2))
    return [positions[index] for index in order]


def _permutation(num_images: int, seed: int, epoch: int) -> Int64[np.ndarray, " image"]:
    """The order of an epoch, cached for this epoch and the next."""
    order = Stream(seed=seed).at(Purpose.ORDER, epoch=epoch).permutation(num_images)
    order.setflags(write=False)
    return order
