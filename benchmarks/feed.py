"""How fast corrupted images are made for an evaluation, and how long models wait for them.

python benchmarks/feed.py rate     images/s of the paper's 15 corruptions mixed, by threads
python benchmarks/feed.py blocked  how long threads wait for each other and not for a core (Linux)
python benchmarks/feed.py scaling  two threads against one for every corruption (an idle machine)
python benchmarks/feed.py lock     how long each corruption keeps other Python threads waiting
python benchmarks/feed.py waiting  fraction of an evaluation that a network waits for its images

Threads work as those of `augmix evaluate`: each makes whole batches, ahead of the model. Numbers of
threads take turns on the same images, and medians of the turns are printed. `rate` also prints
the rate by the thread's own clock, which other work on the machine does not slow down.
"""

import argparse
import io
import statistics
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter, perf_counter_ns, thread_time
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from augmix.benchmarks import smooth_images, turns
from augmix.corruptions import registry
from augmix.corruptions.corrupt import corrupt
from augmix.data.batches import run_ahead

NAMES = registry.CORRUPTIONS.resolve(("paper-15",))


def batch_size(size: int) -> int:
    """Images of a batch: 256 of 32 pixels, 16 of 224."""
    return max(16, 2**18 // size**2)


def make_batches(images: np.ndarray, names: Sequence[str], severity: int) -> None:
    """Corrupt a batch by every corruption."""
    for name in names:
        corrupt(images, name, severity=severity)


def rates(size: int, threads: Sequence[int], seconds: float) -> dict[int, float]:
    """Images/s by number of threads, of the 15 corruptions at severity 3 in turn."""
    images = smooth_images(batch_size(size), size)
    make = partial(_corrupt_one, images)
    found: dict[int, list[float]] = {count: [] for count in threads}
    make_batches(images, NAMES, 3)  # compiles
    for _ in turns(seconds * len(threads)):
        for count in threads:
            start = perf_counter()
            with closing(run_ahead(make, range(2 * len(NAMES)), num_threads=count)) as made:
                for _ in made:
                    pass
            found[count].append(2 * len(NAMES) * len(images) / (perf_counter() - start))
    return {count: statistics.median(each) for count, each in found.items()}


def _corrupt_one(images: np.ndarray, index: int) -> np.ndarray:
    return corrupt(images, NAMES[index % len(NAMES)], severity=3)


def scaling(works: Sequence[Callable[[], Any]], seconds: float) -> list[float]:
    """What two threads do in a time, as a multiple of what one does; the works take turns."""
    repeats = []
    for work in works:
        work()
        start = perf_counter()
        work()
        repeats.append(max(1, round(0.1 / (perf_counter() - start))))
    factors: list[list[float]] = [[] for _ in works]
    for _ in turns(seconds):
        for work, count, found in zip(works, repeats, factors, strict=True):
            alone = _time(work, count, 1)
            found.append(2 * alone / _time(work, count, 2))
    return [statistics.median(found) for found in factors]


def blocked(size: int, count: int) -> tuple[float, float]:
    """Microseconds of an image that each of so many threads computes, and waits for another one.

    The rest of the time, in which a thread waits for a core, is told by Linux and left out, so that
    other work on the machine hardly matters.
    """
    images = smooth_images(batch_size(size) // 4, size)
    found: list[tuple[float, float]] = []

    def run(first: int) -> None:
        names = NAMES[first:] + NAMES[:first]
        place = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        computed, queued, _ = map(int, place.read_text().split())
        start = perf_counter_ns()
        for _ in range(4):
            make_batches(images, names, 3)
        passed = perf_counter_ns() - start
        computed, queued = (
            int(after) - before
            for after, before in zip(place.read_text().split(), (computed, queued), strict=False)
        )
        per_us = 1000 * 4 * len(NAMES) * len(images)
        found.append((computed / per_us, (passed - computed - queued) / per_us))

    threads = [threading.Thread(target=run, args=(7 * k % len(NAMES),)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    computes, waits = zip(*found, strict=True)
    return statistics.mean(computes), statistics.mean(waits)


def longest_wait(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of a call, and the longest time in it that another Python thread could not work."""
    times: list[float] = []

    def run() -> None:
        times.append(perf_counter())
        work()
        times.append(perf_counter())

    work()
    thread = threading.Thread(target=run)
    thread.start()
    awake = []
    while thread.is_alive():
        thread.join(timeout=1e-4)
        awake.append(perf_counter())
    start, stop = times
    points = [start, *(each for each in awake if start <= each <= stop), stop]
    return stop - start, max(after - before for before, after in pairwise(points))


def encode_into_memory(images: np.ndarray) -> None:
    """Encode as Pillow does where there is no file to write into."""
    PillowImage.fromarray(images[0]).save(io.BytesIO(), "JPEG", quality=10)


def cpu_ms(work: Callable[[], Any], seconds: float) -> float:
    """Milliseconds that a call takes of a core: the median of the turns."""
    work()
    times = []
    for _ in turns(seconds, at_least=20):
        start = thread_time()
        work()
        times.append(1000 * (thread_time() - start))
    return statistics.median(times)


def _time(work: Callable[[], Any], repeats: int, count: int) -> float:
    """Seconds that so many threads take, each for so many calls."""

    def run() -> None:
        for _ in range(repeats):
            work()

    threads = [threading.Thread(target=run) for _ in range(count)]
    start = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return perf_counter() - start


def waiting(
    name: str, size: int, threads: int, num_images: int, device: str = "cpu"
) -> tuple[float, float]:
    """Fraction of the time that a network waits, and images/s, over the 15 corruptions."""
    from augmix.data.stores import ArraySource
    from augmix.evaluation.loop import evaluate
    from augmix.models.weights import build_model
    from augmix.progress import CellFinished

    images = smooth_images(num_images, size)
    labels = np.arange(num_images) % 10
    source = ArraySource(
        name="npz",
        split="test",
        class_names=tuple(map(str, range(10))),
        labels=labels,
        size=(size, size),
        channels=3,
        images=images,
    )
    model = build_model(name, num_classes=10).eval()
    cells: list[CellFinished] = []

    def count(event: object) -> None:
        if isinstance(event, CellFinished):
            cells.append(event)

    how = {
        "suite": ("c",),
        "device": device,
        "num_threads": threads,
        "batch_size": batch_size(size),
    }
    evaluate(model, source, severities=(3,), max_images=batch_size(size), on_progress=count, **how)
    cells.clear()
    start = perf_counter()
    results = evaluate(model, source, severities=(3,), on_progress=count, **how)
    seconds = perf_counter() - start
    times = [cell.seconds for cell in results.cells]
    waited = sum(t * cell.wait_fraction for t, cell in zip(times, cells, strict=True))
    return waited / sum(times), len(cells) * num_images / seconds


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("rate", "blocked", "scaling", "lock", "waiting"))
    parser.add_argument("--sizes", type=int, nargs="+", default=None)
    parser.add_argument("--threads", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--models", nargs="+", default=("small", "resnet18"))
    parser.add_argument("--device", default="cpu", help="of waiting: the model's, e.g. cuda")
    parser.add_argument("--images", type=int, default=0, help="of a set; by default two batches")
    given = parser.parse_args()
    for size in given.sizes or ((2000,) if given.what == "lock" else (32, 224)):
        if given.what == "rate":
            found = rates(size, given.threads, given.seconds)
            images = smooth_images(batch_size(size), size)
            total_ms = sum(
                cpu_ms(partial(corrupt, images, name, severity=3), given.seconds / len(NAMES))
                for name in NAMES
            )
            core = 1000 * len(NAMES) * len(images) / total_ms
            rate = ", ".join(f"{count} threads {each:,.0f}/s" for count, each in found.items())
            print(f"{size} px: {rate}; {core:,.0f}/s of a core", flush=True)
        elif given.what == "blocked":
            make_batches(smooth_images(batch_size(size) // 4, size), NAMES, 3)  # compiles
            for _ in turns(given.seconds):
                alone = sum(blocked(size, 1))
                for count in given.threads:
                    computes, waits = blocked(size, count)
                    print(
                        f"{size} px, {count} threads: computes {computes:.1f} us, waits {waits:.1f}"
                        f" us, {count * alone / (computes + waits):.2f} times one thread",
                        flush=True,
                    )
        elif given.what == "scaling":
            images = smooth_images(batch_size(size), size)
            for name in NAMES:
                (factor,) = scaling([partial(corrupt, images, name, severity=3)], given.seconds)
                print(f"{size} px {name}: {factor:.2f}", flush=True)
        elif given.what == "lock":
            images = smooth_images(1, size)
            works = {name: partial(corrupt, images, name, severity=3) for name in NAMES}
            works["JPEG encoding into memory"] = partial(encode_into_memory, images)
            for name, work in works.items():
                seconds, wait_s = longest_wait(work)
                print(
                    f"{size} px {name}: {1000 * seconds:,.0f} ms, another thread waits at most "
                    f"{1000 * wait_s:,.0f} ms",
                    flush=True,
                )
        else:
            for model in given.models:
                for threads in given.threads:
                    count = given.images or 2 * batch_size(size)
                    part, rate = waiting(model, size, threads, count, given.device)
                    print(
                        f"{size} px {model}, {threads} threads: waits {part:.1%}, {rate:,.0f}/s",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
