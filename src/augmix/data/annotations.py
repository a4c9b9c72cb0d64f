"""Which class every image of a folder without class folders has: the listings of ILSVRC's val set.

| file | its lines | from |
| --- | --- | --- |
| ``LOC_val_solution.csv`` | ``ILSVRC2012_val_00000001,n01751748 111 108 ...`` | Kaggle |
| ``imagenet_2012_validation_synset_labels.txt`` | a synset for each image in order | TensorFlow |
| ``val.txt`` | ``ILSVRC2012_val_00000001.JPEG 65``: the place of its synset, from 0 | Caffe |
| ``ILSVRC2012_validation_ground_truth.txt`` | an ILSVRC id for each image in order | devkit |

The ids of the devkit are in an order of their own, which its ``meta.mat`` tells.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from augmix.data.listings import SYNSET
from augmix.records import RunError

_DEVKIT = "ILSVRC2012_validation_ground_truth.txt"
NAMES = (
    "LOC_val_solution.csv",
    "imagenet_2012_validation_synset_labels.txt",
    "val.txt",
    _DEVKIT,
)
_META = "meta.mat"


def find_annotations(places: Sequence[Path]) -> Path | None:
    """The first known listing in these folders, or in the ``data`` of a devkit in them."""
    folders = [
        folder
        for place in places
        for folder in (place, place / "data", *sorted(place.glob("*devkit*/data")))
    ]
    found = (folder / name for folder in folders for name in NAMES if (folder / name).is_file())
    return next(found, None)


def load_annotations(
    path: Path, images: Sequence[str], class_names: Sequence[str]
) -> tuple[Int64[np.ndarray, " image"], tuple[str, ...]]:
    """The classes of images by one of the listings, and the names of all classes.

    Args:
        path: The listing; its name says of which kind it is.
        images: File names in sorted order.
        class_names: Synsets in order; none takes those that the listing has, in sorted order.

    Raises:
        RunError: If the listing cannot be read, does not fit the images, or names unknown classes.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    lines = [line.strip() for line in lines if line.strip()]
    read: Callable[[Sequence[str], Sequence[str], Path], list[str]]
    read = _read_named if path.name in ("LOC_val_solution.csv", "val.txt") else _read_ordered
    told = read(lines, images, path)
    if path.name == _DEVKIT:
        synsets = _load_meta(path.with_name(_META))
        unknown = [number for number in told if number not in synsets]
        if unknown:
            raise RunError(f"{path}: expected ids of {_META}, got {unknown[0]!r}")
        told = [synsets[number] for number in told]
        class_names = class_names or sorted(set(synsets.values()))
    return _number(told, class_names, path)


def _read_ordered(lines: Sequence[str], images: Sequence[str], path: Path) -> list[str]:
    if len(lines) != len(images):
        raise RunError(
            f"{path}: expected a line for each of {len(images)} images, got {len(lines)}"
        )
    return list(lines)


def _read_named(lines: Sequence[str], images: Sequence[str], path: Path) -> list[str]:
    """``name,class ...`` or ``name class``, in any order; names with or without their ending."""
    told = {}
    for line in lines:
        name, _, rest = line.replace(",", " ", 1).partition(" ")
        words = rest.split()
        if not words:
            raise RunError(f"{path}: expected 'image class', got {line[:80]!r}")
        told[Path(name).stem] = words[0]
    missing = [name for name in images if Path(name).stem not in told]
    if missing:
        raise RunError(
            f"{path}: expected a line for each of {len(images)} images, got none for {missing[0]} "
            f"({len(missing)} in all)"
        )
    return [told[Path(name).stem] for name in images]


def _number(
    told: Sequence[str], class_names: Sequence[str], path: Path
) -> tuple[Int64[np.ndarray, " image"], tuple[str, ...]]:
    """Labels of synsets or numbers, and the names of the classes."""
    is_synset = {bool(SYNSET.fullmatch(word)) for word in told}
    wrong = [word for word in told if not (SYNSET.fullmatch(word) or word.isdecimal())]
    if wrong or len(is_synset) > 1:
        raise RunError(
            f"{path}: expected synsets such as n01440764, or numbers, for all images, got "
            f"{(wrong or sorted(set(told)))[0]!r}"
        )
    if is_synset == {False}:
        largest = max(int(word) for word in told)
        if not class_names:
            raise RunError(
                f"{path}: numbers need to know the synsets; put the class folders of the training "
                f"images beside (train/n01440764/ ...), or one of {', '.join(NAMES[:2])}"
            )
        if largest >= len(class_names):
            raise RunError(
                f"{path}: expected numbers 0..{len(class_names) - 1} for the {len(class_names)} "
                f"classes of the training images, got {largest}"
            )
        return np.array([int(word) for word in told], np.int64), tuple(class_names)
    names = tuple(class_names) or tuple(sorted(set(told)))
    index = {name: number for number, name in enumerate(names)}
    unknown = sorted(set(told) - set(index))
    if unknown:
        raise RunError(
            f"{path}: expected the {len(names)} classes of the training images, got "
            f"{', '.join(unknown[:8])} besides ({len(unknown)} in all)"
        )
    return np.array([index[word] for word in told], np.int64), names


def _load_meta(path: Path) -> dict[str, str]:
    """Synset by ILSVRC id, of the 1,000 classes without children."""
    others = ", ".join(name for name in NAMES if name != _DEVKIT)
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise RunError(
            f"reading {path} needs scipy, which is not installed: pip install scipy, or put one of "
            f"{others} beside the images"
        ) from error
    try:
        rows: Any = loadmat(str(path), squeeze_me=True)["synsets"]
        return {
            str(int(row["ILSVRC2012_ID"])): str(row["WNID"])
            for row in np.atleast_1d(rows)
            if int(row["num_children"]) == 0
        }
    except Exception as error:  # a reader fed a broken file may raise anything
        raise RunError(
            f"cannot read {path}, which tells the synsets of {_DEVKIT}: {error}; take it from the "
            f"same devkit, or put one of {others} beside the images"
        ) from error
