"""A tiny encoder and tiny images, to stylise in milliseconds."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

ENCODER = "python:toy_styles:build_toy"


class ToyEncoder(nn.Module):
    """Features at strides 1, 2 and 4, and a head that is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(True))
        self.second = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU(True))
        self.third = nn.Sequential(nn.Conv2d(8, 10, 3, stride=2, padding=1), nn.ReLU(True))
        self.head = nn.Linear(10, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.third(self.second(self.first(images))).mean((2, 3)))


def build_toy() -> ToyEncoder:
    """Build it with the same weights at every call; threads share torch's own generator."""
    network, generator = ToyEncoder(), torch.Generator().manual_seed(5)
    layers = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear))
    with torch.no_grad():
        for layer in layers:
            bound = layer.weight[0].numel() ** -0.5
            for values in layer.parameters():
                values.uniform_(-bound, bound, generator=generator)
    return network


def write_styles(folder: Path) -> Path:
    """Write four style images of different sizes and colours, and two files that are no images."""
    generator = np.random.default_rng(3)
    sizes = {"a.png": (30, 44), "b.jpg": (40, 40), "deep/c.webp": (52, 33), "d.bmp": (24, 24)}
    for number, (file, size) in enumerate(sizes.items()):
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = generator.integers(0, 60 + 60 * number, (6, 5, 3), dtype=np.uint8)
        Image.fromarray(levels).resize(size, Image.Resampling.NEAREST).save(path)
    (folder / ".hidden.png").write_bytes(b"no image")
    (folder / "notes.txt").write_text("no image")
    return folder


def write_images(path: Path, *, count: int = 7, size: int = 16, channels: int = 3) -> Path:
    """Write an ``.npz`` set of three classes, the second without images."""
    shape = (count, size // 4, size // 4, channels)
    small = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    images = small.repeat(4, axis=1).repeat(4, axis=2)
    labels = np.arange(count) % 2 * 2
    np.savez(path, images=images, labels=labels, class_names=["ant", "bee", "cow"])
    return path


def write_photographs(folder: Path) -> Path:
    """Write an image folder with photographs of several sizes in two of three classes."""
    generator = np.random.default_rng(1)
    sizes = {"n1/a.JPEG": (40, 60), "n1/b.png": (50, 44), "n1/deep/c.jpg": (40, 40)}
    for file, size in {**sizes, "n3/a.JPEG": (70, 41)}.items():
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = generator.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        Image.fromarray(levels).resize(size).save(path)
    (folder / "n2").mkdir()
    return folder
