"""Tar shards: images read at their offsets, without unpacking anything.

An image's class is the number or name in the file ``KEY.cls`` beside ``KEY.jpg`` (WebDataset), else
the folder it lies in, else the synset that its own tar is called by; tars within tars (the official
``ILSVRC2012_img_train.tar``) are looked into.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int32, Int64

from augmix.data.decoding import SUFFIXES, ImageError
from augmix.data.geometry import Geometry
from augmix.data.items import ImageFiles, OnError
from augmix.data.labels import check_labels, number_classes
from augmix.data.listings import Shard, load_shard
from augmix.data.splits import (
    SPLIT_NAMES,
    check_named_split,
    check_shards,
    list_entries,
    missing_split,
    name_words,
)
from augmix.data.stores import ArraySource, LazySource, build_source
from augmix.records import RunError


@dataclass(frozen=True, kw_only=True, eq=False)
class ShardItems(ImageFiles):
    """The images of several tar files, in their order."""

    shards: tuple[Shard, ...]
    shard: Int32[np.ndarray, " image"]
    row: Int64[np.ndarray, " image"]

    def __len__(self) -> int:
        return len(self.row)

    def where(self, index: int) -> str:
        shard, row = self._find(index)
        return f"{shard.path}, member {shard.names[row]}"

    def digest(self, rows: np.ndarray) -> str:
        """Over the listing of (member, bytes), which no image need be read for."""
        hasher = hashlib.sha256()
        for index in rows:
            shard, row = self._find(int(index))
            told = f"{shard.names[row]}\0{int(shard.num_bytes[row])}\n"
            hasher.update(told.encode("utf-8", "surrogateescape"))
        return hasher.hexdigest()

    def content(self, index: int) -> bytes:
        shard, row = self._find(index)
        expected = int(shard.num_bytes[row])
        try:
            with open(shard.path, "rb", buffering=0) as file:
                file.seek(int(shard.offset[row]))
                content = file.read(expected)
        except OSError as error:
            raise ImageError(f"cannot read the shard: {error.strerror or error}") from error
        if len(content) < expected:
            raise ImageError(f"expected {expected} bytes in the shard, got {len(content)}")
        return content

    def _find(self, index: int) -> tuple[Shard, int]:
        return self.shards[self.shard[index]], int(self.row[index])


def open_shards(
    root: Path,
    *,
    split: str,
    geometry: Geometry,
    on_error: OnError,
    num_threads: int,
    name: str = "tar",
) -> ArraySource | LazySource:
    """Open a set of tar shards; see `sources.open_source`."""
    items, told = load_shards(find_shards(root, split=split))
    labels, class_names = _number(told, _all_classes(root, split, told), str(root))
    return build_source(
        items,
        labels,
        name=name,
        split=split,
        class_names=class_names,
        geometry=geometry,
        on_error=on_error,
        num_threads=num_threads,
    )


def find_shards(root: Path, *, split: str, is_strict: bool = True) -> tuple[Path, ...]:
    """The tar files of a split, in order.

    Args:
        root: A tar file, or a folder with ``train.tar`` or ``train-0001.tar`` (the split among the
            words of the name), or with a folder ``train`` of tar files.
        split: ``train``, ``test`` or ``val``.
        is_strict: Whether to raise if there are none, rather than give none.

    Raises:
        RunError: If there are none (when strict), or shards of the split are missing.
    """
    if root.is_file():
        check_named_split(root, split)
        return (root,)
    here = sorted(root.glob("*.tar"))
    for name in SPLIT_NAMES[split]:
        named = [path for path in here if name in name_words(path)]
        found = tuple(named or sorted((root / name).glob("*.tar")))
        if found:
            check_shards(found)
            return found
    if not is_strict:
        return ()
    expected = f"{split}.tar, {split}-*.tar or a folder {split} of tar files"
    raise missing_split(root, split, expected, list_entries(root) if root.is_dir() else [])


def load_shards(paths: Sequence[Path]) -> tuple[ShardItems, tuple[str, ...]]:
    """The images of tar files and what the files say about their classes.

    Raises:
        RunError: If a file is no tar, is broken or truncated, or there is no image.
    """
    shards = tuple(load_shard(path) for path in paths)
    lengths = [len(shard) for shard in shards]
    if not sum(lengths):
        shown = ", ".join(str(path) for path in paths[:3])
        raise RunError(f"expected images ({', '.join(sorted(SUFFIXES))}) in {shown}, got none")
    items = ShardItems(
        shards=shards,
        shard=np.repeat(np.arange(len(shards), dtype=np.int32), lengths),
        row=np.concatenate([np.arange(length, dtype=np.int64) for length in lengths]),
    )
    return items, tuple(told for shard in shards for told in shard.classes)


def _number(
    told: Sequence[str], every: Collection[str], where: str
) -> tuple[Int64[np.ndarray, " image"], tuple[str, ...]]:
    """Labels, and names of the classes: numbers as they are, names in sorted order."""
    if "" in told:
        raise RunError(
            f"{where}: expected a class for every image, by a file KEY.cls or a folder, got none "
            f"for {told.count('')} of {len(told)}"
        )
    are_numbers = {_is_number(name) for name in every}
    if len(are_numbers) > 1:
        number = next(name for name in sorted(every) if _is_number(name))
        other = next(name for name in sorted(every) if not _is_number(name))
        raise RunError(
            f"{where}: expected all classes as numbers or all as names, got {number!r} and "
            f"{other!r}"
        )
    if are_numbers == {True}:
        largest = np.array([max(int(name) for name in every)], np.int64)
        names = number_classes(largest, where=where)
        labels = np.array([int(name) for name in told], np.int64)
        return check_labels(labels, len(told), where=where), names
    names = tuple(sorted(every))
    index = {name: number for number, name in enumerate(names)}
    return np.array([index[name] for name in told], np.int64), names


def _all_classes(root: Path, split: str, told: Sequence[str]) -> set[str]:
    """The classes of the set, the same for every split.

    Names are those of the training split; of numbers, every split's count.
    """
    own = set(told) - {""}
    if root.is_file() or (split == "train" and not _have_numbers(own)):
        return own
    every = {
        other: set(load_shards(paths)[1]) - {""}
        for other in SPLIT_NAMES
        if other != split and (paths := find_shards(root, split=other, is_strict=False))
    }
    train = every.get("train", set())
    if not train or _have_numbers(own | train):
        return own.union(*every.values())
    if unknown := sorted(own - train):
        raise RunError(
            f"{root}: expected the {len(train)} classes of the training shards, got "
            f"{', '.join(unknown[:8])} besides ({len(unknown)} in all)"
        )
    return train


def _have_numbers(classes: Collection[str]) -> bool:
    return any(_is_number(name) for name in classes)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()
