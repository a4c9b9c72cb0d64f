"""Measure time and memory of training steps, and how they grow: the tables of `docs/cost.md`.

python benchmarks/cost.py [--device cpu] [--quick]

Each row runs in its own process, so that its peak memory is its own: ten steps of
`augmix train --dry-run` on random images. The last table is views alone, on one thread.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from augmix.augment import compiled
from augmix.augment.policies import AugMix
from augmix.benchmarks import draw_plan, run_python, smooth_images, timed, write_smooth_images

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
_NUM_TURNS = 15


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
        found = json.loads(run_python(__file__, "--row", json.dumps(settings)))
        name = ", ".join(f"{key} {value}" for key, value in changes.items()) or "the base"
        print(
            f"| {name} | {1000 * found['step_s']:,.0f} | {found['images_per_second']:,.0f} | "
            f"{found['peak_memory_mib']:,.0f} | {found['checkpoint_mib']:.1f} |",
            flush=True,
        )
    print("\n| size, severity | width | depth | microseconds a view |\n| --- | --- | --- | --- |")
    for size, severity, width, depth in list_views(quick=options.quick):
        time_us = measure_views(size, severity, width, depth)
        shown = "1-3" if depth is None else depth
        print(f"| {size}, {severity} | {width} | {shown} | {time_us:,.0f} |", flush=True)


def measure_row(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the forecast of a run on random images."""
    from augmix.devices import keep_freed_memory
    from augmix.training.forecast import forecast
    from augmix.training.run import prepared
    from augmix.training.settings import build_config

    keep_freed_memory()
    size = settings.pop("size")
    with tempfile.TemporaryDirectory() as folder:
        data = write_smooth_images(Path(folder) / "images.npz", 2 * settings["batch_size"], size)
        config = build_config(data=data, out=Path(folder) / "run", **settings)
        with prepared(config) as run:
            found = forecast(config, run)
    return asdict(found)


def list_views(*, quick: bool) -> list[tuple[int, int, int, int | None]]:
    """Return size, severity, width and depth of the rows of views."""
    rows: list[tuple[int, int, int, int | None]]
    rows = [(32, 3, width, None) for width in (1, 2, 3, 5, 8)] + [(32, 3, 3, d) for d in (1, 3)]
    rows += [(64, 3, 3, None), (224, 1, 3, None), (224, 3, 3, None)]
    return rows[:2] if quick else rows


def measure_views(size: int, severity: int, width: int, depth: int | None) -> float:
    """Return microseconds per view of planning and rendering on one thread, the fastest turn."""
    count = max(2**17 // size**2, 8)
    images = smooth_images(count, size)
    policy = AugMix(severity=severity, width=width, depth=depth, crop_padding=4, flip=True)

    def work(epoch: int) -> None:
        compiled.render(images, draw_plan(policy, count, size, epoch), num_threads=1)

    work(0)
    best_s = min(timed(lambda epoch=turn: work(epoch))[1] for turn in range(1, _NUM_TURNS + 1))
    return 1e6 * best_s / (2 * count)


if __name__ == "__main__":
    main()
