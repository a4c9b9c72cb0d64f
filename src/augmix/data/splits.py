"""Splits on disk: the names that stand for train, test and val, and what to say without."""

import re
from collections.abc import Sequence
from pathlib import Path

from augmix.records import RunError

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
