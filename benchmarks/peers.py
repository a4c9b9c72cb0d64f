"""Measure views per second of AugMix here and in other libraries, on one core.

python benchmarks/peers.py [--seconds 5] [--sizes 32 224]

torchvision and timm are measured if they are installed: with default settings except for the
severity of 3 and, where there is a choice, the paper's operations; one image at a time, as a data
set calls them, PIL images in and out. Ours is measured in the same way, and for whole batches:
planned and rendered, float32 out. They take turns. Then data sets with each transform are read by
a `DataLoader` of two processes: one view of an image, and an image with two views, for which
`augmix.views_loader` stands beside timm's `AugMixDataset`. The processor is named.
"""

import argparse
import importlib
import statistics
import sys
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import augmix
from augmix import benchmarks, results

COUNT = 64  # images of a turn
FED = 512  # images that a loader gives


def main() -> None:
    """Measure, and print one line per library and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224], help="in pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(results.provenance()["processor"])
    for size in options.sizes:
        for name, rate in measure(find_libraries(size), COUNT, options.seconds).items():
            print(f"{size:4} px  {name:60} {rate:12,.0f} views/s")
        for name, rate in measure(find_loaders(size), FED, options.seconds).items():
            print(f"{size:4} px  {name:60} {rate:12,.0f} images/s")


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


class Pictures(Dataset):
    """Pictures with a label, each transformed alone."""

    def __init__(self, size: int, transform: Callable[[Image.Image], object] | None = None) -> None:
        self.pictures = [Image.fromarray(each) for each in benchmarks.smooth_images(COUNT, size)]
        self.transform = transform

    def __len__(self) -> int:
        return FED

    def __getitem__(self, index: int) -> tuple[object, int]:
        picture = self.pictures[index % COUNT]
        return self.transform(picture) if self.transform else picture, 0


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """What every training script does with a picture."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def find_loaders(size: int) -> dict[str, Callable[[int], object]]:
    """Return functions that read some images through a loader, by the library's name."""
    one, several = augmix.transforms.AugMix(severity=3), augmix.transforms.AugMixViews(severity=3)
    data: dict[str, tuple[Dataset, Callable | None]] = {
        "augmix, transform": (Pictures(size, lambda picture: to_tensor(one(picture))), None),
        "augmix, Transformed": (augmix.transforms.Transformed(Pictures(size), one), None),
        "augmix, Collate": (Pictures(size), augmix.transforms.Collate(one)),
        "augmix, Collate, image + 2 views": (Pictures(size), augmix.transforms.Collate(several)),
    }
    if (module := import_if_installed("torchvision.transforms.v2")) is not None:
        mixed = module.AugMix(severity=3, all_ops=False)
        data["torchvision"] = (Pictures(size, lambda picture: to_tensor(mixed(picture))), None)
    if (module := import_if_installed("timm.data.auto_augment")) is not None:
        timm_mixed = module.augment_and_mix_transform("augmix-m3", {})
        data["timm"] = (Pictures(size, lambda picture: to_tensor(timm_mixed(picture))), None)
        views = importlib.import_module("timm.data").AugMixDataset(TimmPictures(size), num_splits=3)
        views.transform = (None, timm_mixed, to_tensor)
        data["timm, AugMixDataset, image + 2 views"] = (views, None)
    found: dict[str, Callable[[int], object]] = {}
    ours = augmix.views_loader(
        Pictures(size), batch_size=64, policy=augmix.AugMix(severity=3), num_workers=2
    )
    found["views_loader of 2 processes: augmix, image + 2 views"] = partial(read, ours)
    for name, (dataset, collate) in data.items():
        loader = DataLoader(
            dataset, batch_size=64, num_workers=2, persistent_workers=True, collate_fn=collate
        )
        found[f"loader of 2 processes: {name}"] = partial(read, loader)
    return found


class TimmPictures(Pictures):
    """Pictures with the attribute that timm's data set sets."""


def read(loader: Iterable, turn: int) -> None:
    """Read all batches of a loader."""
    for _ in loader:
        pass


def import_if_installed(name: str):
    """Import a module; None if it is not installed, or cannot be imported, which is printed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None
    except (ImportError, RuntimeError) as error:  # e.g. torchvision built for another torch
        print(f"{name} is left out: {str(error).splitlines()[0]}", file=sys.stderr)
        return None


def measure(
    libraries: dict[str, Callable[[int], object]], count: int, seconds: float
) -> dict[str, float]:
    """Return images per second by name, the medians of at least three turns of a count."""
    for work in libraries.values():
        work(0)
    times_s: dict[str, list[float]] = {name: [] for name in libraries}
    for turn in benchmarks.turns(seconds):
        for name, work in libraries.items():
            times_s[name].append(benchmarks.timed(partial(work, turn))[1])
    return {name: count / statistics.median(own) for name, own in times_s.items()}


if __name__ == "__main__":
    main()
