"""Long work in pieces, made by several processes.

A piece of work is a picklable call on a picklable description. Which process makes it must not
matter, so that any number of processes gives the same files.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Any, TypeVar

from augmix.records import RunError

Piece = TypeVar("Piece")
Result = TypeVar("Result")

_WORKER: dict[str, Callable[[Any], Any]] = {}  # what a worker process was started for


def run_pieces(
    make: Callable[[Piece], Result], pieces: Sequence[Piece], *, num_processes: int
) -> Iterator[tuple[Piece, Result]]:
    """Make every piece and give it with its result as it gets ready, in any order.

    When the consumer stops, by an error or Ctrl-C, the pieces at work are ended and no more begun.

    Args:
        make: Makes a piece; sent to each process once.
        pieces: What to make.
        num_processes: Processes, started anew (no fork); 1 works in this one.

    Raises:
        RunError: If a process dies. An error inside ``make`` comes out as it is.
    """
    if num_processes == 1 or len(pieces) <= 1:
        for piece in pieces:
            yield piece, make(piece)
        return
    pool = ProcessPoolExecutor(
        min(num_processes, len(pieces)),
        mp_context=get_context("spawn"),
        initializer=_begin_worker,
        initargs=(make,),
    )
    try:
        futures = {pool.submit(_work, piece): piece for piece in pieces}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process ended before its work did; the memory may be short (take fewer "
            'processes), or a script calls this outside of if __name__ == "__main__". What was '
            "finished is kept: start again to go on"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(make: Callable[[Any], Any]) -> None:
    """Keep the work at hand, leave Ctrl-C to the parent, and end when the parent does."""
    _WORKER["make"] = make
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this is a worker
    connection.wait([parent.sentinel])
    os._exit(1)


def _work(piece: Any) -> Any:
    return _WORKER["make"](piece)
