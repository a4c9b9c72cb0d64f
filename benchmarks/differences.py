"""Measure how far other libraries' AugMix, loss and corruptions are from those of this package.

python benchmarks/differences.py [--data FILE] [--num-images 500]

Each library that is installed is compared on the same images: torchvision and timm by their views
of severity 3, timm by its loss, imagecorruptions by the 15 corruptions of the paper. Levels are
8-bit grey levels, means over all values. The tables of `docs/coming-from/` are from here.
"""

import argparse
import importlib
import importlib.util
from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image

import augmix
from augmix import benchmarks
from augmix.corruptions.registry import CORRUPTIONS

VIEWS = 4  # of an image
PAPER = [name for name, row in CORRUPTIONS.items() if row.group != "extra"]


def main() -> None:
    """Compare, and print one line per library."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="images, as of augmix.open_source; else smooth noise")
    parser.add_argument("--split", default="test")
    parser.add_argument("--num-images", type=int, default=500)
    parser.add_argument("--size", type=int, default=32, help="of the images, in pixels")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.data:
        kind = "parquet" if options.data.endswith(".parquet") else "folder"
        source = augmix.open_source(kind, root=options.data, split=options.split, size=options.size)
        count = min(options.num_images, len(source))
        images = source.load(np.linspace(0, len(source) - 1, count).astype(np.int64))
    else:
        images = benchmarks.smooth_images(options.num_images, options.size)
    print(f"{len(images)} images of {images.shape[1]} px, {VIEWS} views each, severity 3")
    for name, transform in find_transforms().items():
        print(f"{name:38}", describe(images, transform))
    for line in compare_losses():
        print(line)
    for line in compare_corruptions(images):
        print(line)


def find_transforms() -> Mapping[str, Callable[[Image.Image], Image.Image]]:
    """Transforms of one picture, by the library's name."""
    found: dict[str, Callable] = {"augmix": augmix.transforms.AugMix(severity=3)}
    found["augmix, 13 operations"] = augmix.transforms.AugMix(severity=3, ops="all")
    if is_installed("torchvision"):
        v2 = importlib.import_module("torchvision.transforms.v2")
        found["torchvision, all_ops=False"] = v2.AugMix(severity=3, all_ops=False)
        found["torchvision"] = v2.AugMix(severity=3)
        found["torchvision, severity=1"] = v2.AugMix(severity=1, all_ops=False)
    if is_installed("timm"):
        module = importlib.import_module("timm.data.auto_augment")
        found["timm, augmix-m3"] = module.augment_and_mix_transform("augmix-m3", {})
        found["timm, augmix-m3-b1"] = module.augment_and_mix_transform("augmix-m3-b1", {})
    return found


def describe(images: np.ndarray, transform: Callable[[Image.Image], Image.Image]) -> str:
    """Distance and sign of the change, and views that are the image itself."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - timm draws from it
    distances, shifts, equal = [], [], 0
    for image in images:
        picture = Image.fromarray(image)
        for _ in range(VIEWS):
            change = np.asarray(transform(picture)).astype(np.float64) - image
            distances.append(np.abs(change).mean())
            shifts.append(change.mean())
            equal += not change.any()
    error = np.std(distances) / len(distances) ** 0.5
    return (
        f"change {np.mean(distances):5.2f} +- {error:.2f} levels, mean {np.mean(shifts):+5.2f}, "
        f"{100 * equal / len(distances):.2f} % equal the image"
    )


def compare_losses() -> list[str]:
    """Losses of the same logits: timm's defaults, and the same label smoothing."""
    if not is_installed("timm"):
        return []
    loss = importlib.import_module("timm.loss").JsdCrossEntropy()
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (256,), generator=generator)
    logits = 3 * torch.randn(3, 256, 10, generator=generator)
    theirs = loss(logits.flatten(0, 1), labels.repeat(3)).item()
    ours = [augmix.jsd_loss(logits, labels, label_smoothing=each).item() for each in (0.0, 0.1)]
    return [
        f"timm.loss.JsdCrossEntropy() {theirs:.6f}; augmix.jsd_loss {ours[0]:.6f}, "
        f"with label_smoothing=0.1 {ours[1]:.6f}"
    ]


def compare_corruptions(images: np.ndarray) -> list[str]:
    """Distance of corrupted images to the image, by both, at severity 3."""
    if not is_installed("imagecorruptions"):
        return []
    corrupt = importlib.import_module("imagecorruptions").corrupt
    preset = "cifar" if images.shape[1] == 32 else "imagenet"
    lines = [f"severity 3, change in levels: imagecorruptions, augmix (preset {preset})"]
    np.random.seed(0)  # noqa: NPY002 - it draws from there
    for name in PAPER:
        theirs = np.stack([corrupt(each, severity=3, corruption_name=name) for each in images])
        ours = augmix.corrupt(images, name, severity=3, preset=preset, seed=0)
        both = [np.abs(each.astype(np.float64) - images).mean() for each in (theirs, ours)]
        lines.append(f"{name:20} {both[0]:6.2f} {both[1]:6.2f}")
    return lines


def is_installed(name: str) -> bool:
    """Whether a library can be imported."""
    return importlib.util.find_spec(name) is not None


if __name__ == "__main__":
    main()
