"""Measure images per second of the batched executor, from kernels alone to planning included."""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from augmix import benchmarks
from augmix.augment import batched
from augmix.augment.batched import tensors
from augmix.augment.batched.packing import Packed, pack
from augmix.augment.policies import AugMix
from augmix.data.batches import run_ahead

Row = dict[str, str | int | float]
_NUM_VIEWS = 2
_NUM_PLANS = 4  # rendered in turns, so that no call repeats the last one
PLANNING_THREADS = 4  # draw plans ahead


def measure_throughput(
    device: torch.device,
    backends: Sequence[str],
    *,
    size: int,
    batch: int,
    severity: int,
    seconds: float,
) -> list[Row]:
    """Measure one image size: AugMix with the paper's operations, two views per image.

    Args:
        device: Device of the views.
        backends: Backends of `batched.execute`.
        size: Size of the images in pixels.
        batch: Images of a batch.
        severity: Severity of the chains.
        seconds: Time for each row.

    Returns:
        One row per kind of work: ``work``: what is timed; ``images_per_second``, each with two
        views; ``milliseconds`` of a batch, the median.
    """
    images = torch.from_numpy(benchmarks.smooth_images(min(batch, 64), size)).to(device)
    images = images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch]
    policy = AugMix(severity=severity, crop_padding=4, flip=True)

    def draw_packed(epoch: int) -> Packed:
        plan = benchmarks.draw_plan(policy, batch, size, epoch, num_views=_NUM_VIEWS)
        return pack(plan, 3, real=tensors.real_of(device))

    packed = [draw_packed(epoch) for epoch in range(_NUM_PLANS)]
    sent = itertools.cycle([batched.upload(one, device) for one in packed])
    works: dict[str, Callable[[], object]] = {}
    for backend in backends:
        for dtype in (torch.float32, torch.bfloat16):
            name = f"render, {backend}, {str(dtype).removeprefix('torch.')}"
            works[name] = _renderer(images, sent, backend, dtype)
    waiting = itertools.cycle(packed)
    works["send and render"] = lambda: batched.execute(
        images, *batched.upload(next(waiting), device)
    )
    if device.type == "cuda":
        works["render, replayed graph"] = _graph(images, packed[0], device)
    rows = [_row(size, batch, name, _time(work, device, seconds)) for name, work in works.items()]
    ahead = run_ahead(draw_packed, itertools.count(), num_threads=PLANNING_THREADS)
    try:
        planned = _time(
            lambda: batched.execute(images, *batched.upload(next(ahead), device)), device, seconds
        )
    finally:
        ahead.close()
    name = f"plan on {PLANNING_THREADS} threads, send and render"
    return [*rows, _row(size, batch, name, planned)]


def synchronize(device: torch.device) -> None:
    """Wait for all work of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _renderer(images, sent, backend: str, dtype: torch.dtype) -> Callable[[], object]:
    return lambda: batched.execute(images, *next(sent), dtype=dtype, backend=backend)


def _graph(images: torch.Tensor, packed: Packed, device: torch.device) -> Callable[[], object]:
    """Render by replaying one CUDA graph that reads the plan from a fixed buffer."""
    words = torch.from_numpy(packed.words).to(device)
    arrays = batched.open_words(words, packed.layout)
    with torch.cuda.stream(torch.cuda.Stream(device)):  # compile and allocate outside the graph
        batched.execute(images, arrays, packed.layout)
    synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        views = batched.execute(images, arrays, packed.layout)

    def replay() -> tuple[torch.Tensor, ...]:
        graph.replay()
        return views, words, images  # keeps alive what the graph reads and writes

    return replay


def time_calls(work: Callable[[], object], count: int, device: torch.device) -> float:
    """Return the mean seconds of some calls, to the end of the device's work."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        work()
    synchronize(device)
    return (time.perf_counter() - start) / count


def _time(work: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Seconds of one batch, over stretches long enough for the clock."""
    time_calls(work, 1, device)
    repeats = max(1, min(50, int(0.05 / max(time_calls(work, 1, device), 1e-6))))
    return [time_calls(work, repeats, device) for _ in benchmarks.turns(seconds, at_least=1)]


def _row(size: int, batch: int, name: str, times: list[float]) -> Row:
    median = statistics.median(times)
    return {
        "size": size,
        "batch": batch,
        "work": name,
        "milliseconds": 1000 * median,
        "images_per_second": batch / median,
    }
