"""Two sets of the same classes trained on together: the images, and their stylised copies."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer, UInt8

from augmix.data.crops import Draws, ResizedCrop
from augmix.data.labels import check_ids
from augmix.data.sources import CroppingSource, Derived, Source, find_crop, open_source
from augmix.records import RunError


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix(Derived):
    """The images of two sources, those of the first in front; see `mix`.

    Attributes:
        source: The first: the images themselves; name, split, crop and flip are theirs.
        second: What is mixed in.
        labels: The class of every image.
    """

    second: Source
    labels: Int64[np.ndarray, " image"]

    @property
    def num_classes(self) -> int:
        return self.source.num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names

    @property
    def fingerprint(self) -> str:
        """Sha256 of both fingerprints and of how many images each part has."""
        parts = [f"{part.fingerprint} {len(part)}" for part in (self.source, self.second)]
        return hashlib.sha256("\n".join(["mix", *parts]).encode()).hexdigest()

    @property
    def crop(self) -> ResizedCrop | None:
        return find_crop(self.source)

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        return (*self.source.skipped, *self.second.skipped)

    def __len__(self) -> int:
        return len(self.labels)

    def load(
        self, ids: Integer[np.ndarray, " batch"]
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images asked for, each from its own source."""
        return self._gather(ids, lambda part, here, _: part.load(here))

    def load_crops(
        self, ids: Integer[np.ndarray, " batch"], draws: Draws
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """The images asked for, each cropped as drawn for it if its own source crops."""

        def load(part: Source, here: np.ndarray, rows: np.ndarray) -> np.ndarray:
            if find_crop(part) is None:
                return part.load(here)
            assert isinstance(part, CroppingSource)
            return part.load_crops(here, draws[rows])

        return self._gather(ids, load)

    def _gather(
        self,
        ids: Integer[np.ndarray, " batch"],
        load: Callable[[Source, np.ndarray, np.ndarray], np.ndarray],
    ) -> UInt8[np.ndarray, "batch height width channel"]:
        """``load(part, its ids, their rows)`` of both sources, in the order of the ids."""
        ids = check_ids(ids, len(self))
        images = np.empty((len(ids), *self.size, self.channels), np.uint8)
        is_second = ids >= len(self.source)
        for part, start, rows in (
            (self.source, 0, np.flatnonzero(~is_second)),
            (self.second, len(self.source), np.flatnonzero(is_second)),
        ):
            if len(rows):
                images[rows] = load(part, ids[rows] - start, rows)
        return images


def mix(first: Source, second: Source) -> Mix:
    """The images of both sources as one: 0 .. len(first) - 1, then those of the second.

    An epoch sees each image of both once, so their sizes are their shares.

    Raises:
        RunError: If classes, image sizes or channels differ.
    """
    names = zip(first.class_names, second.class_names, strict=False)
    other = next((pair for pair in enumerate(names) if pair[1][0] != pair[1][1]), None)
    for what, ours, theirs in (
        ("classes", first.num_classes, second.num_classes),
        *(((f"class {other[0]}", *other[1]),) if other else ()),
        ("images of height and width", first.size, second.size),
        ("channels", first.channels, second.channels),
    ):
        if ours != theirs:
            raise RunError(
                f"sets that are mixed must agree; expected {what} {ours}, got {theirs} in source "
                f"{second.name!r}; make the second from the first, at the same size (augmix "
                "stylize)"
            )
    return Mix(source=first, second=second, labels=np.concatenate([first.labels, second.labels]))


def open_stylised(root: str | PathLike[str], like: Source) -> Source:
    """The stylised copies of a source, as `augmix stylize` writes them.

    Args:
        root: A folder of class folders, one that holds ``train.npz``, or an ``.npz`` file.
        like: The source they were made from; they must have its size, channels and classes, but
            are cropped to that size where it is cropped.

    Raises:
        RunError: If they are missing or broken.
    """
    path = Path(root).expanduser()
    is_archive = path.suffix == ".npz" or (path / f"{like.split}.npz").exists()
    crop = None if is_archive else find_crop(like)
    return open_source(
        "npz" if is_archive else "folder",
        root=path,
        split=like.split,
        crop=crop,
        size=like.size[0] if crop else 0,
    )
