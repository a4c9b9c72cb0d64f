"""What a training step takes in time and memory, and how that grows: the tables of `docs/cost.md`.

python benchmarks/cost.py [--device cpu] [--quick]

Every row is a process of its own, so that its peak memory is its own too: ten measured steps of
`augmix train --dry-run` on made-up images. The last table is the views alone, on one thread.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from augmix.augment import compiled
from augmix.augment.policies import AugMix
from augmix.benchmarks import smooth_images
from augmix.rng import Stream

BASE: Mapping[str, Any] = {
    "model": "wrn-16-2", "batch_size": 128, "precision": "bf16", "channels_last": True,
    "method": "augmix", "size": 32,
}  # fmt: skip
ROWS: Sequence[Mapping[str, Any]] = (
    {},
    {"batch_size": 64},
    {"batch_size": 256},
    {"accumulate": 2},
    {"accumulate": 4},
    {"method": "augmix-no-jsd"},
    {"method": "standard"},
    {"size": 64},
    {"precision": "fp32", "channels_last": False},
    {"ema_decay": 0.999},
    {"model": "small"},
    {"model": "wrn-40-2", "batch_size": 64},
)
_STREAM = Stream(seed=0)


def main() -> None:
    """Measure and print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="the first two rows, few images")
    parser.add_argument("--row", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(measure_row(json.loads(options.row))))
        return
    rows = ROWS[:2] if options.quick else ROWS
    print("| change | ms a step | images/s | peak memory MiB | checkpoint MiB |")
    print("| --- | --- | --- | --- | --- |")
    for changes in rows:
        settings = {**BASE, **changes, "device": options.device}
        if options.quick:
            settings |= {"model": "small", "batch_size": 8}
        found = _run_row(settings)
        name = ", ".join(f"{key} {value}" for key, value in changes.items()) or "the base"
        print(
            f"| {name} | {1000 * found['step_s']:,.0f} | {found['images_per_second']:,.0f} | "
            f"{found['peak_memory_mib']:,.0f} | {found['checkpoint_mib']:.1f} |",
            flush=True,
        )
    print("\n| side, severity | width | depth | microseconds a view |\n| --- | --- | --- | --- |")
    for side, severity, width, depth in list_views(quick=options.quick):
        time_us = measure_views(side, severity, width, depth)
        shown = "1-3" if depth is None else depth
        print(f"| {side}, {severity} | {width} | {shown} | {time_us:,.0f} |", flush=True)


def measure_row(settings: dict[str, Any]) -> dict[str, Any]:
    """The forecast of a run on made-up images."""
    from augmix.devices import keep_freed_memory
    from augmix.training.config import TrainConfig
    from augmix.training.forecast import forecast
    from augmix.training.run import prepared

    keep_freed_memory()
    side, count = settings.pop("size"), 2 * settings["batch_size"]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.npz"
        np.savez(data, images=smooth_images(count, side), labels=np.arange(count) % 10)
        config = TrainConfig(source="npz", data=str(data), out=Path(folder) / "run", **settings)
        with prepared(config) as run:
            found = forecast(
                run.model, run.method, run.source, recipe=config, device=run.device
            )  # fmt: skip
    return asdict(found)


def list_views(*, quick: bool) -> list[tuple[int, int, int, int | None]]:
    """Side, severity, width and depth of the rows of views."""
    rows: list[tuple[int, int, int, int | None]]
    rows = [(32, 3, width, None) for width in (1, 2, 3, 5, 8)] + [(32, 3, 3, d) for d in (1, 3)]
    rows += [(64, 3, 3, None), (224, 1, 3, None), (224, 3, 3, None)]
    return rows[:2] if quick else rows


def measure_views(side: int, severity: int, width: int, depth: int | None) -> float:
    """Microseconds of planning and rendering a view on one thread, the fastest of some turns."""
    count = max(2**17 // side**2, 8)
    images = smooth_images(count, side)
    policy = AugMix(severity=severity, width=width, depth=depth, crop_padding=4, flip=True)

    def work(epoch: int) -> None:
        plan = policy.sample(
            np.arange(count), num_views=2, size=(side, side), stream=_STREAM.at(epoch=epoch)
        )
        compiled.render(images, plan, num_threads=1)

    work(0)
    return 1e6 * min(_time(work, epoch) for epoch in range(1, 16)) / (2 * count)


def _run_row(settings: dict[str, Any]) -> dict[str, Any]:
    words = [sys.executable, __file__, "--row", json.dumps(settings)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def _time(work: Callable[[int], None], epoch: int) -> float:
    start = time.perf_counter()
    work(epoch)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
