"""Views per second of the executors on this machine, beside the check that they are equal.

python benchmarks/executors.py [--seconds 4] [--sizes 32 224] [--threads 1 2] [--device auto]
"""

import argparse

from augmix import benchmarks


def main() -> None:
    """Measure, and print one line a row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=4.0, help="time for each size and severity"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224], help="sides in pixels")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", help="where the batched executor works; none: left out")
    options = parser.parse_args()
    rows = benchmarks.measure_executors(
        options.sizes, options.threads, options.seconds, device=options.device
    )
    print("  ".join(rows[0]))
    for row in rows:
        cells = zip(row, row.values(), strict=True)
        print("  ".join(f"{_text(value):>{len(name)}}" for name, value in cells))
    print("\n".join(benchmarks.advise(rows)))
    for name, value in benchmarks.measure_startup().items():
        print(f"{name:>14} {value:.2f}")


def _text(value: int | float | str | bool) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
