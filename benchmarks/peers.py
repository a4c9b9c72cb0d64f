"""Measure views per second of AugMix here and in other libraries, on one core.

python benchmarks/peers.py [--seconds 5] [--sizes 32 224]

torchvision and timm are measured if they are installed: with default settings except for the
severity of 3 and, where there is a choice, the paper's operations; one image at a time, as a data
set calls them, PIL images in and out. Ours is measured in the same way, and for whole batches:
planned and rendered, float32 out. They take turns.
"""

import argparse
import importlib
import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from PIL import Image

import augmix
from augmix import benchmarks

COUNT = 64  # images of a turn


def main() -> None:
    """Measure, and print one line per library and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224], help="in pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in options.sizes:
        for name, rate in measure(find_libraries(size), options.seconds).items():
            print(f"{size:4} px  {name:40} {rate:12,.0f} views/s")


def find_libraries(size: int) -> dict[str, Callable[[int], object]]:
    """Return functions of a turn that make one view of each image, by the library's name."""
    images = benchmarks.smooth_images(COUNT, size)
    pictures = [Image.fromarray(image) for image in images]

    def render(images: np.ndarray, executor: str, turn: int) -> object:
        plan = benchmarks.draw_plan(augmix.AugMix(severity=3), COUNT, size, turn, num_views=1)
        return augmix.render(images, plan, executor=executor)

    def transform_each(transform: Callable[[Image.Image], object], turn: int) -> object:
        return [transform(picture) for picture in pictures]

    found: dict[str, Callable[[int], object]] = {
        f"augmix, batch, {executor}": partial(render, images, executor)
        for executor in ("compiled", "pillow")
    }
    for executor in ("compiled", "pillow"):
        transform = augmix.transforms.AugMix(severity=3, executor=executor)
        found[f"augmix, one image at a time, {executor}"] = partial(transform_each, transform)
    if (module := import_if_installed("torchvision.transforms.v2")) is not None:
        version = importlib.import_module("torchvision").__version__
        transform = module.AugMix(severity=3, all_ops=False)
        found[f"torchvision {version}, transforms.v2"] = partial(transform_each, transform)
    if (module := import_if_installed("timm.data.auto_augment")) is not None:
        version = importlib.import_module("timm").__version__
        transform = module.augment_and_mix_transform("augmix-m3", {})
        found[f"timm {version}"] = partial(transform_each, transform)
    return found


def import_if_installed(name: str):
    """Import a module; None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def measure(libraries: dict[str, Callable[[int], object]], seconds: float) -> dict[str, float]:
    """Return views per second by name, the medians of at least three turns."""
    for work in libraries.values():
        work(0)
    times_s: dict[str, list[float]] = {name: [] for name in libraries}
    for turn in benchmarks.turns(seconds):
        for name, work in libraries.items():
            times_s[name].append(benchmarks.timed(partial(work, turn))[1])
    return {name: COUNT / statistics.median(own) for name, own in times_s.items()}


if __name__ == "__main__":
    main()
