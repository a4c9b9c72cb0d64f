"""Image sets as NumPy archives: `.npz` files of uint8 images and whole-number labels."""

import zipfile
from pathlib import Path

import numpy as np

from augmix.arrays import check_images
from augmix.data.folders import SPLIT_NAMES, check_named_split, list_entries, missing_split
from augmix.data.items import ArrayItems, Geometry, OnError
from augmix.data.stores import ArraySource, LazySource, build_source, check_labels, number_classes
from augmix.errors import RunError


def open_npz(
    root: Path, *, split: str, geometry: Geometry, on_error: OnError, num_threads: int
) -> ArraySource | LazySource:
    """Open an ``.npz`` set; see `sources.open_source`."""
    path = root
    if root.is_dir():
        path = next(
            (
                root / f"{name}.npz"
                for name in SPLIT_NAMES[split]
                if (root / f"{name}.npz").exists()
            ),
            root,
        )
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
    return build_source(
        ArrayItems(images=np.ascontiguousarray(images), path=str(path)),
        labels,
        name="npz",
        split=split,
        class_names=number_classes(all_labels, where=str(path)) if names is None else list(names),
        geometry=geometry,
        on_error=on_error,
        num_threads=num_threads,
    )


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
