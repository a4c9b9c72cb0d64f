"""Clean images whose sets are written."""

import numpy as np
import pytest
from PIL import Image

from augmix.data.sources import open_source
from augmix.write import sets


@pytest.fixture
def source(tmp_path):
    """Seven random images of 16 x 20 pixels in three classes, the second without an image."""
    images = np.random.default_rng(0).integers(0, 256, (7, 16, 20, 3), dtype=np.uint8)
    labels = np.array([2, 0, 0, 2, 0, 2, 2])
    path = tmp_path / "clean.npz"
    np.savez(path, images=images, labels=labels, class_names=["ant", "bee", "cow"])
    return open_source("npz", root=path, split="test")


@pytest.fixture
def folder(tmp_path):
    """An image folder of 2 classes: 3 and 1 photographs of different sizes, PNG and JPEG."""
    generator = np.random.default_rng(1)
    sizes = {"n1/a.JPEG": (40, 60), "n1/b.png": (50, 44), "n1/deep/c.jpg": (40, 40)}
    for file, size in {**sizes, "n2/a.JPEG": (70, 41)}.items():
        path = tmp_path / "photos" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        image = generator.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image.fromarray(image).resize(size).save(path)
    return tmp_path / "photos"


@pytest.fixture
def small_pieces(monkeypatch):
    """Two images to a piece."""
    monkeypatch.setattr(sets, "_MAX_IMAGES", 2)
