"""Images that a model has seen in training, met again when it is measured.

A folder without splits, a single table or archive serves any split asked for, so training and
testing on the same images would go unnoticed. Fingerprints tell.
"""

from typing import Any

from augmix.data.sources import Source, take
from augmix.records import RunError


def check_disjoint(train_fingerprint: str, test: Source, *, max_train_images: int = 0) -> None:
    """Refuse to measure a model on the set it was trained on.

    What is found: the same images, classes and order, whole or as the parts `sources.take` and
    `sources.subset` give, whatever labels they were mapped to since. What is not found: a set
    stored in another form, or one that shares some images only.

    Args:
        train_fingerprint: Of the source that was trained on, as its run recorded it.
        test: The images to measure on.
        max_train_images: What the run limited its training images to; 0 for all.

    Raises:
        RunError: If they are the same.
    """
    if overlaps(train_fingerprint, test, max_train_images=max_train_images):
        raise RunError(
            f"the {test.split!r} images of source {test.name!r} are those the model was trained "
            "on: data without splits serves any split. Measure on other images (--data, or "
            "folders train and test), or take them all the same with --allow-train-data"
        )


def overlaps(train_fingerprint: str, test: Source, *, max_train_images: int = 0) -> bool:
    """Whether a model's training images are (a part of, or contain) these; see `check_disjoint`."""
    for whole in _layers(test):
        seen = {whole.fingerprint}
        if max_train_images:
            seen.add(take(whole, max_train_images).fingerprint)
        if train_fingerprint in seen:
            return True
    return False


def _layers(source: Source) -> list[Source]:
    """A source, what it is a part or mapping of, and so on."""
    found: list[Any] = [source]
    while (inner := getattr(found[-1], "source", None)) is not None:
        found.append(inner)
    return found
