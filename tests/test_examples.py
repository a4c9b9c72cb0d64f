"""The examples run with the real libraries, and train on the views that they say."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from real_models import import_torchvision, import_transformers

EXAMPLES = Path(__file__).parents[1] / "examples"
pytestmark = pytest.mark.filterwarnings("ignore")  # of other libraries


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of each of two classes for training, and four for testing."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 4)):
        for number, name in enumerate(("bright", "dark")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(100 - 90 * number, 256 - 150 * number, (36, 40, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    return root


def load(name: str, *libraries: str) -> ModuleType:
    """Import an example, or skip where a library is missing."""
    for library in libraries:
        if library == "torchvision":
            import_torchvision()
        if library == "transformers":
            import_transformers()
        pytest.importorskip(library, reason=f"the example {name} is for it")
    sys.path.insert(0, str(EXAMPLES))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))


def test_pytorch_loop(photos: Path) -> None:
    results = load("pytorch_loop").main(photos)
    assert (results.num_images, len(results.cells)) == (8, 7)


def test_fabric_loop(photos: Path) -> None:
    results = load("fabric_loop").main(photos)
    assert (results.num_images, len(results.cells)) == (8, 7)


def test_torchvision_folder(photos: Path) -> None:
    results = load("torchvision_folder", "torchvision").main(photos)
    assert (results.num_images, len(results.cells)) == (8, 7)
    assert results.source["class_names"] == ["bright", "dark"]


def test_hugging_face_trainer(photos: Path, tmp_path: Path) -> None:
    example = load("hf_trainer", "transformers", "accelerate")
    results = example.main(photos, str(tmp_path / "out"))
    assert (results.num_images, len(results.cells)) == (8, 7)
    assert results.model["preprocessing"]["mean"] == [0.5] * 3


def test_timm_loop(photos: Path) -> None:
    example = load("timm_loop", "torchvision", "timm")
    config = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    for open_loader in (example.open_loader, example.open_faster_loader):
        images, targets = next(iter(open_loader(photos, config, batch_size=8)))
        assert (images.shape, targets.shape) == ((24, 3, 32, 32), (24,))
        levels = 255 * (images * 0.25 + 0.5)
        torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)  # of uint8 views
        clean, first, second = images.unflatten(0, (3, 8))
        assert not torch.equal(clean, first)
        assert not torch.equal(first, second)
        assert torch.equal(targets, targets[:8].repeat(3))
    results = example.main(photos, batch_size=8)
    assert (results.num_images, len(results.cells)) == (8, 7)
