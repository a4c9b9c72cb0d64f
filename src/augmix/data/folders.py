"""Image folders: one folder per class below an optional split folder."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from augmix.data.decode import FORMATS, SUFFIXES, ImageError
from augmix.data.items import Geometry, ImageFiles, OnError
from augmix.data.stores import ArraySource, LazySource, build_source, fingerprint
from augmix.errors import RunError

# What is taken for each split, best first: what is not for training may have any of these names.
SPLIT_NAMES = {
    "train": ("train",),
    "test": ("test", "val", "validation", "valid"),
    "val": ("val", "validation", "valid"),
}
_SHARD = re.compile(r"-(\d+)-of-(\d+)$")
ALL_NAMES = tuple(dict.fromkeys(name for names in SPLIT_NAMES.values() for name in names))


def check_named_split(path: Path, split: str) -> None:
    """Refuse a file or folder whose own name says that it is another split.

    Without this, training on ``val`` or measuring on ``train`` would go unnoticed.
    """
    own = next((name for name in ALL_NAMES if _is_named(path, name)), None)
    if own is not None and own not in SPLIT_NAMES[split]:
        raise RunError(
            f"expected data of split {split!r}, got {path}, named {own!r}; name the folder above "
            "it, or ask for that split"
        )


def has_splits(folder: Path) -> bool:
    """Whether a folder is divided into splits, each a folder of class folders."""
    return any((folder / name).is_dir() and _has_folders(folder / name) for name in ALL_NAMES)


def find_split(folder: Path, split: str) -> Path | None:
    """The folder of a split."""
    found = (folder / name for name in SPLIT_NAMES[split] if (folder / name).is_dir())
    return next(found, None)


def missing_split(root: Path, split: str, expected: str, found: Sequence[str]) -> RunError:
    """The error for data in which a split cannot be found."""
    if not root.exists():
        return RunError(f"{root} does not exist; name the data with --data")
    shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
    return RunError(f"no split {split!r}: expected {expected} in {root}, got {shown or 'nothing'}")


def name_words(path: Path) -> list[str]:
    """The words of a file's name: ``imagenet-train-0001.tar`` has train among them."""
    return re.split(r"[-_.]", path.stem.lower())


def check_shards(shards: Sequence[Path]) -> None:
    """Refuse a split of which shards are missing: train-00000-of-00005 names how many."""
    match = _SHARD.search(shards[0].stem)
    if match and int(match[2]) != len(shards):
        raise RunError(
            f"expected {int(match[2])} files like {shards[0]}, got {len(shards)}; fetch the rest"
        )


def list_entries(folder: Path) -> list[str]:
    """The names in a folder, for messages."""
    return sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())


def _is_named(path: Path, name: str) -> bool:
    """``val``, ``val.npz``, ``val-00000-of-00001.parquet``, but not ``valley``."""
    stem = path.name.split(".")[0].lower()
    return stem == name or (stem.startswith((f"{name}-", f"{name}_")) and path.suffix != "")


def _has_folders(folder: Path) -> bool:
    return any(path.is_dir() for path in folder.iterdir())


@dataclass(frozen=True, kw_only=True, eq=False)
class FileItems(ImageFiles):
    """Image files below a folder.

    Attributes:
        root: The folder.
        paths: Below it, ``class/file.png``, sorted.
    """

    root: Path
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def where(self, index: int) -> str:
        return str(self.root / self.paths[index])

    def digest(self, rows: np.ndarray) -> str:
        """Over the sorted listing of (path, bytes), which no file need be read for."""
        hasher = hashlib.sha256()
        for row in rows:
            path = self.paths[row]
            num_bytes = self._num_bytes(path)
            hasher.update(os.fsencode(path) + f"\0{num_bytes}\n".encode())
        return hasher.hexdigest()

    def _num_bytes(self, path: str) -> int:
        try:
            return (self.root / path).stat().st_size
        except OSError as error:
            raise RunError(f"cannot read {self.root / path}: {error.strerror or error}") from error

    def content(self, index: int) -> bytes:
        try:
            return (self.root / self.paths[index]).read_bytes()
        except OSError as error:
            raise ImageError(f"cannot read the file: {error.strerror or error}") from error


def open_folder(
    root: Path,
    *,
    split: str,
    geometry: Geometry,
    on_error: OnError,
    num_threads: int,
    name: str = "folder",
) -> ArraySource | LazySource:
    """Open an image folder; see `sources.open_source`."""
    folder, class_names, paths, labels = _list(root, split)
    return build_source(
        FileItems(root=folder, paths=tuple(paths)),
        labels,
        name=name,
        split=split,
        class_names=class_names,
        geometry=geometry,
        on_error=on_error,
        num_threads=num_threads,
        files=paths,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Photographs:
    """The images of a folder at the size each of them has, for what resizes them itself.

    Attributes:
        items: The files.
        labels: The class of every image.
        class_names: One for each class.
        fingerprint: Sha256 of labels, paths and sizes of the files.
    """

    items: FileItems
    split: str
    labels: Int64[np.ndarray, " image"]
    class_names: tuple[str, ...]
    fingerprint: str

    @property
    def files(self) -> tuple[str, ...]:
        return self.items.paths

    @property
    def channels(self) -> int:
        return self.items.channels

    def __len__(self) -> int:
        return len(self.labels)

    def load_one(self, index: int) -> UInt8[np.ndarray, "height width channel"]:
        """One image as stored, RGB.

        Raises:
            RunError: If it is broken; the message names its file.
        """
        try:
            return self.items.image(index, 0)
        except ImageError as error:
            raise RunError(f"cannot use image {self.items.where(index)}: {error}") from error


def open_photographs(root: Path, *, split: str) -> Photographs:
    """The images of a split of an image folder, each at its own size.

    Raises:
        RunError: As `sources.open_source`.
    """
    folder, class_names, paths, labels = _list(root, split)
    items = FileItems(root=folder, paths=tuple(paths))
    return Photographs(
        items=items,
        split=split,
        labels=labels,
        class_names=tuple(class_names),
        fingerprint=fingerprint(items.digest(np.arange(len(paths))), labels),
    )


def _list(
    root: Path, split: str
) -> tuple[Path, Sequence[str], list[str], Int64[np.ndarray, " image"]]:
    """The split's folder, its classes, and file and class of every image."""
    folder, class_names = _find_classes(root, split)
    paths, labels = [], []
    for label, name in enumerate(class_names):
        files = _image_files(folder, name)
        paths += files
        labels += [label] * len(files)
    if not paths:
        raise RunError(
            f"{folder}: expected images ({', '.join(FORMATS)}) in class folders "
            f"{', '.join(class_names[:8])}, got none"
        )
    return folder, class_names, paths, np.array(labels, np.int64)


def _find_classes(root: Path, split: str) -> tuple[Path, Sequence[str]]:
    """The folder of the split and its classes, numbered as in the training split if any."""
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise RunError(f"{root} {what}; name a folder of class folders with --data")
    if not has_splits(root):
        check_named_split(root, split)
        return root, list_classes(root)
    folder = find_split(root, split)
    if folder is None:
        raise missing_split(root, split, f"a folder {split}", list_entries(root))
    found = list_classes(folder)
    train = find_split(root, "train")
    if train is None or train == folder:
        return folder, found
    known = list_classes(train)
    unknown = sorted(set(found) - set(known))
    if unknown:
        raise RunError(
            f"{folder}: expected the {len(known)} classes of {train}, got {', '.join(unknown[:8])} "
            f"besides ({len(unknown)} in all); the splits must have the same class folders"
        )
    return folder, known


def list_classes(folder: Path) -> list[str]:
    """The class folders of a split, in order.

    Raises:
        RunError: If there are none.
    """
    names = sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if not names:
        entries = ", ".join(list_entries(folder)[:8]) or "nothing"
        raise RunError(f"{folder}: expected one folder per class, got {entries}")
    if set(names) <= set(ALL_NAMES):
        raise RunError(
            f"{folder}: expected class folders, got only the splits {', '.join(names)} without "
            "class folders in them; sort the images into one folder per class"
        )
    return names


def _image_files(folder: Path, name: str) -> list[str]:
    """Image files of a class at any depth, sorted by path; hidden files are none."""
    found = []
    for place, _, files in os.walk(folder / name):
        below = Path(place).relative_to(folder)
        found += [
            (below / file).as_posix()
            for file in files
            if not file.startswith(".") and Path(file).suffix.lower() in SUFFIXES
        ]
    return sorted(found)
