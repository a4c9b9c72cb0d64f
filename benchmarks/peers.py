"""Views per second of AugMix in other libraries, beside ours, on one core.

python benchmarks/peers.py [--seconds 5] [--sizes 32 224]

Those of torchvision and timm are measured where they are installed: default settings but for the
severity of 3 and the paper's operations where there is a choice, image by image as a data set calls
them, PIL images in and out. Ours is planning and rendering of a batch, float32 out. All take turns.
"""

import argparse
import importlib
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

import augmix
from augmix import benchmarks

COUNT = 64  # images of a turn; timm and torchvision work on one at a time


def main() -> None:
    """Measure, and print one line a library and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224], help="sides in pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for size in options.sizes:
        works = find_works(size)
        for name, rate in measure(works, options.seconds).items():
            print(f"{size:4} px  {name:40} {rate:12,.0f} views/s")


def find_works(size: int) -> dict[str, Callable[[int], object]]:
    """What makes a view of each of `COUNT` images, by the library's name; called with the turn."""
    images = benchmarks.smooth_images(COUNT, size)
    pictures = [Image.fromarray(image) for image in images]
    policy, ids = augmix.AugMix(severity=3), np.arange(COUNT)

    def ours(executor: str) -> Callable[[int], object]:
        def render(turn: int) -> object:
            stream = augmix.Stream(seed=0).at(epoch=turn)
            plan = policy.sample(ids, num_views=1, size=(size, size), stream=stream)
            return augmix.render(images, plan, executor=executor)

        return render

    def theirs(transform: Callable[[Image.Image], object]) -> Callable[[int], object]:
        return lambda turn: [transform(picture) for picture in pictures]

    works = {"augmix, compiled": ours("compiled"), "augmix, pillow": ours("pillow")}
    if (module := find("torchvision.transforms.v2")) is not None:
        version = importlib.import_module("torchvision").__version__
        transform = module.AugMix(severity=3, all_ops=False)
        works[f"torchvision {version}, transforms.v2"] = theirs(transform)
    if (module := find("timm.data.auto_augment")) is not None:
        version = importlib.import_module("timm").__version__
        works[f"timm {version}"] = theirs(module.augment_and_mix_transform("augmix-m3", {}))
    return works


def find(module: str):
    """A module, or None where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def measure(works: dict[str, Callable[[int], object]], seconds: float) -> dict[str, float]:
    """Views per second of each, the median of at least three turns."""
    for work in works.values():
        work(0)
    times: dict[str, list[float]] = {name: [] for name in works}
    turn, deadline = 0, time.perf_counter() + seconds
    while turn < 3 or time.perf_counter() < deadline:
        for name, work in works.items():
            began = time.perf_counter()
            work(turn)
            times[name].append(time.perf_counter() - began)
        turn += 1
    return {name: COUNT / statistics.median(own) for name, own in times.items()}


if __name__ == "__main__":
    main()
