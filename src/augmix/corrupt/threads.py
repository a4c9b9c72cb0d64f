"""When images are worked on by several threads, and how.

A kernel gives Python's lock up while it runs, but the steps between kernels need it. On small
images the kernels are so short that two threads mostly wait for each other: at 32 x 32 they took
twice as long as one. So threads are used only from a size on at which two were never slower than
one, and each takes whole stretches of the batch.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_LEAST_PIXELS = 128 * 128  # of an image
_STRETCHES = 4  # a thread, so that none waits long for the last one


def useful_threads(num_threads: int, size: tuple[int, int], *, keeps_lock: bool = False) -> int:
    """As many threads as were asked for, or one where more would be slower.

    Args:
        num_threads: As asked for.
        size: Height and width of the images in pixels.
        keeps_lock: Whether most of the work is done by a library that keeps Python's lock.

    Raises:
        ValueError: If ``num_threads`` is below 1.
    """
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, got {num_threads}")
    return 1 if keeps_lock or size[0] * size[1] < _LEAST_PIXELS else num_threads


def work_off(work: Callable[[int], None], count: int, *, num_threads: int) -> None:
    """Call ``work`` with 0 .. count - 1, each once; the first error comes out.

    Args:
        work: What to do; with several threads it is called from any of them, in any order.
        count: How often.
        num_threads: 1 works in this thread.
    """
    if num_threads == 1 or count < 2:
        for place in range(count):
            work(place)
        return
    step = -(-count // (num_threads * _STRETCHES))

    def stretch(start: int) -> None:
        for place in range(start, min(start + step, count)):
            work(place)

    with ThreadPoolExecutor(min(num_threads, count)) as pool:
        for _ in pool.map(stretch, range(0, count, step)):
            pass
