"""How fast photographs are decoded and cropped on this machine, and what reduced decoding changes.

    python benchmarks/decoding.py ../shared/data/imagenet-samples [--sizes 224 64] [--threads 1 2]

The folder is one of `augmix.open_source("imagenet")`, its test split. Every number is the best of
three passes; CPU time hardly depends on what else runs, images per second do. Differences are grey
levels between crops of whole and of reduced images, over the images that were reduced.
"""

import argparse
import time

import numpy as np

from augmix.data.decode import ResizedCrop
from augmix.data.sources import Source, load_at, open_source
from augmix.rng import Stream

_TURNS = 3


def measure(source: Source) -> tuple[np.ndarray, float, float]:
    """The crops of an epoch, images a second, and milliseconds of CPU an image."""
    ids = np.arange(len(source))
    wall, processor = np.inf, np.inf
    for _ in range(_TURNS):
        began = time.perf_counter(), time.process_time()
        crops = load_at(source, ids, stream=Stream(seed=0))
        wall = min(wall, time.perf_counter() - began[0])
        processor = min(processor, time.process_time() - began[1])
    return crops, len(ids) / wall, 1000 * processor / len(ids)


def main() -> None:
    """Print one line for each size, way of decoding and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root")
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 64])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    for size in options.sizes:
        crops = {}
        for is_reduced in (False, True):
            for threads in options.threads:
                source = open_source(
                    "imagenet",
                    root=options.root,
                    split="test",
                    size=size,
                    crop=ResizedCrop(),
                    is_reduced=is_reduced,
                    num_threads=threads,
                )
                crops[is_reduced], rate, cost = measure(source)
                way = "reduced" if is_reduced else "whole"
                told = f"{size:4d} px, {way:7s} {threads} threads: {rate:6.0f} images/s"
                print(f"{told}, {cost:.2f} ms CPU an image", flush=True)
        differences = np.abs(crops[False].astype(int) - crops[True])
        changed = differences.reshape(len(differences), -1).any(axis=1)
        share, mean = changed.mean(), differences[changed].mean() if changed.any() else 0.0
        print(
            f"{size:4d} px: {100 * share:.0f} % of the images reduced, mean difference {mean:.2f}"
        )


if __name__ == "__main__":
    main()
