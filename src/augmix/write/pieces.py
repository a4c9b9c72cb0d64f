"""Data sets written in pieces by several processes.

A piece of work is a picklable call on a picklable description. Which process makes it must not
matter, so that any number of processes gives the same files.
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
from augmix.write.sinks import ArrayShelf, Frame, Piece, TreeShelf

Work = TypeVar("Work")
Result = TypeVar("Result")

_WORKER: dict[str, Callable[[Any], Any]] = {}  # what a worker process was started for


def run_pieces(
    make: Callable[[Work], Result], pieces: Sequence[Work], *, num_processes: int
) -> Iterator[tuple[Work, Result]]:
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


Shelf = ArrayShelf | TreeShelf


@dataclass(frozen=True, slots=True, kw_only=True)
class Corruption:
    """Corrupts the images of a piece.

    Attributes:
        clean: The file of all clean images.
    """

    clean: Path
    names: tuple[str, ...]
    preset: str
    seed: int
    frost_textures: Path | None

    def __call__(self, piece: Piece) -> np.ndarray:
        CORRUPTIONS.resolve(self.names)  # loads the user's own code in a worker
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
class Perturbation:
    """Makes the sequences of a piece.

    Attributes:
        clean: The file of all clean images, or the photographs.
        titles: The perturbation behind every file or folder name.
    """

    clean: Path | Photographs
    names: tuple[str, ...]
    titles: dict[str, str]
    preset: str
    seed: int
    difficulty: int

    def __call__(self, piece: Piece) -> np.ndarray | Iterable[Iterable[Frame]]:
        SEQUENCES.resolve(self.names)
        ids = np.arange(piece.start, piece.stop)
        if isinstance(self.clean, Photographs):
            return (self._of_photograph(piece, index) for index in range(piece.start, piece.stop))
        images = np.load(self.clean, mmap_mode="r")[piece.start : piece.stop]
        return perturb.perturb(
            np.array(images),
            self.titles[piece.name],
            preset=self.preset,
            seed=self.seed,
            ids=ids,
            difficulty=self.difficulty,
        )

    def _of_photograph(self, piece: Piece, index: int) -> Iterator[Frame]:
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
class Making:
    """What a process is started for: makes the images of a piece and puts them on the shelf."""

    damage: Corruption | Perturbation
    shelf: Shelf

    def __call__(self, piece: Piece) -> None:
        made: Any = self.damage(piece)
        self.shelf.put(piece, made)
