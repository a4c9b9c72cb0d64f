"""Views per second of every executor on this machine, and which to use.

A number stands beside the check that the executor agrees with the definition. The records are
plain; the command line and ``benchmarks/executors.py`` print them.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from augmix.augment import compiled, pillow
from augmix.augment.plan import Plan
from augmix.augment.policies import AugMix
from augmix.bench import check_counts, smooth_images, timed
from augmix.streams import Stream

SEVERITIES = {32: (3,), 224: (1, 3)}  # side in pixels -> the paper's severities at this size
_NUM_VIEWS = 2
_PIXELS = 2**18  # of the images of one batch, which has 24..256 images
_LEAST_ROUNDS = 5
_LONGEST_STRETCH_S = 0.5  # of a fast executor in a turn: a second core takes a while to wake up


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contender:
    """An executor on one batch of images.

    Attributes:
        executor, device, threads: What it is.
        render: Makes the views of a plan, done when it returns.
        fetch: Its views as an array.
    """

    executor: str
    device: str
    threads: int
    render: Callable[[Plan], Any]
    fetch: Callable[[Any], np.ndarray] = np.asarray


def measure_executors(
    sizes: Sequence[int] = (32, 224),
    num_threads: Sequence[int] = (1, 2),
    seconds: float = 2.0,
    *,
    device: str | None = None,
) -> list[dict[str, int | float | str | bool]]:
    """Views per second of every executor, planning included.

    The executors take turns on the same fresh plans, so that a busy neighbour hits all of them; a
    number is a median over the turns.

    Args:
        sizes: Sides of the square images in pixels.
        num_threads: Threads of the compiled executor, one row each; the first is also what the
            others are compared with.
        seconds: Time for each size and severity, for all its rows together.
        device: Where the batched executor works, ``auto`` for a GPU if there is one; it has no row
            if None. Its images live there and its views stay there.

    Returns:
        One record a row: ``size`` in pixels, ``severity``, ``executor``, ``device``,
        ``threads`` of the CPU (0 on another device), ``views_per_second``, ``times_pillow`` (the
        median ratio of the turns), ``times_first`` (rendering alone, against the first number of
        threads; 1 for pillow), ``planning_share`` of the row's time, and ``equal``: whether every
        bit was pillow's in every turn.

    Raises:
        ValueError: If a size or a number of threads is below 1, or the name is no device's.
        RunError: If this machine has no such device.
    """
    check_counts(sizes, num_threads)
    return [
        row
        for size in sizes
        for severity in SEVERITIES.get(size, (3,))
        for row in _measure_case(size, severity, num_threads, seconds, device)
    ]


def advise(rows: Sequence[dict[str, int | float | str | bool]]) -> list[str]:
    """Which executor to use, from the records of `measure_executors`: one line a size.

    The fastest of those that were equal in every turn, at the paper's severity of that size.
    """
    lines = []
    for size in dict.fromkeys(row["size"] for row in rows):
        severity = max(row["severity"] for row in rows if row["size"] == size)
        fit = [row for row in rows if (row["size"], row["severity"]) == (size, severity)]
        best = max((row for row in fit if row["equal"]), key=lambda row: row["views_per_second"])
        where = f"on {best['device']}"
        if best["device"] == "cpu":
            where = f"with {best['threads']} thread{'s' if int(best['threads']) > 1 else ''}"
        lines.append(
            f"{size} px: executor {best['executor']!r} {where} makes most, "
            f"{best['views_per_second']:,.0f} views a second"
        )
    return lines


def _measure_case(
    size: int, severity: int, num_threads: Sequence[int], seconds: float, device: str | None
) -> list[dict[str, int | float | str | bool]]:
    """The rows of one size and severity."""
    count = min(max(_PIXELS // size**2, 24), 256)
    images, policy = smooth_images(count, size), AugMix(severity=severity)

    def plan(epoch: int) -> Plan:
        stream = Stream(seed=0).at(epoch=epoch)
        return policy.sample(
            np.arange(count), num_views=_NUM_VIEWS, size=(size, size), stream=stream
        )

    contenders = [
        _Contender(
            executor="pillow",
            device="cpu",
            threads=1,
            render=lambda drawn: pillow.render(images, drawn),
        ),
        *(_compiled(images, threads) for threads in num_threads),
        *([] if device is None else [_batched(images, device)]),
    ]
    times: list[list[float]] = [[] for _ in contenders]
    rendering: list[list[float]] = [[] for _ in contenders]
    planning: list[float] = []
    is_equal = [True] * len(contenders)
    for contender in contenders[1:]:  # compiles, or loads what was compiled
        contender.render(plan(0))
    turn, deadline = 0, time.perf_counter() + seconds
    while turn < _LEAST_ROUNDS or time.perf_counter() < deadline:
        drawn, planning_s = timed(lambda epoch=turn: plan(epoch))
        planning.append(planning_s)
        truth = np.empty(0)
        for index, contender in enumerate(contenders):
            stretch_s = min(_LONGEST_STRETCH_S, seconds / 8) if index else 0.0
            made, render_s = _again(contender.render, drawn, stretch_s)
            views = contender.fetch(made)
            rendering[index].append(render_s)
            times[index].append(planning_s + render_s)
            truth = views if index == 0 else truth
            is_equal[index] &= np.array_equal(views, truth)
        turn += 1
    return [
        {
            "size": size,
            "severity": severity,
            "executor": contender.executor,
            "device": contender.device,
            "threads": contender.threads,
            "views_per_second": count * _NUM_VIEWS / statistics.median(own),
            "times_pillow": _median_ratio(times[0], own),
            "times_first": _median_ratio(rendering[1], rendering[index]) if index else 1.0,
            "planning_share": _median_ratio(planning, own),
            "equal": is_equal[index],
        }
        for index, (contender, own) in enumerate(zip(contenders, times, strict=True))
    ]


def _compiled(images: UInt8[np.ndarray, "batch height width channel"], threads: int) -> _Contender:
    return _Contender(
        executor="compiled",
        device="cpu",
        threads=threads,
        render=lambda drawn: compiled.render(images, drawn, num_threads=threads),
    )


def _batched(images: UInt8[np.ndarray, "batch height width channel"], device: str) -> _Contender:
    import torch

    from augmix.augment import batched

    place = batched.find_device(device)
    there = torch.from_numpy(images).to(place)

    def render(drawn: Plan) -> Any:
        views = batched.render(there, drawn)
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        return views

    return _Contender(
        executor="batched",
        device=str(place),
        threads=torch.get_num_threads() if place.type == "cpu" else 0,
        render=render,
        fetch=lambda views: views.cpu().numpy(),
    )


def _again(render: Callable[[Plan], Any], drawn: Plan, stretch_s: float) -> tuple[Any, float]:
    """The views and the seconds of one rendering, a mean over at least a stretch of time."""
    count, start = 0, time.perf_counter()
    while True:
        views = render(drawn)
        count += 1
        elapsed_s = time.perf_counter() - start
        if elapsed_s >= stretch_s:
            return views, elapsed_s / count


def _median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(over, under, strict=True))
