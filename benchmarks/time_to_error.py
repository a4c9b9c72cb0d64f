"""Measure the error on corrupted images after several lengths of training, for several networks.

python benchmarks/time_to_error.py --data DIR [--seconds 240 480 960 | --epochs 1 4] [--device cpu]
    [--runs small:cifar wrn-16-2:cifar fast:fast] [--num-processes 1] [--seed 0] [--out DIR]
python benchmarks/time_to_error.py --toy       # seconds on a CPU

Every point of a curve is a whole training with a schedule of its own, by a network and a recipe of
`augmix train`. The first has one epoch, which tells how many fit into the given seconds. On a CPU
these are seconds of CPU time with one torch thread, on a GPU seconds of wall time. Evaluation
is not counted: clean test images and the 15 corruptions at five severities. A training that was
stopped starts again, because its time is not known; finished ones are read. The table is for
`docs/results.md`; the same numbers are in OUT/time_to_error.json.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from augmix import files, results
from augmix.corruptions.registry import SEVERITIES
from augmix.data.stores import default_threads
from augmix.devices import choose_precision, keep_freed_memory, resolve_device
from augmix.errors import RunError
from augmix.evaluation.config import EvaluateConfig, Measurement
from augmix.evaluation.models import run_measurement
from augmix.models.weights import build_model
from augmix.training.config import TrainConfig
from augmix.training.recipes import find_recipe
from augmix.training.run import train
from augmix.training.settings import build_config, update_config

RUNS = ("small:cifar", "wrn-16-2:cifar", "fast:fast")
# Of every run, so that only the network and its recipe differ.
COMMON: dict[str, Any] = {
    "batch_size": 128, "precision": "auto", "channels_last": True, "logger": ("none",),
}  # fmt: skip
CIFAR: dict[str, Any] = {"crop_padding": 4, "flip": True}
TOY: dict[str, Any] = {"max_train_images": 8, "batch_size": 4, "executor": "compiled"}


@dataclass(frozen=True, slots=True)
class Curve:
    """What all points have in common; `run` names a network and a recipe."""

    run: str
    data: str
    out: Path
    seconds: tuple[float, ...]
    epochs: tuple[int, ...]  # in place of those that fit into the seconds
    seed: int
    device: str
    max_images: int | None
    num_threads: int
    is_toy: bool

    def config(self, epochs: int) -> TrainConfig:
        """Return the training of a number of epochs."""
        model, _, recipe = self.run.partition(":")
        flat = {**find_recipe(recipe), **COMMON, **({} if self.data == "digits" else CIFAR)}
        flat |= {"model": model, "epochs": epochs, "seed": self.seed, "device": self.device}
        flat |= {"torch_threads": 1} if resolve_device(self.device).type == "cpu" else {}
        out = self.out / "runs" / f"{model}-{recipe}-{epochs}-seed{self.seed}"
        return build_config({**flat, **(TOY if self.is_toy else {})}, data=self.data, out=out)


def main() -> None:
    """Train and measure all points, print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="folder of CIFAR-10")
    parser.add_argument("--out", type=Path, default=Path("runs/time-to-error"))
    parser.add_argument("--runs", nargs="+", default=list(RUNS), help="NETWORK:RECIPE")
    parser.add_argument("--seconds", nargs="+", type=float, default=[240.0, 480.0, 960.0])
    parser.add_argument("--epochs", nargs="+", type=int, default=[], help="in place of --seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--max-images", type=int, help="images of each measured set")
    parser.add_argument("--num-processes", type=int, default=1, help="curves at the same time")
    parser.add_argument("--toy", action="store_true", help="a few digits, whatever the rest says")
    options = parser.parse_args()
    keep_freed_memory()
    if not (options.data or options.toy):
        sys.exit("augmix: name the images: --data DIR, or --toy")
    data, device = ("digits", "cpu") if options.toy else (options.data, options.device)
    max_images = 8 if options.toy else options.max_images
    epochs = (1, 2) if options.toy else tuple(options.epochs)
    threads = max(1, default_threads() // options.num_processes)
    curves = [
        Curve(run, data, options.out, tuple(options.seconds), epochs, options.seed, device,
              max_images, threads, options.toy)
        for run in options.runs
    ]  # fmt: skip
    try:
        for curve in curves:  # before hours are spent
            if curve.run.count(":") != 1:
                raise ValueError(f"runs must be NETWORK:RECIPE, got {curve.run!r}")
            for number in curve.epochs or (1,):
                build_model(curve.config(number).network_name, num_classes=10)
        points = [point for found in measure_all(curves, options.num_processes) for point in found]
    except (ValueError, RunError) as error:
        sys.exit(f"augmix: {error}")
    except KeyboardInterrupt:
        sys.exit("augmix: stopped; the same command keeps the trainings that are finished")
    files.write_json(options.out / "time_to_error.json", {"points": points})
    kind = "CPU" if resolve_device(device).type == "cpu" else "wall"
    print(
        f"| network | recipe | epochs | training, {kind} seconds | clean error % "
        "| corruption error % |\n| --- | --- | --- | --- | --- | --- |"
    )
    for point in points:
        network, recipe = point["run"].split(":")
        print(
            f"| `{network}` | `{recipe}` | {point['epochs']} | {point['seconds']:,.0f} "
            f"| {100 * point['clean']:.1f} | {100 * point['corrupted']:.1f} |"
        )


def measure_all(curves: list[Curve], num_processes: int) -> Iterator[list[dict[str, Any]]]:
    """Measure the curves, as many at a time as there are processes, and yield them in order."""
    if num_processes == 1:
        yield from map(measure_curve, curves)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(num_processes, context, initializer=keep_freed_memory) as pool:
        yield from pool.map(measure_curve, curves)


def measure_curve(curve: Curve) -> list[dict[str, Any]]:
    """Train the given epochs, or one and then as many as fit into the seconds, and measure each."""
    few = 8 if curve.is_toy else 256
    with TemporaryDirectory() as folder:  # compiles what is compiled at the first step
        train(update_config(curve.config(1), out=Path(folder), max_train_images=few))
    if curve.epochs:
        return [measure_point(curve, epochs) for epochs in curve.epochs]
    points = [measure_point(curve, 1)]
    limits = [limit / points[0]["seconds"] for limit in curve.seconds]
    for epochs in sorted({int(limit) for limit in limits} - {0, 1}):
        points.append(measure_point(curve, epochs))
    return points


def measure_point(curve: Curve, epochs: int) -> dict[str, Any]:
    """Train for some epochs, unless that is done, and measure the model on the test images."""
    config = curve.config(epochs)
    folder = Path(config.run.out)
    device = resolve_device(config.run.device)
    path = folder / f"time-{device.type}.json"  # of one clock
    if path.exists():
        train(config)  # is done; refuses other settings
    else:
        if folder.exists():
            shutil.rmtree(folder)
        clock = time.process_time if device.type == "cpu" else time.perf_counter
        start = clock()
        train(config)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        files.write_json(path, {"seconds": clock() - start})
    precision, _ = choose_precision(device)
    how = EvaluateConfig(
        suite=("clean", "c"),
        names=("fog", "contrast") if curve.is_toy else ("paper-15",),
        severities=(3,) if curve.is_toy else SEVERITIES,
        max_images=curve.max_images,
        num_threads=curve.num_threads,
        precision="bf16" if precision == "bf16" else "fp32",
        device=config.run.device,
        out=folder / "test",
    )
    run_measurement(Measurement(models=(str(folder),), how=how))
    cells = results.load_results(folder / "test" / results.RESULTS_FILE).cells
    clean = [cell.error for cell in cells if cell.suite == "clean"]
    corrupted = [cell.error for cell in cells if cell.suite == "c"]
    point = {
        "run": curve.run,
        "epochs": epochs,
        "seconds": files.load_json(path)["seconds"],
        "clean": clean[0],
        "corrupted": sum(corrupted) / len(corrupted),
    }
    print(f"{curve.run}: {point}", file=sys.stderr, flush=True)
    return point


if __name__ == "__main__":
    main()
