"""The damage of one piece, as a call that can be sent to another process."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from augmix.corrupt import sequences, suite
from augmix.data.folders import Photographs
from augmix.writers.shelves import ArrayShelf, Frame, Piece, TreeShelf

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
        images = np.load(self.clean, mmap_mode="r")[piece.start : piece.stop]
        return suite.corrupt(
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
    titles: dict[str, str]
    preset: str
    seed: int
    difficulty: int

    def __call__(self, piece: Piece) -> np.ndarray | Iterable[Iterable[Frame]]:
        ids = np.arange(piece.start, piece.stop)
        if isinstance(self.clean, Photographs):
            return (self._of_photograph(piece, index) for index in range(piece.start, piece.stop))
        images = np.load(self.clean, mmap_mode="r")[piece.start : piece.stop]
        return sequences.perturb(
            np.array(images),
            self.titles[piece.name],
            preset=self.preset,
            seed=self.seed,
            ids=ids,
            difficulty=self.difficulty,
        )

    def _of_photograph(self, piece: Piece, index: int) -> Iterator[Frame]:
        assert isinstance(self.clean, Photographs)
        return sequences.photograph_frames(
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
