"""Measure views per second of the executors on this machine, and check that they are equal.

python benchmarks/executors.py [--seconds 4] [--sizes 32 224] [--threads 1 2] [--device auto]
"""

import argparse

from augmix import benchmarks


def main() -> None:
    """Measure, and print one line per executor and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each size and severity")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 224], help="in pixels")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--device", help="of the batched executor; left out by default")
    options = parser.parse_args()
    records = benchmarks.measure_executors(
        options.sizes, options.threads, options.seconds, device=options.device
    )
    print("  ".join(records[0]))
    for record in records:
        print("  ".join(f"{_format(value):>{len(name)}}" for name, value in record.items()))
    print("\n".join(benchmarks.recommend_executors(records)))
    for name, seconds in benchmarks.measure_startup().items():
        print(f"{name:>14} {seconds:.2f}")


def _format(value: int | float | str | bool) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
