"""Measure milliseconds per image of every corruption on this machine.

    python benchmarks/corruptions.py [--severity 3] [--preset imagenet] [--threads 1 2] [NAME ...]

Each number is the fastest of several turns over a batch of smooth random images; the first call,
which compiles or loads kernels, is left out. If the package imagecorruptions-imaug is installed, it
is measured too. `augmix bench corruptions` prints the same table for severity 3.
"""

import argparse

from augmix.benchmarks import find_peer, measure_corruptions, tabulate_corruptions


def parse_size(text: str) -> int | tuple[int, int]:
    """Read the edge of a square, or width and height: 224, 640x480."""
    width, is_pair, height = text.partition("x")
    return (int(width), int(height)) if is_pair else int(text)


def main() -> None:
    """Measure the named corruptions, all by default, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=["paper-15", "extra-4"])
    parser.add_argument("--severity", type=int, default=3)
    parser.add_argument("--preset", default="auto")
    parser.add_argument(
        "--sizes", type=parse_size, nargs="+", default=[32, 64, 224], help="px, or e.g. 640x480"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each size and threads")
    options = parser.parse_args()
    records = measure_corruptions(
        options.sizes,
        options.threads,
        options.severity,
        options.seconds,
        names=options.names,
        preset=options.preset,
        peer=find_peer(),
    )
    table = tabulate_corruptions(records)
    width = max(20, *(len(heading) + 2 for heading in table[0]))
    print("".join(f"{heading:>{width}s}" for heading in table[0]))
    for row in table:
        name, *times_ms = row.values()
        print(f"{name:>{width}s}" + "".join(f"{time_ms:{width}.3f}" for time_ms in times_ms))


if __name__ == "__main__":
    main()
