"""Does the memory of an evaluation stay flat? Peak resident memory after 10 and after all cells.

    python benchmarks/memory.py                           # 50,000 images, 75 cells, 1,000 classes
    python benchmarks/memory.py --num-images 2000 --names contrast pixelate brightness

The images are drawn, small and cheap, the network is one matrix: what is measured is what the
evaluation keeps of 50,000 x 1,000 logits a cell. Prints one line of JSON.
"""

import json
import resource
import sys
import tempfile
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
import tyro
from torch import nn

from augmix.evaluation.loop import evaluate
from augmix.progress import CellFinished, Event

_SIDE = 16
_KIB = 1 if sys.platform != "darwin" else 1 / 1024  # ru_maxrss is in bytes there


class Matrix(nn.Module):
    """A thousand logits for the price of one matrix."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3 * _SIDE * _SIDE, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 4 * self.head(images.flatten(1))


class DrawnImages:
    """As many images as asked for, of which only a few patterns are in memory."""

    name, split, channels, crop_padding, flip = "drawn", "test", 3, 0, False
    size, fingerprint, skipped = (_SIDE, _SIDE), "drawn", ()

    def __init__(self, num_images: int, num_classes: int) -> None:
        rng = np.random.default_rng(0)
        self.patterns = rng.integers(0, 256, (251, _SIDE, _SIDE, 3), dtype=np.uint8)
        self.labels = np.arange(num_images) % num_classes
        self.num_classes = num_classes
        self.class_names = tuple(map(str, range(num_classes)))

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, ids: np.ndarray) -> np.ndarray:
        """Pattern and brightness by id."""
        shift = (ids // len(self.patterns)).astype(np.uint8)
        return self.patterns[ids % len(self.patterns)] // 2 + shift[:, None, None, None] // 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Peak memory of an evaluation."""

    num_images: int = 50_000
    """Images a cell."""
    num_classes: int = 1000
    """Logits an image."""
    names: tuple[str, ...] = ("paper-15",)
    """Corruptions, each at five severities."""
    early: int = 10
    """Cells after which the peak is looked at first."""


def main(settings: Settings) -> None:
    """Measure and print."""
    peaks: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, CellFinished):
            kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB
            peaks.append(kib / 1024)
            print(f"{event.done}/{event.num_cells} {peaks[-1]:.1f} MiB", file=sys.stderr)

    began = perf_counter()
    with tempfile.TemporaryDirectory() as out:
        evaluate(
            Matrix(settings.num_classes),
            DrawnImages(settings.num_images, settings.num_classes),
            suite=("c",),
            names=settings.names,
            temperature_images=min(settings.num_images // 2, 5000),
            out=out,
            on_progress=watch,
        )
    found = {
        "num_images": settings.num_images,
        "num_classes": settings.num_classes,
        "num_cells": len(peaks),
        "early_mib": round(peaks[min(settings.early, len(peaks)) - 1], 1),
        "peak_mib": round(peaks[-1], 1),
        "seconds": round(perf_counter() - began, 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(tyro.cli(Settings, config=(tyro.conf.OmitArgPrefixes,)))
