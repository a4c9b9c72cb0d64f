"""Time of every corruption on this machine: milliseconds an image, one thread.

    python benchmarks/corruptions.py [--severity 3] [--preset imagenet] [NAME ...]

Each number is the fastest of several runs over a batch of smooth random images; the first call, in
which kernels are compiled or loaded, is left out.
"""

import argparse
import time

import numpy as np
from PIL import Image

from augmix.corrupt import suite

BATCHES = {32: 64, 64: 16, 224: 4}  # side in pixels -> images
REPEATS = 7


def smooth_images(side: int, count: int) -> np.ndarray:
    """Random colours of large scale with some grain."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    images = np.stack([np.asarray(Image.fromarray(one).resize((side, side))) for one in coarse])
    grain = rng.integers(-8, 9, images.shape)
    return np.clip(images + grain, 0, 255).astype(np.uint8)


def milliseconds(name: str, side: int, severity: int, preset: str) -> float:
    """The fastest of several runs, divided by the number of images."""
    images = smooth_images(side, BATCHES[side])
    suite.corrupt(images, name, severity=severity, preset=preset)
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        suite.corrupt(images, name, severity=severity, preset=preset)
        best = min(best, time.perf_counter() - start)
    return best / len(images) * 1000


def main() -> None:
    """Measure what the command line names, everything by default, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=list(suite.available()))
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--preset", default="auto")
    options = parser.parse_args()
    sums = dict.fromkeys(BATCHES, 0.0)
    print(f"{'ms per image':20s}" + "".join(f"{side:>10d}" for side in BATCHES))
    for name in options.names:
        times = {
            side: milliseconds(name, side, options.severity, options.preset) for side in BATCHES
        }
        print(f"{name:20s}" + "".join(f"{value:10.3f}" for value in times.values()), flush=True)
        if name in suite.PAPER_15:
            sums = {side: sums[side] + times[side] for side in BATCHES}
    print(f"{'sum of paper-15':20s}" + "".join(f"{value:10.3f}" for value in sums.values()))


if __name__ == "__main__":
    main()
