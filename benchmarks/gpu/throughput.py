"""Images per second of the batched executor, from the kernels alone to planning included."""

import itertools
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from augmix import benchmarks
from augmix.augment import batched
from augmix.augment.batched import tensors
from augmix.augment.batched.packing import Packed, pack
from augmix.augment.policies import AugMix
from augmix.data.batches import prefetch
from augmix.rng import Stream

Row = dict[str, str | int | float]
NUM_VIEWS = 2
_PLANS = 4  # taken in turns, so that no result is the last one's
_PLANNERS = 4  # threads that draw plans ahead


def measure_throughput(
    device: torch.device,
    backends: Sequence[str],
    *,
    side: int,
    batch: int,
    severity: int,
    seconds: float,
) -> list[Row]:
    """Rows of one image size: AugMix with the paper's operations, two views an image.

    Args:
        device: Where views are made.
        backends: Of `batched.execute`.
        side: Of the images, in pixels.
        batch: Images of a batch.
        severity: Of the chains.
        seconds: Time for each row.

    Returns:
        ``work``: what is timed; ``images_per_second``, each with two views; ``milliseconds`` of a
        batch, the median.
    """
    images = torch.from_numpy(benchmarks.smooth_images(min(batch, 64), side)).to(device)
    images = images.repeat(-(-batch // len(images)), 1, 1, 1)[:batch]
    policy = AugMix(severity=severity, crop_padding=4, flip=True)

    def draw(epoch: int) -> Packed:
        stream = Stream(seed=0).at(epoch=epoch)
        plan = policy.sample(
            np.arange(batch), num_views=NUM_VIEWS, size=(side, side), stream=stream
        )
        return pack(plan, 3, real=tensors.real_of(device))

    packed = [draw(epoch) for epoch in range(_PLANS)]
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
    rows = [_row(side, batch, name, _time(work, device, seconds)) for name, work in works.items()]
    ahead = prefetch(draw, itertools.count(), num_threads=_PLANNERS, num_ahead=2 * _PLANNERS)
    try:
        planned = _time(
            lambda: batched.execute(images, *batched.upload(next(ahead), device)), device, seconds
        )
    finally:
        ahead.close()
    name = f"plan on {_PLANNERS} threads, send and render"
    return [*rows, _row(side, batch, name, planned)]


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _renderer(images, sent, backend: str, dtype: torch.dtype) -> Callable[[], object]:
    return lambda: batched.execute(images, *next(sent), dtype=dtype, backend=backend)


def _graph(images: torch.Tensor, packed: Packed, device: torch.device) -> Callable[[], object]:
    """Rendering as one CUDA graph, whose plan is read from a buffer of its own."""
    words = torch.from_numpy(packed.words).to(device)
    arrays = batched.open_words(words, packed.layout)
    side = torch.cuda.Stream(device)
    with torch.cuda.stream(side):  # what is compiled or allocated at first is so outside the graph
        batched.execute(images, arrays, packed.layout)
    synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        views = batched.execute(images, arrays, packed.layout)

    def replay() -> tuple[torch.Tensor, ...]:
        graph.replay()
        return views, words, images  # what the graph reads and writes must stay

    return replay


def _time(work: Callable[[], object], device: torch.device, seconds: float) -> list[float]:
    """Seconds of one batch, over stretches long enough for the clock."""
    work()
    synchronize(device)
    start = time.perf_counter()
    work()
    synchronize(device)
    repeats = max(1, min(50, int(0.05 / max(time.perf_counter() - start, 1e-6))))
    found, deadline = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < deadline:
        start = time.perf_counter()
        for _ in range(repeats):
            work()
        synchronize(device)
        found.append((time.perf_counter() - start) / repeats)
    return found


def _row(side: int, batch: int, name: str, times: list[float]) -> Row:
    median = statistics.median(times)
    return {
        "side": side,
        "batch": batch,
        "work": name,
        "milliseconds": 1000 * median,
        "images_per_second": batch / median,
    }
