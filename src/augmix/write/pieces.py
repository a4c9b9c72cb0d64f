"""Make and write a set in pieces, by several processes.

A task is picklable and makes the images of any piece. Which process does so does not matter, so
that any number of processes gives the same files.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from augmix.corruptions import corrupt, perturb
from augmix.corruptions.registry import CORRUPTIONS, SEQUENCES
from augmix.data.folders import Photographs
from augmix.errors import RunError
from augmix.write.sinks import Frame, Piece, Sink

Work = TypeVar("Work")
Result = TypeVar("Result")

_WORKER: dict[str, Callable[[Any], Any]] = {}  # the function that a worker process calls


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionTask:
    """Corrupts the images of a piece.

    Attributes:
        clean: The file of all clean images.
        references: The corruptions, so that another process can load the user's own.
    """

    clean: Path
    references: tuple[str, ...]
    preset: str
    seed: int
    frost_textures: Path | None

    def __call__(self, piece: Piece) -> np.ndarray:
        CORRUPTIONS.resolve(self.references)
        images = np.load(self.clean, mmap_mode="r")[piece.start : piece.stop]
        return corrupt.corrupt(
            np.array(images),
            piece.name,
            severity=piece.severity,
            preset=self.preset,
            seed=self.seed,
            ids=np.arange(piece.start, piece.stop),
            frost_textures=self.frost_textures,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PerturbationTask:
    """Makes the sequences of a piece.

    Attributes:
        clean: The file of all clean images, or the photographs.
        references: The perturbations, so that another process can load the user's own.
        titles: The perturbation behind every file or folder name.
    """

    clean: Path | Photographs
    references: tuple[str, ...]
    titles: dict[str, str]
    preset: str
    seed: int
    difficulty: int

    def __call__(self, piece: Piece) -> np.ndarray | Iterable[Iterable[Frame]]:
        SEQUENCES.resolve(self.references)
        if isinstance(self.clean, Photographs):
            return (self._photograph(piece, index) for index in range(piece.start, piece.stop))
        images = np.load(self.clean, mmap_mode="r")[piece.start : piece.stop]
        return perturb.perturb(
            np.array(images),
            self.titles[piece.name],
            preset=self.preset,
            seed=self.seed,
            ids=np.arange(piece.start, piece.stop),
            difficulty=self.difficulty,
        )

    def _photograph(self, piece: Piece, index: int) -> Iterator[Frame]:
        assert isinstance(self.clean, Photographs)
        return perturb.photograph_frames(
            self.clean.load_one(index),
            self.titles[piece.name],
            preset=self.preset,
            seed=self.seed,
            sample=index,
            difficulty=self.difficulty,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WritePiece:
    """Makes the images of a piece and writes them."""

    task: CorruptionTask | PerturbationTask
    sink: Sink

    def __call__(self, piece: Piece) -> None:
        images: Any = self.task(piece)
        self.sink.write(piece, images)


def run_pieces(
    work: Callable[[Work], Result], pieces: Sequence[Work], *, num_processes: int
) -> Iterator[tuple[Work, Result]]:
    """Call ``work`` with every piece and yield the piece with its result, in any order.

    When the consumer stops, by an error or Ctrl-C, the pieces in work are finished and no more are
    begun.

    Args:
        work: Sent to each process once.
        pieces: Its arguments.
        num_processes: Number of new processes (spawned, not forked); 1 works in this one.

    Raises:
        RunError: If a process dies. An error inside ``work`` is raised as it is.
    """
    if num_processes == 1 or len(pieces) <= 1:
        for piece in pieces:
            yield piece, work(piece)
        return
    pool = ProcessPoolExecutor(
        min(num_processes, len(pieces)),
        mp_context=get_context("spawn"),
        initializer=_begin_worker,
        initargs=(work,),
    )
    try:
        futures = {pool.submit(_call, piece): piece for piece in pieces}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise RunError(
            "a worker process ended before its work did; the memory may be short (take fewer "
            'processes), or a script calls this outside of if __name__ == "__main__". What was '
            "finished is kept: start again to continue"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker(work: Callable[[Any], Any]) -> None:
    """Keep the function, leave Ctrl-C to the parent, and end when the parent does."""
    _WORKER["work"] = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # this is a worker
    connection.wait([parent.sentinel])
    os._exit(1)


def _call(piece: Any) -> Any:
    return _WORKER["work"](piece)
