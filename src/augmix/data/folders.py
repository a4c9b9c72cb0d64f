"""Image folders: one folder per class, below an optional folder per split; see `data.trees`."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from augmix.data.decode import FORMATS, ImageError
from augmix.data.stores import (
    END_BYTES,
    ImageFiles,
    Labels,
    OpenOptions,
    Source,
    build_source,
    check_classes,
)
from augmix.data.trees import (
    OUTSIDE,
    SERVING,
    FolderTree,
    Tree,
    choose_splits,
    compose,
    find_splits,
    index_classes,
    inner_classes,
    is_split,
    join,
    no_folder,
    order_classes,
    split_kind,
)
from augmix.errors import RunError

_SHARD = re.compile(r"-(\d+)-of-(\d+)(-[0-9a-f]+)?$")
_ANNOTATIONS = "val_annotations.txt"  # of Tiny-ImageNet: the class of each image of val/images
_IMAGES = "images"  # the folder beside it


def list_entries(folder: Path) -> list[str]:
    """List all names in a folder, for messages."""
    return sorted(f"{path.name}/" if path.is_dir() else path.name for path in folder.iterdir())


def show_entries(folder: Path) -> str:
    """Name the first entries of a folder, for messages."""
    return ", ".join(list_entries(folder)[:8]) or "nothing"


def list_classes(tree: FolderTree, folder: str) -> tuple[str, ...]:
    """List the class folders of a split, in order; refuse a folder without any."""
    names = tree.folders(folder)
    path = tree.root / folder
    if not names:
        raise RunError(
            f"{path}: expected one folder per class, got {show_entries(path)}; put the images of "
            "each class into a folder of its name"
        )
    return order_classes(names)


def check_named_split(path: Path, split: str) -> None:
    """Refuse a file or folder named like another split; its use would go unnoticed.

    ``val``, ``val.npz`` and ``val-00000-of-00001.parquet`` are, but not ``valley``.
    """
    word = path.name.split(".")[0].lower()
    if path.suffix:
        word = re.split("[-_]", word)[0]
    if not serves(word, split):
        raise RunError(
            f"expected data of split {split!r}, got {path}, named {word!r}; name the folder above "
            "it, or ask for that split"
        )


def serves(word: str, split: str) -> bool:
    """Return whether a name is none of a split, or of one that serves for this split."""
    return not is_split(word) or split_kind(word)[0] in SERVING[split]


def missing_split(root: Path, split: str, expected: str, found: Sequence[str]) -> RunError:
    """Make the error for data in which a split cannot be found."""
    if not root.exists():
        return no_folder(root)
    shown = ", ".join(found[:8]) + (", ..." if len(found) > 8 else "")
    kinds = {split_kind(Path(name.rstrip("/")).stem)[0] for name in found} - {"", split}
    others = [kind for kind in SERVING if kind in kinds]
    way_out = f"; --split {others[0]} takes those" if split != "train" and others else ""
    return RunError(
        f"no split {split!r}: expected {expected} in {root}, got {shown or 'nothing'}{way_out}"
    )


def check_shards(shards: Sequence[Path]) -> None:
    """Refuse a split of which shards are missing: train-00000-of-00005 names how many."""
    named = [match for path in shards if (match := _SHARD.search(path.stem))]
    if named and not len({match[1] for match in named}) == len(shards) == int(named[0][2]):
        raise RunError(
            f"expected {int(named[0][2])} files like {shards[0]}, got {len(shards)}; "
            "fetch the rest, or move away those of another version"
        )


def check_outside(data: str, folder: Path) -> None:
    """Refuse to write into a folder of which every folder is read as a class, with a `RunError`.

    Args:
        data: The images; anything but image folders is fine.
        folder: What is written.
    """
    root, target = Path(data).expanduser(), folder.expanduser().resolve()
    if not root.is_dir() or not target.is_relative_to(root.resolve()):
        return
    tree = FolderTree(root)
    splits = [root / name for name in find_splits(tree).values()]
    if any(target.is_relative_to(each.resolve()) for each in splits or [root]):
        raise RunError(
            f"{folder} lies in the folder of the images, {data}, and would be read as one of its "
            "classes; choose another --out beside it"
        )


def read_ends(path: Path) -> bytes:
    """Read the first and last bytes of a file, or all of it if it is small."""
    try:
        with open(path, "rb") as file:
            start = file.read(END_BYTES)
            rest = max(os.fstat(file.fileno()).st_size - END_BYTES, END_BYTES)
            file.seek(rest)
            return start + file.read(END_BYTES)
    except OSError as error:
        raise ImageError(f"cannot read the file: {error.strerror or error}") from error


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
        """Hash path and length of every file, and the ends of up to 1,000 of them."""
        hasher = hashlib.sha256()
        for row in rows.tolist():
            hasher.update(os.fsencode(self.paths[row]) + f"\0{self.num_bytes(row)}\n".encode())
        self.hash_ends(rows, hasher)
        return hasher.hexdigest()

    def num_bytes(self, index: int) -> int:
        """Return the length of a file."""
        path = self.root / self.paths[index]
        try:
            return path.stat().st_size
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror or error}") from error

    def content(self, index: int) -> bytes:
        try:
            return (self.root / self.paths[index]).read_bytes()
        except OSError as error:
            raise ImageError(f"cannot read the file: {error.strerror or error}") from error

    def ends(self, index: int) -> bytes:
        return read_ends(self.root / self.paths[index])


def open_folder(root: Path, options: OpenOptions) -> Source:
    """Open an image folder; see `sources.open_source`."""
    found = _read_split(root, options.split)
    return build_source(
        found.items,
        found.labels,
        found.class_names,
        options,
        files=found.items.paths,
        left_out=found.left_out,
    )


class _Split(NamedTuple):
    """The images of a split, and what in its folder is none."""

    items: FileItems
    labels: Labels
    class_names: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def _read_split(root: Path, split: str) -> _Split:
    """List the images of a split, classes numbered as in the training split if there is one."""
    if not root.is_dir():
        raise no_folder(root)
    tree = FolderTree(root)
    splits = find_splits(tree)
    if not splits:
        check_named_split(root, split)
        return list_images(tree, "")
    if not any(_has_classes(tree, folder) for folder in splits.values()):
        raise RunError(
            f"{root}: expected class folders, got only the splits {', '.join(splits.values())} "
            "without class folders in them; sort the images into one folder per class"
        )
    serving = choose_splits(splits, split)
    if not serving:
        raise missing_split(root, split, f"a folder {split}", list_entries(root))
    folder = next((each for each in serving if _has_classes(tree, each)), serving[0])
    train = splits.get("train")
    known = () if train in (None, folder) else list_classes(tree, train)
    return list_images(tree, folder, known, whose=str(root / (train or "")))


def _has_classes(tree: Tree, folder: str) -> bool:
    """Whether a split says what the classes of its images are."""
    return _is_annotated(tree, folder) or tree.folders(folder) not in ([], [_IMAGES])


def _is_annotated(tree: Tree, folder: str) -> bool:
    return (_ANNOTATIONS, "file") in tree.entries(folder)


def list_images(
    tree: FolderTree, folder: str, known: Sequence[str] = (), *, whose: str = ""
) -> _Split:
    """List the images of a split and their labels.

    Args:
        folder: Path of the split below the root of the tree.
        known: The classes that it must have no other than; if none, those that it has.
        whose: Where these come from, for the message.
    """
    if _is_annotated(tree, folder):
        return _list_annotated(tree, folder, known, whose=whose)
    path = tree.root / folder
    found = list_classes(tree, folder)
    hint = "; the splits must have the same class folders"
    if known:
        check_classes(found, known, where=path, whose=whose, hint=hint)
    listing = tree.walk(folder)
    inside, names = inner_classes(listing.images, listing.folders)
    if inside and not known:
        raise RunError(single_class(str(path), inside, names, f"name {path / inside}"))
    class_names = tuple(known) or found
    number = index_classes(class_names, where=str(path))
    inner = [image for image in listing.images if "/" in image]
    outside = [(image, OUTSIDE) for image in listing.images if "/" not in image]
    if not inner:
        raise RunError(
            f"{path}: expected images ({', '.join(FORMATS)}) in class folders "
            f"{', '.join(class_names[:8])}, got none{listing.summary}"
        )
    labels = np.array([number[compose(image.partition("/")[0])] for image in inner], np.int64)
    order = np.argsort(labels, kind="stable")
    items = FileItems(root=path, paths=tuple(inner[row] for row in order))
    return _Split(items, labels[order], class_names, (*listing.left_out, *outside))


def single_class(where: str, inside: str, names: Sequence[str], way_out: str) -> str:
    """Word the message for data whose only class holds what looks like classes."""
    top = inside.partition("/")[0]
    return (
        f"{where}: the folder {top} would be the only class with images, while {inside} holds the "
        f"folders {', '.join(names[:8])}; {way_out}"
    )


def _list_annotated(tree: FolderTree, folder: str, known: Sequence[str], *, whose: str) -> _Split:
    """List the images of Tiny-ImageNet's validation set, whose classes are in a file."""
    path = tree.root / join(folder, _ANNOTATIONS)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    classes = {}
    for words in filter(None, map(str.split, lines)):
        if len(words) < 2:
            raise RunError(f"{path}: expected 'image class ...', got {' '.join(words)!r}")
        classes[words[0]] = words[1]
    listing = tree.walk(folder)
    missing = [image for image in listing.images if Path(image).name not in classes]
    if missing or not listing.images:
        raise RunError(
            f"{path}: expected a line for each of {len(listing.images)} images, got none for "
            f"{missing[0] if missing else 'any'}"
        )
    found = [classes[Path(image).name] for image in listing.images]
    class_names = tuple(known) or order_classes(found)
    check_classes(found, class_names, where=path, whose=whose)
    number = index_classes(class_names, where=str(path))
    labels = np.array([number[compose(name)] for name in found], np.int64)
    items = FileItems(root=tree.root / folder, paths=listing.images)
    left_out = tuple(each for each in listing.left_out if each[0] != _ANNOTATIONS)
    return _Split(items, labels, class_names, left_out)
