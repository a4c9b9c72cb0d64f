"""Measure how fast photographs are decoded and cropped, and what reduced decoding changes.

    python benchmarks/decoding.py ../shared/data/imagenet-samples [--sizes 224 64] [--threads 1 2]

The folder is read as the test split of `augmix.open_source("imagenet")`. Every number is the best
of three passes; CPU time hardly depends on other load, images per second do. Differences are in
grey levels, between crops of whole and of reduced images, over the images that were reduced.
"""

import argparse
import time

import numpy as np

from augmix.benchmarks import timed
from augmix.data.decode import ResizedCrop
from augmix.data.sources import Source, load_at, open_source
from augmix.rng import Stream

_NUM_PASSES = 3


def measure(source: Source) -> tuple[np.ndarray, float, float]:
    """Return the crops of an epoch, images per second, and milliseconds of CPU per image."""
    ids = np.arange(len(source))
    crops, best_s, best_cpu_s = np.empty(0), np.inf, np.inf
    for _ in range(_NUM_PASSES):
        start_cpu_s = time.process_time()
        crops, elapsed_s = timed(lambda: load_at(source, ids, stream=Stream(seed=0)))
        best_cpu_s = min(best_cpu_s, time.process_time() - start_cpu_s)
        best_s = min(best_s, elapsed_s)
    return crops, len(ids) / best_s, 1000 * best_cpu_s / len(ids)


def main() -> None:
    """Print one line for each size, kind of decoding and number of threads."""
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
                crops[is_reduced], rate, cpu_ms = measure(source)
                kind = "reduced" if is_reduced else "whole"
                print(
                    f"{size:4d} px, {kind:7s} {threads} threads: {rate:6.0f} images/s, "
                    f"{cpu_ms:.2f} ms of CPU per image",
                    flush=True,
                )
        differences = np.abs(crops[False].astype(int) - crops[True])
        changed = differences.reshape(len(differences), -1).any(axis=1)
        mean = differences[changed].mean() if changed.any() else 0.0
        print(
            f"{size:4d} px: {100 * changed.mean():.0f} % of the images reduced, "
            f"mean difference {mean:.2f}"
        )


if __name__ == "__main__":
    main()
