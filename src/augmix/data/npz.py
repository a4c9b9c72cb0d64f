"""Images in memory: ``.npz`` archives, and the handwritten digits of scikit-learn."""

import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from augmix.arrays import check_images
from augmix.data.decode import AS_STORED, Geometry
from augmix.data.folders import SPLIT_NAMES, check_named_split, list_entries, missing_split
from augmix.data.stores import (
    ArrayItems,
    ArraySource,
    LazySource,
    OpenOptions,
    build_source,
    check_labels,
    number_classes,
)
from augmix.errors import RunError
from augmix.rng import Purpose, Stream

_NUM_TRAIN = 1400  # of the 1,797 digits
_PART = 0  # of Purpose.SPLIT; part 1 takes images of any source


def open_npz(root: Path, options: OpenOptions) -> ArraySource | LazySource:
    """Open an ``.npz`` set; see `sources.open_source`."""
    split = options.split
    path = root
    if root.is_dir():
        candidates = [root / f"{name}.npz" for name in SPLIT_NAMES[split]]
        path = next((path for path in candidates if path.exists()), root)
        if path == root:
            raise missing_split(root, split, f"{split}.npz", list_entries(root))
    arrays = _load_arrays(path)
    images, labels, all_labels = _choose_arrays(arrays, path, split)
    labels = labels.reshape(-1) if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if images.ndim == 3:
        images = images[..., None]  # image height width -> one channel
    try:
        check_images(images, where=f"{path}: images")
    except (TypeError, ValueError) as error:
        raise RunError(str(error)) from None
    names = arrays.get("class_names")
    if names is not None and (names.ndim != 1 or names.dtype.kind != "U"):
        raise RunError(f"{path}: expected class_names as one text per class, got {names.dtype}")
    labels = check_labels(
        labels,
        len(images),
        num_classes=0 if names is None else len(names),
        where=str(path),
        hint="class_names holds fewer classes",
    )
    items = ArrayItems(images=np.ascontiguousarray(images), path=str(path))
    class_names = number_classes(all_labels, where=str(path)) if names is None else list(names)
    return build_source(items, labels, class_names, options)


def _load_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise RunError(f"{path}: expected an .npz archive of arrays, got a single array")
            return dict(content)
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; name an .npz file with --data") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise RunError(
            f"cannot read {path}: {error}; expected an .npz archive of plain arrays (no objects), "
            "written by numpy.savez"
        ) from error


def _choose_arrays(
    arrays: dict[str, np.ndarray], path: Path, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images and labels of the split, and the labels of all splits in the file."""
    if {"images", "labels"} <= set(arrays):
        check_named_split(path, split)
        return arrays["images"], arrays["labels"], _all_labels(arrays)
    for name in SPLIT_NAMES[split]:
        keys = (f"x_{name}", f"y_{name}")
        if set(keys) <= set(arrays):
            return arrays[keys[0]], arrays[keys[1]], _all_labels(arrays)
    raise RunError(
        f"{path}: expected the arrays images and labels, or x_{split} and y_{split}, "
        f"got {', '.join(arrays) or 'none'}"
    )


def _all_labels(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """The whole-number labels of every split, so that each split counts the same classes."""
    labels = [values for key, values in arrays.items() if key == "labels" or key.startswith("y_")]
    whole = [values.ravel() for values in labels if np.issubdtype(values.dtype, np.integer)]
    return np.concatenate([np.zeros(1), *whole]).astype(np.int64)


def open_digits(root: Path | None, options: OpenOptions) -> ArraySource | LazySource:
    """Open the digits; see `sources.open_source`.

    They are 8x8 with levels 0..16, enlarged to RGB of the size asked for, bilinearly and whole.

    Raises:
        RunError: If there is no such split, or scikit-learn is not installed.
    """
    if options.split not in ("train", "test"):
        raise RunError(f"digits has the splits train and test, got {options.split!r}")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise RunError(
            "source digits needs scikit-learn, which is not installed: pip install 'augmix[demo]'"
        ) from error
    raw: Any = load_digits()
    order = Stream(seed=0).at(Purpose.SPLIT, part=_PART).permutation(len(raw.target))
    chosen = order[:_NUM_TRAIN] if options.split == "train" else order[_NUM_TRAIN:]
    levels = np.rint(raw.images[np.sort(chosen)] * (255 / 16)).astype(np.uint8)
    enlarge = Geometry(size=options.geometry.size, squash=True)
    grey = [enlarge.apply(Image.fromarray(image)) for image in levels]
    images = np.repeat(np.stack([np.asarray(image) for image in grey])[..., None], 3, axis=3)
    labels = check_labels(raw.target[np.sort(chosen)], len(images), num_classes=10, where="digits")
    items = ArrayItems(images=images, path="digits")
    class_names = [str(digit) for digit in range(10)]
    as_made = replace(options, geometry=AS_STORED)
    return build_source(items, labels, class_names, as_made, flip=False)  # a mirrored 2 is none
