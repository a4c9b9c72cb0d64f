"""Labels and ids: known to be in range before they are used."""

import hashlib

import numpy as np
from jaxtyping import Int64

from augmix.records import RunError

MAX_CLASSES = 1_000_000  # of a set whose classes have no names


def check_labels(
    labels: np.ndarray, num_images: int, *, num_classes: int = 0, where: str, hint: str = ""
) -> Int64[np.ndarray, " image"]:
    """The labels as int64, once they are known to be one class of the set for every image.

    Args:
        labels: Whole numbers `image`.
        num_images: How many there must be.
        num_classes: 0 allows any number of classes.
        where: What they were read from.
        hint: The way out when a label is beyond the last class.

    Raises:
        RunError: If type, number or range is wrong.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise RunError(
            f"{where}: expected labels as one whole number per image, "
            f"got {labels.dtype} of shape {labels.shape}"
        )
    if len(labels) != num_images:
        raise RunError(f"{where}: expected {num_images} labels, one per image, got {len(labels)}")
    if not num_images:
        raise RunError(f"{where}: expected at least one image, got none")
    top = (num_classes or MAX_CLASSES) - 1
    wrong = np.flatnonzero((labels < 0) | (labels > top))
    if len(wrong):
        raise RunError(
            f"{where}: expected labels 0..{top}, got {int(labels[wrong[0]])} at index "
            f"{int(wrong[0])} ({len(wrong)} wrong in all)"
            + (f"; {hint}" if hint and labels[wrong[0]] > top else "")
            + ("; leave out unlabelled images" if labels[wrong[0]] < 0 else "")
        )
    return labels.astype(np.int64)


def check_ids(ids: np.ndarray, num_images: int) -> np.ndarray:
    """The ids themselves, once they are known to be in range; NumPy would take -1 for the last."""
    ids = np.asarray(ids)
    if ids.size and (ids.min() < 0 or ids.max() >= num_images):
        raise IndexError(
            f"image ids must be 0..{num_images - 1}, got {int(ids.min())}..{int(ids.max())}"
        )
    return ids


def fingerprint(digest: str, labels: Int64[np.ndarray, " image"]) -> str:
    """Sha256 of a digest of the stored images and the labels."""
    hasher = hashlib.sha256(digest.encode())
    hasher.update(labels.astype("<i8").tobytes())
    return hasher.hexdigest()


def number_classes(labels: Int64[np.ndarray, " image"], *, where: str) -> tuple[str, ...]:
    """Names for classes that have none: their numbers, up to the largest label.

    Raises:
        RunError: If that is beyond `MAX_CLASSES`.
    """
    num_classes = int(labels.max()) + 1
    if num_classes > MAX_CLASSES:
        raise RunError(
            f"{where}: expected labels 0..{MAX_CLASSES - 1}, got {num_classes - 1} in one of the "
            "splits; number the classes from 0"
        )
    return tuple(str(number) for number in range(num_classes))
