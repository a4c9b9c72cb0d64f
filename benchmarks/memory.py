"""Measure the peak memory of an evaluation after 10 cells and after all: it should stay flat.

    python benchmarks/memory.py                           # 50,000 images, 75 cells, 1,000 classes
    python benchmarks/memory.py --num-images 2000 --names contrast pixelate brightness

The images are small and random and the network is one matrix, so the memory is what the evaluation
keeps of 50,000 x 1,000 logits per cell. Prints one line of JSON.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
import tyro
from torch import nn

from augmix.data.stores import Source
from augmix.devices import peak_memory_mib
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.loop import evaluate
from augmix.progress import CellFinished, Event

_SIZE = 16  # pixels


class Matrix(nn.Module):
    """A linear classifier."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3 * _SIZE * _SIZE, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 4 * self.head(images.flatten(1))


class DrawnImages(Source):
    """A source of any number of images, of which only a few patterns are in memory."""

    def __init__(self, num_images: int, num_classes: int) -> None:
        super().__init__(
            name="drawn",
            split="test",
            class_names=tuple(map(str, range(num_classes))),
            labels=np.arange(num_images) % num_classes,
            size=(_SIZE, _SIZE),
            channels=3,
        )
        rng = np.random.default_rng(0)
        patterns = rng.integers(0, 256, (251, _SIZE, _SIZE, 3), dtype=np.uint8)
        object.__setattr__(self, "patterns", patterns)

    @property
    def fingerprint(self) -> str:
        """One name for all."""
        return "drawn"

    def load(self, ids: np.ndarray) -> np.ndarray:
        """Make images whose pattern and brightness depend on the id."""
        shift = (ids // len(self.patterns)).astype(np.uint8)
        return self.patterns[ids % len(self.patterns)] // 2 + shift[:, None, None, None] // 2


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Peak memory of an evaluation."""

    num_images: int = 50_000
    """Images per cell."""
    num_classes: int = 1000
    """Logits per image."""
    names: tuple[str, ...] = ("paper-15",)
    """Corruptions, each at five severities."""
    early: int = 10
    """Cells after which the first peak is read."""


def main(settings: Settings) -> None:
    """Measure and print."""
    peaks: list[float] = []

    def record_peak(event: Event) -> None:
        if isinstance(event, CellFinished):
            peaks.append(peak_memory_mib(torch.device("cpu")))
            print(f"{event.done}/{event.num_cells} {peaks[-1]:.1f} MiB", file=sys.stderr)

    start = perf_counter()
    with tempfile.TemporaryDirectory() as out:
        evaluate(
            Matrix(settings.num_classes),
            DrawnImages(settings.num_images, settings.num_classes),
            EvaluateConfig(
                suite=("c",),
                names=settings.names,
                temperature_images=min(settings.num_images // 2, 5000),
                out=Path(out),
            ),
            on_progress=record_peak,
        )
    found = {
        "num_images": settings.num_images,
        "num_classes": settings.num_classes,
        "num_cells": len(peaks),
        "early_mib": round(peaks[min(settings.early, len(peaks)) - 1], 1),
        "peak_mib": round(peaks[-1], 1),
        "seconds": round(perf_counter() - start, 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(tyro.cli(Settings, config=(tyro.conf.OmitArgPrefixes,)))
