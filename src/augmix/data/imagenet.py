"""ImageNet as folders, flat validation set, tar or parquet shards.

The classes of a flat validation set are in a file of labels beside it:

| file | its lines | from |
| --- | --- | --- |
| ``LOC_val_solution.csv`` | ``ILSVRC2012_val_00000001,n01751748 111 108 ...`` | Kaggle |
| ``imagenet_2012_validation_synset_labels.txt`` | a synset for each image in order | TensorFlow |
| ``val.txt`` | ``ILSVRC2012_val_00000001.JPEG 65``: the index of its synset, from 0 | Caffe |
| ``ILSVRC2012_validation_ground_truth.txt`` | an ILSVRC id for each image in order | devkit |

The ids of the devkit are in an order of their own, which is in its ``meta.mat``.

Classes are numbered in the order of their synsets, which is the order of ILSVRC's 1,000 classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from augmix.data.folders import FileItems, list_entries, missing_split, open_folder
from augmix.data.parquet import find_tables, open_parquet
from augmix.data.stores import Items, Labels, OpenOptions, Source, build_source, check_classes
from augmix.data.tar import SYNSET, find_shards, load_shards, open_shards
from augmix.data.trees import FolderTree, choose_splits, find_splits, order_classes
from augmix.errors import RunError

_BELOW = ("", "ILSVRC/Data/CLS-LOC", "Data/CLS-LOC")  # Kaggle's folders
_DEVKIT = "ILSVRC2012_validation_ground_truth.txt"
_META = "meta.mat"
_NAMED = ("LOC_val_solution.csv", "val.txt")  # each line names its image
_SYNSETS = ("LOC_val_solution.csv", "imagenet_2012_validation_synset_labels.txt")
NAMES = (*_SYNSETS, "val.txt", _DEVKIT)


def find_labels(folders: Sequence[Path]) -> Path | None:
    """Find the first known file of labels in these folders or in the ``data`` of a devkit there."""
    for folder in folders:
        for below in (folder, folder / "data", *sorted(folder.glob("*devkit*/data"))):
            for path in (below / name for name in NAMES):
                if path.is_file():
                    return path
    return None


def load_labels(
    path: Path, images: Sequence[str], class_names: Sequence[str]
) -> tuple[Labels, tuple[str, ...]]:
    """Read the classes of images from a file of labels, and the names of all classes.

    Args:
        path: The file; its name says of which kind it is.
        images: File names in sorted order.
        class_names: Synsets in order; none takes those in the file, in sorted order.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    lines = [line.strip() for line in lines if line.strip()]
    if path.name in _NAMED:
        words = _find_words(lines, images, path)
    elif len(lines) == len(images):
        words = lines
    else:
        raise RunError(
            f"{path}: expected a line for each of {len(images)} images, got {len(lines)}"
        )
    if path.name == _DEVKIT:
        synsets = _load_meta(path.with_name(_META))
        unknown = [number for number in words if number not in synsets]
        if unknown:
            raise RunError(f"{path}: expected ids of {_META}, got {unknown[0]!r}")
        words = [synsets[number] for number in words]
        class_names = class_names or sorted(set(synsets.values()))
    return _number(words, class_names, path)


def _find_words(lines: Sequence[str], images: Sequence[str], path: Path) -> list[str]:
    """``name,class ...`` or ``name class``, in any order; names with or without their ending."""
    found = {}
    for line in lines:
        name, _, rest = line.replace(",", " ", 1).partition(" ")
        words = rest.split()
        if not words:
            raise RunError(f"{path}: expected 'image class', got {line[:80]!r}")
        found[Path(name).stem] = words[0]
    missing = [name for name in images if Path(name).stem not in found]
    if missing:
        raise RunError(
            f"{path}: expected a line for each of {len(images)} images, got none for {missing[0]} "
            f"({len(missing)} in all)"
        )
    return [found[Path(name).stem] for name in images]


def _number(
    words: Sequence[str], class_names: Sequence[str], path: Path
) -> tuple[Labels, tuple[str, ...]]:
    """Labels of synsets or numbers, and the names of the classes."""
    is_synset = {bool(SYNSET.fullmatch(word)) for word in words}
    wrong = [word for word in words if not (SYNSET.fullmatch(word) or word.isdecimal())]
    if wrong or len(is_synset) > 1:
        raise RunError(
            f"{path}: expected synsets such as n01440764, or numbers, for all images, got "
            f"{(wrong or sorted(set(words)))[0]!r}"
        )
    if is_synset == {False}:
        largest = max(int(word) for word in words)
        if not class_names:
            raise RunError(
                f"{path}: numbers need to know the synsets; put the class folders of the training "
                f"images beside (train/n01440764/ ...), or one of {', '.join(_SYNSETS)}"
            )
        if largest >= len(class_names):
            raise RunError(
                f"{path}: expected numbers 0..{len(class_names) - 1} for the {len(class_names)} "
                f"classes of the training images, got {largest}"
            )
        return np.array([int(word) for word in words], np.int64), tuple(class_names)
    names = tuple(class_names) or tuple(sorted(set(words)))
    check_classes(words, names, where=path, whose="the training images")
    index = {name: number for number, name in enumerate(names)}
    return np.array([index[word] for word in words], np.int64), names


def _load_meta(path: Path) -> dict[str, str]:
    """Synset by ILSVRC id, of the 1,000 classes without children."""
    others = ", ".join(name for name in NAMES if name != _DEVKIT)
    try:
        from scipy.io import loadmat

        rows: Any = loadmat(str(path), squeeze_me=True)["synsets"]
        return {
            str(int(row["ILSVRC2012_ID"])): str(row["WNID"])
            for row in np.atleast_1d(rows)
            if int(row["num_children"]) == 0
        }
    except Exception as error:  # a reader fed a broken file may raise anything
        raise RunError(
            f"cannot read {path}, which has the synsets of {_DEVKIT}: {error}; take it from the "
            f"same devkit, or put one of {others} beside the images"
        ) from error


def open_imagenet(root: Path, options: OpenOptions) -> Source:
    """Open a split of ImageNet in whatever form it is found; see `sources.open_source`.

    Taken in this order: ``SPLIT/synset/image``; ``SPLIT/image`` with a file of labels; parquet
    files; tar files, with a file of labels if they have no classes; and folders of synsets alone,
    which serve any split.
    """
    split = options.split
    if not root.exists():
        raise RunError(f"{root} does not exist; name the folder of ImageNet")
    if root.is_file():
        reader = open_parquet if root.suffix == ".parquet" else open_shards
        return reader(root, options)
    for base in (root / below for below in _BELOW if (root / below).is_dir()):
        tree = FolderTree(base)
        serving = choose_splits(find_splits(tree, has_flat=True), split)
        if any(map(tree.folders, serving)):
            return open_folder(base, options)
        for folder in serving:  # the official test images have no labels: then val is taken
            paths = tuple(tree.images(folder))
            is_last = folder == serving[-1]
            if paths and (is_last or find_labels((base / folder,))):
                items = FileItems(root=base / folder, paths=paths)
                return _open_flat(items, paths, (root, base, base / folder), options)
    if find_tables(root, split):
        return open_parquet(root, options)
    if shards := find_shards(root, split):
        found = load_shards(shards, split)
        if any(found.classes):
            return open_shards(root, options)
        return _open_flat(found.items, found.items.names, (root,), options)
    if any(SYNSET.fullmatch(name) for name in FolderTree(root).folders()):
        return open_folder(root, options)
    forms = f"{split}/n01440764/..., {split}/ILSVRC2012_val_..., {split}-*.parquet or {split}*.tar"
    raise missing_split(root, split, forms, list_entries(root))


def _open_flat(
    items: Items, names: Sequence[str], folders: tuple[Path, ...], options: OpenOptions
) -> Source:
    """Open the images of one split without class folders, their classes from a file of labels."""
    path = find_labels(folders)
    if path is None:
        raise RunError(
            f"{items.where(0)} lies in no folder of its class: expected one of {', '.join(NAMES)} "
            f"in {folders[0]} with the classes, got none"
        )
    order = sorted(range(len(names)), key=names.__getitem__)
    ordered = [names[row] for row in order]
    found, class_names = load_labels(path, ordered, _training_classes(folders))
    labels = np.empty_like(found)
    labels[order] = found
    files = names if isinstance(items, FileItems) else ()
    return build_source(items, labels, class_names, options, files=files)


def _training_classes(folders: tuple[Path, ...]) -> tuple[str, ...]:
    """The synsets of the training images, from folders or shards; none if there are none."""
    for folder in folders:
        tree = FolderTree(folder)
        train = find_splits(tree, has_flat=True).get("train")
        if train is not None and (names := tree.folders(train)):
            return order_classes(names)
        if shards := find_shards(folder, "train"):
            return order_classes(set(load_shards(shards, "train").classes) - {""})
    return ()
