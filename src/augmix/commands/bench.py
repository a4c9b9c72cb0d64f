"""`augmix bench`: speed on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import tyro

from augmix.commands.terminal import make_console, parse, print_table


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchConfig:
    """What to measure."""

    what: tyro.conf.Positional[Literal["executors", "corruptions", "startup", "train", "all"]] = (
        "all"
    )
    """Executors: views per second, equality, fraction of planning, and which to use. Corruptions:
    milliseconds per image at severity 3, beside those of imagecorruptions-imaug if it is
    installed. Startup: imports and first uses. Train: images per second in float32 and bfloat16,
    and the fraction of a step spent waiting for views."""
    sizes: tuple[int, ...] = (32, 64, 224)
    """Sizes of the square images in pixels."""
    num_threads: tuple[int, ...] = (1, 2)
    """Threads of the compiled executor and of the corruptions."""
    seconds: float = 2.0
    """Time for each measurement."""
    models: tuple[str, ...] = ("small", "wrn-16-2")
    """Networks to train."""
    batch_size: int = 128
    """Images of a training step."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device of training and of the batched executor."""


def run(words: Sequence[str]) -> None:
    """Run the command with these words of the command line."""
    config = parse(BenchConfig, "bench", words)
    from augmix import benchmarks

    console = make_console()
    if config.what in ("executors", "all"):
        rows = benchmarks.measure_executors(
            sizes=config.sizes,
            num_threads=config.num_threads,
            seconds=config.seconds,
            device=config.device,
        )
        print_table(console, rows)
        for line in benchmarks.recommend_executors(rows):
            console.print(line, highlight=False)
    if config.what in ("corruptions", "all"):
        peer = benchmarks.find_peer()
        rows = benchmarks.measure_corruptions(
            sizes=config.sizes, num_threads=config.num_threads, seconds=config.seconds, peer=peer
        )
        print_table(console, benchmarks.tabulate_corruptions(rows))
        if peer is None:
            console.print(f"install {benchmarks.PEERS[0]} to compare with its times")
    if config.what in ("startup", "all"):
        print_table(console, [benchmarks.measure_startup()])
    if config.what in ("train", "all"):
        rows = benchmarks.measure_training(
            config.models,
            batch_size=config.batch_size,
            seconds=10 * config.seconds,
            device=config.device,
        )
        print_table(console, rows)
