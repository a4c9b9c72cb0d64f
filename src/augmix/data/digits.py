"""The handwritten digits that scikit-learn brings along: 1,797 images, split by a fixed order."""

from typing import Any

import numpy as np
from PIL import Image

from augmix.data.items import ArrayItems, Geometry
from augmix.data.stores import ArraySource, build_source, check_labels
from augmix.errors import RunError
from augmix.rng import Purpose, Stream

_NUM_TRAIN = 1400  # of 1,797
_PART = 0  # of Purpose.SPLIT; part 1 takes images of any source


def open_digits(split: str, size: int) -> ArraySource:
    """A split of the digits: 8x8 with levels 0..16, enlarged to RGB of the size asked for.

    Raises:
        RunError: If there is no such split, or scikit-learn is not installed.
    """
    if split not in ("train", "test"):
        raise RunError(f"digits has the splits train and test, got {split!r}")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise RunError(
            "source digits needs scikit-learn, which is not installed: pip install 'augmix[demo]'"
        ) from error
    raw: Any = load_digits()
    order = Stream(seed=0).at(Purpose.SPLIT, part=_PART).permutation(len(raw.target))
    chosen = order[:_NUM_TRAIN] if split == "train" else order[_NUM_TRAIN:]
    levels = np.rint(raw.images[np.sort(chosen)] * (255 / 16)).astype(np.uint8)
    grey = [
        Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in levels
    ]
    images = np.repeat(np.stack([np.asarray(image) for image in grey])[..., None], 3, axis=3)
    labels = check_labels(raw.target[np.sort(chosen)], len(images), num_classes=10, where="digits")
    source = build_source(
        ArrayItems(images=images, path="digits"),
        labels,
        name="digits",
        split=split,
        class_names=[str(digit) for digit in range(10)],
        geometry=Geometry(size=0),
        on_error="raise",
        num_threads=1,
        flip=False,  # crop: 1/8 of the side, one pixel of the original
    )
    assert isinstance(source, ArraySource)
    return source
