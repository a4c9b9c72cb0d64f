"""Processes of this machine that write pieces, and the decoded images that they share."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path

import numpy as np

from augmix.data.stores import Photographs, Source, default_threads
from augmix.errors import RunError
from augmix.files import replace_durably
from augmix.shards import WAIT_S, Pieces, num_local_shards
from augmix.write.destination import Piece

_CHUNK_BYTES = 2**25  # of images decoded at a time
_WORKER: dict[str, Callable[[Piece], None]] = {}  # the function that a worker process calls


@dataclass
class CleanImages:
    """Decodes every image once, into a file that all processes map into memory.

    Each shard has a file of its own, in which it decodes the images that it comes to.
    """

    source: Source
    path: Path
    is_partial: bool = False  # whether the file is of this process alone, and filled bit by bit
    _is_decoded: np.ndarray | None = None  # by image

    def decode(self, start: int, stop: int) -> None:
        """Decode images that are not in the file yet; photographs are decoded one by one later."""
        source = self.source
        if isinstance(source, Photographs):
            return
        if self._is_decoded is None:
            # A whole file is of this source, as the manifest says.
            self._is_decoded = np.full(len(source), not self.is_partial and self.path.exists())
        if self._is_decoded[start:stop].all():
            return
        shape = (len(source), *source.size, source.channels)
        path = self.path if self.is_partial else self.path.with_suffix(".growing")
        mode = "r+" if self._is_decoded.any() else "w+"
        clean = np.lib.format.open_memmap(path, mode, dtype=np.uint8, shape=shape)
        step = max(1, _CHUNK_BYTES // math.prod(shape[1:]))
        for first in range(start, stop, step):
            last = min(first + step, stop)
            clean[first:last] = source.load(np.arange(first, last))
        clean.flush()
        del clean
        self._is_decoded[start:stop] = True
        if not self.is_partial:  # all at once
            replace_durably({path: self.path})


def run_pieces(
    write: Callable[[Piece], None],
    queue: Pieces[Piece],
    num_processes: int,
    decode: Callable[[int, int], None] = lambda start, stop: None,
) -> Iterator[Piece]:
    """Write pieces, by new processes if several, and yield each when it is written, in any order.

    When the consumer stops, by an error or Ctrl-C, the pieces in work are finished and no more are
    begun.

    Args:
        decode: Called in this process with start and stop of every piece before it is written.
    """

    def write_here(piece: Piece) -> None:
        decode(piece.start, piece.stop)
        write(piece)

    if num_processes == 1 or queue.num_left <= 1:
        yield from queue.run(write_here)
        return
    pool = ProcessPoolExecutor(
        min(num_processes, queue.num_left),
        mp_context=get_context("spawn"),
        initializer=_begin_worker,
        initargs=(write,),
    )
    futures: dict[Future[None], Piece] = {}
    try:
        while futures or queue.num_left:
            while len(futures) < 2 * num_processes and (piece := queue.take()) is not None:
                decode(piece.start, piece.stop)
                futures[pool.submit(_call, piece)] = piece
            if not futures and queue.num_left:
                time.sleep(WAIT_S)
            done, _ = wait(futures, timeout=WAIT_S, return_when=FIRST_COMPLETED)
            for future in done:
                piece = futures.pop(future)
                future.result()
                queue.finish(piece)
                yield piece
            yield from queue.finished_by_others()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process ended before its work did; the memory may be short (take fewer "
            'processes), or a script calls this outside of if __name__ == "__main__". What was '
            "finished is kept: start again to continue"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def choose_num_processes(wanted: int | None) -> int:
    """Return how many processes write; several of `torchrun` on a machine divide its processors."""
    return wanted or max(1, default_threads() // num_local_shards())


def _begin_worker(write: Callable[[Piece], None]) -> None:
    """Keep the function, leave Ctrl-C to the parent, and end when the parent does."""
    _WORKER["write"] = write
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this is a worker
    connection.wait([parent.sentinel])
    os._exit(1)


def _call(piece: Piece) -> None:
    _WORKER["write"](piece)
