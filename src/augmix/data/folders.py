"""Image folders: one folder per class, below an optional folder per split.

The rules that all readers share are here too: what is an image, a class folder, and a split.
"""

import hashlib
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from augmix.data import Reading
from augmix.data.decode import FORMATS, SUFFIXES, Geometry, ImageError, warn_of_files
from augmix.data.stores import (
    ImageFiles,
    Labels,
    LazySource,
    OpenOptions,
    Source,
    build_source,
    check_classes,
)
from augmix.errors import RunError

# What serves for each split, best first: what is not for training may have any of these names.
SPLIT_NAMES = {
    "train": ("train",),
    "test": ("test", "val", "validation", "valid"),
    "val": ("val", "validation", "valid"),
}
ALL_NAMES = tuple(dict.fromkeys(name for names in SPLIT_NAMES.values() for name in names))
_SHARD = re.compile(r"-(\d+)-of-(\d+)$")


def is_image(name: str, suffixes: Collection[str] = SUFFIXES) -> bool:
    """Return whether a file of this name is an image; hidden files are none."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes


def list_images(
    folder: Path, below: str = "", *, suffixes: Collection[str] = SUFFIXES
) -> list[str]:
    """List the images at any depth of ``folder / below``: paths below ``folder``, sorted."""
    found = []
    for parent, _, files in os.walk(folder / below):
        path = Path(parent).relative_to(folder)
        found += [(path / file).as_posix() for file in files if is_image(file, suffixes)]
    return sorted(found)


def list_folders(folder: Path) -> list[str]:
    """List the names of the folders right in a folder, sorted; hidden ones are left out."""
    return sorted(
        path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )


def list_entries(folder: Path) -> list[str]:
    """List all names in a folder, for messages."""
    return sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())


def show_entries(folder: Path) -> str:
    """Name the first entries of a folder, for messages."""
    return ", ".join(list_entries(folder)[:8]) or "nothing"


def list_classes(folder: Path) -> list[str]:
    """List the class folders of a split, in order; refuse a folder without any."""
    names = list_folders(folder)
    if not names:
        raise RunError(f"{folder}: expected one folder per class, got {show_entries(folder)}")
    if set(names) <= set(ALL_NAMES):
        raise RunError(
            f"{folder}: expected class folders, got only the splits {', '.join(names)} without "
            "class folders in them; sort the images into one folder per class"
        )
    return names


def list_labelled(
    folder: Path, class_names: Sequence[str], *, suffixes: Collection[str] = SUFFIXES
) -> tuple[tuple[str, ...], Labels]:
    """List the images of all class folders, in the order of the classes, and their labels."""
    files = [list_images(folder, name, suffixes=suffixes) for name in class_names]
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(part) for part in files])
    return tuple(path for part in files for path in part), labels


def find_split(folder: Path, split: str) -> Path | None:
    """Find the folder of a split."""
    found = (folder / name for name in SPLIT_NAMES[split] if (folder / name).is_dir())
    return next(found, None)


def check_named_split(path: Path, split: str) -> None:
    """Refuse a file or folder named like another split; its use would go unnoticed.

    ``val``, ``val.npz`` and ``val-00000-of-00001.parquet`` are, but not ``valley``.
    """
    word = path.name.split(".")[0].lower()
    if path.suffix:
        word = re.split("[-_]", word)[0]
    if word in ALL_NAMES and word not in SPLIT_NAMES[split]:
        raise RunError(
            f"expected data of split {split!r}, got {path}, named {word!r}; name the folder above "
            "it, or ask for that split"
        )


def missing_split(root: Path, split: str, expected: str, found: Sequence[str]) -> RunError:
    """Make the error for data in which a split cannot be found."""
    if not root.exists():
        return RunError(f"{root} does not exist; name the data with --data")
    shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
    return RunError(f"no split {split!r}: expected {expected} in {root}, got {shown or 'nothing'}")


def check_shards(shards: Sequence[Path]) -> None:
    """Refuse a split of which shards are missing: train-00000-of-00005 names how many."""
    match = _SHARD.search(shards[0].stem)
    if match and int(match[2]) != len(shards):
        raise RunError(
            f"expected {int(match[2])} files like {shards[0]}, got {len(shards)}; fetch the rest"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FileItems(ImageFiles):
    """Image files below a folder; their paths are ``class/file.png``, sorted."""

    root: Path
    paths: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def where(self, index: int) -> str:
        return str(self.root / self.paths[index])

    def digest(self, rows: np.ndarray) -> str:
        """Hash path and length of every file, which no file need be read for."""
        hasher = hashlib.sha256()
        for row in rows:
            path = self.root / self.paths[row]
            try:
                num_bytes = path.stat().st_size
            except OSError as error:
                raise RunError(f"cannot read {path}: {error.strerror or error}") from error
            hasher.update(os.fsencode(self.paths[row]) + f"\0{num_bytes}\n".encode())
        return hasher.hexdigest()

    def content(self, index: int) -> bytes:
        try:
            return (self.root / self.paths[index]).read_bytes()
        except OSError as error:
            raise ImageError(f"cannot read the file: {error.strerror or error}") from error


def open_folder(root: Path, options: OpenOptions) -> Source:
    """Open an image folder; see `sources.open_source`."""
    items, labels, class_names = _list_split(root, options.split)
    return build_source(items, labels, class_names, options, files=items.paths)


@dataclass(frozen=True, kw_only=True, eq=False)
class Photographs(LazySource):
    """The images of a folder, each at its own size, for callers that resize them themselves."""

    name: str = "folder"
    channels: int = 3
    size: tuple[int, int] = (0, 0)  # any

    def load_one(self, index: int) -> UInt8[np.ndarray, "height width channel"]:
        """Decode one image as stored, RGB.

        Raises:
            RunError: If it is broken; the message names its file.
        """
        try:
            return self.items.image(index, self.geometry)
        except ImageError as error:
            raise RunError(f"cannot use image {self.items.where(index)}: {error}") from error


def open_photographs(root: Path, *, split: str, reading: Reading | None = None) -> Photographs:
    """Open the images of a split of an image folder, each at its own size."""
    items, labels, class_names = _list_split(root, split)
    rows = np.arange(len(items))
    return Photographs(
        split=split,
        class_names=class_names,
        labels=labels,
        files=items.paths,
        items=items,
        rows=rows,
        geometry=Geometry(reading=reading or Reading()),
        warnings=tuple(warn_of_files(items.content, rows, reading or Reading())),
        digest=items.digest(rows),
    )


def _list_split(root: Path, split: str) -> tuple[FileItems, Labels, tuple[str, ...]]:
    """The images of a split, their labels, and the names of the classes."""
    folder, class_names = _find_classes(root, split)
    paths, labels = list_labelled(folder, class_names)
    if not paths:
        raise RunError(
            f"{folder}: expected images ({', '.join(FORMATS)}) in class folders "
            f"{', '.join(class_names[:8])}, got none"
        )
    return FileItems(root=folder, paths=paths), labels, tuple(class_names)


def _find_classes(root: Path, split: str) -> tuple[Path, Sequence[str]]:
    """The folder of the split and its classes, numbered as in the training split if any."""
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        raise RunError(f"{root} {what}; name a folder of class folders with --data")
    has_splits = any(
        (root / name).is_dir() and any(path.is_dir() for path in (root / name).iterdir())
        for name in ALL_NAMES
    )
    if not has_splits:
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
    hint = "; the splits must have the same class folders"
    check_classes(found, known, where=folder, whose=str(train), hint=hint)
    return folder, known
