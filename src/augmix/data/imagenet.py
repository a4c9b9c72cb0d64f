"""ImageNet in the forms it is kept in: folders, the flat validation set, tar or parquet shards.

Classes are numbered in the order of their synsets, which is the order of ILSVRC's 1,000 classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmix.data.annotations import NAMES, find_annotations, load_annotations
from augmix.data.decoding import SUFFIXES
from augmix.data.folders import FileItems, list_classes, open_folder
from augmix.data.geometry import Geometry
from augmix.data.items import Items, OnError
from augmix.data.listings import SYNSET
from augmix.data.shards import find_shards, load_shards, open_shards
from augmix.data.splits import find_split, list_entries, missing_split
from augmix.data.stores import ArraySource, LazySource, build_source
from augmix.data.tables import find_tables, open_parquet
from augmix.records import RunError

SIZE = 224  # px, of crops
_BELOW = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # Kaggle's folders


def open_imagenet(
    root: Path, *, split: str, geometry: Geometry, on_error: OnError, num_threads: int
) -> ArraySource | LazySource:
    """Open a split of ImageNet in whatever form it is found; see `sources.open_source`.

    Taken in this order: ``SPLIT/synset/image``; ``SPLIT/image`` with a listing of its classes
    (`annotations`); parquet files; tar files, with a listing if they tell no classes; and folders
    of synsets alone, which serve any split.

    Raises:
        RunError: If the split is in none of these forms; the message names them.
    """
    options: dict[str, Any] = {
        "split": split,
        "geometry": geometry,
        "on_error": on_error,
        "num_threads": num_threads,
    }
    if not root.exists():
        raise RunError(f"{root} does not exist; name the folder of ImageNet with --data")
    if root.is_file():
        reader = open_parquet if root.suffix == ".parquet" else open_shards
        return reader(root, **options, name="imagenet")
    for base in (root / below for below in _BELOW):
        folder = find_split(base, split) if base.is_dir() else None
        if folder is not None and _has_folders(folder):
            return open_folder(base, **options, name="imagenet")
        if folder is not None and (paths := _flat_files(folder)):
            items = FileItems(root=folder, paths=paths)
            return _open_flat(items, paths, (root, base, folder), options)
    if find_tables(root, split=split, strict=False):
        return open_parquet(root, **options, name="imagenet")
    if shards := find_shards(root, split=split, is_strict=False):
        items, told = load_shards(shards)
        if any(told):
            return open_shards(root, **options, name="imagenet")
        names = [items.shards[s].names[row] for s, row in zip(items.shard, items.row, strict=True)]
        return _open_flat(items, names, (root,), options)
    if any(path.is_dir() and SYNSET.fullmatch(path.name) for path in root.iterdir()):
        return open_folder(root, **options, name="imagenet")
    forms = f"{split}/n01440764/..., {split}/ILSVRC2012_val_..., {split}-*.parquet or {split}*.tar"
    raise missing_split(root, split, forms, list_entries(root))


def _open_flat(
    items: Items, names: Sequence[str], places: tuple[Path, ...], options: dict[str, Any]
) -> ArraySource | LazySource:
    """Images of one split in one place, their classes from a listing."""
    path = find_annotations(places)
    if path is None:
        raise RunError(
            f"{items.where(0)} lies in no folder of its class: expected one of {', '.join(NAMES)} "
            f"in {places[0]} to tell the classes, got none"
        )
    order = sorted(range(len(names)), key=names.__getitem__)
    ordered = [names[row] for row in order]
    told, class_names = load_annotations(path, ordered, _training_classes(places))
    labels = np.empty_like(told)
    labels[order] = told
    files = names if isinstance(items, FileItems) else ()
    return build_source(
        items, labels, name="imagenet", class_names=class_names, files=files, **options
    )


def _training_classes(places: tuple[Path, ...]) -> tuple[str, ...]:
    """The synsets of the training images, from folders or shards; none if there are none."""
    for place in places:
        train = place / "train"
        if train.is_dir() and _has_folders(train):
            return tuple(list_classes(train))
        if shards := find_shards(place, split="train", is_strict=False):
            return tuple(sorted(set(load_shards(shards)[1]) - {""}))
    return ()


def _has_folders(folder: Path) -> bool:
    return any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())


def _flat_files(folder: Path) -> tuple[str, ...]:
    """Names of the image files right in a folder, sorted."""
    return tuple(
        sorted(
            path.name
            for path in folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
    )
