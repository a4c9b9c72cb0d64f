"""Speed of executors, corruptions, training and start-up on this machine.

All functions return plain records, which the command line prints. Executors are measured by
`rates`, training by `pace`.

A number stands beside the check that the executor agrees with the definition. The records are
plain; the command line and ``benchmarks/executors.py`` print them.

The arithmetics of a network take turns of a few steps on the same batches, so that a busy neighbour
hits all of them; every step is a whole one of the engine, its views made ahead on a thread.
"""

import importlib
import importlib.metadata
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augmix.augment import compiled, pillow
from augmix.augment.plan import Plan
from augmix.augment.policies import AugMix
from augmix.corruptions import registry
from augmix.corruptions.corrupt import corrupt
from augmix.files import write_npz
from augmix.rng import Stream
from augmix.training.config import TrainConfig
from augmix.training.forecast import Pace, take_steps
from augmix.training.loop import open_order, open_views
from augmix.training.run import prepared
from augmix.training.step import open_learner

_LEAST_TURNS = 3  # of the corruptions
PAPER_SUM = "sum of paper-15"
PEERS = ("imagecorruptions-imaug", "imagecorruptions")  # by what pip calls them
_LEAST_PEER_SIDE = 32  # pixels

_IMPORT = (
    "import time; start = time.perf_counter(); import augmix; print(time.perf_counter() - start)"
)
_FIRST_RENDER = """
import time
import numpy as np
from augmix.augment.policies import AugMix
from augmix.rng import Stream
plan = AugMix().sample(np.arange(2), num_views=2, size=(32, 32), stream=Stream(seed=0))
start = time.perf_counter()
from augmix.augment import compiled
compiled.render(np.zeros((2, 32, 32, 3), np.uint8), plan)
print(time.perf_counter() - start)
"""


def measure_startup() -> dict[str, float]:
    """Seconds of importing the package and of a process's first compiled rendering.

    Returns:
        ``import_s``: ``import augmix``; ``help_s``: all of ``augmix --help``; ``first_warm_s`` and
        ``first_cold_s``: the first rendering, its imports included, with the kernel kept on disk
        and without.
    """
    with tempfile.TemporaryDirectory() as cache:
        cold = float(_run_python("-c", _FIRST_RENDER, cache=cache))
        warm = float(_run_python("-c", _FIRST_RENDER, cache=cache))
    imported = float(_run_python("-c", _IMPORT))
    start = time.perf_counter()
    _run_python("-m", "augmix", "--help")
    return {
        "import_s": imported,
        "help_s": time.perf_counter() - start,
        "first_warm_s": warm,
        "first_cold_s": cold,
    }


@dataclass(frozen=True, slots=True)
class Peer:
    """Another package of the same corruptions.

    Attributes:
        title: Its name and version.
        corrupt: Called as ``corrupt(image, severity=3, corruption_name="fog")``, one at a time.
    """

    title: str
    corrupt: Callable[..., np.ndarray]


def find_peer() -> Peer | None:
    """The package `imagecorruptions-imaug`, or the one it continues; None if neither is there."""
    for name in PEERS:
        try:
            version = importlib.metadata.version(name)
            return Peer(f"{name} {version}", importlib.import_module("imagecorruptions").corrupt)
        except ImportError:  # not installed, or of no use with what is
            continue
    return None


def measure_corruptions(
    sizes: Sequence[int] = (32, 64, 224),
    num_threads: Sequence[int] = (1, 2),
    severity: int = 3,
    seconds: float = 2.0,
    *,
    names: Sequence[str] = ("paper-15", "extra-4"),
    preset: str = "auto",
    peer: Peer | None = None,
) -> list[dict[str, int | float | str]]:
    """Milliseconds an image of every corruption.

    The corruptions take turns on one batch; a number is the fastest of the turns. First calls, in
    which kernels are compiled or loaded, are left out.

    Args:
        sizes: Sides of the square images in pixels, at least 16.
        num_threads: Threads of `augmix.corrupt`.
        severity: 1..5.
        seconds: Time for each size and number of threads, for all corruptions together; every
            corruption has at least 3 turns.
        names: Corruptions and lists of them, in the order of the rows.
        preset: Whose severities.
        peer: A package to measure beside, on one thread and images of 32 pixels or more, which are
            its smallest. It has ImageNet's severities only.

    Returns:
        For each size and number of threads, and for the peer, one record a corruption:
        ``corruption``, ``package``, ``size`` in pixels, ``threads``, ``ms_per_image``; and where
        all of the paper's 15 were measured, their sum as the row `PAPER_SUM`.

    Raises:
        ValueError: If a size or a number of threads is below 1, or the severity, the preset or a
            name is unknown.
    """
    check_counts(sizes, num_threads)
    names = registry.CORRUPTIONS.resolve(names)
    rows: list[dict[str, int | float | str]] = []
    for size in sizes:
        images = smooth_images(min(max(2**16 // size**2, 4), 64), size)

        def ours(name: str, threads: int, images: np.ndarray = images) -> None:
            corrupt(images, name, severity=severity, preset=preset, num_threads=threads)

        def theirs(name: str, images: np.ndarray = images) -> None:
            assert peer is not None
            for image in images:
                peer.corrupt(image, severity=severity, corruption_name=name)

        cases: list[tuple[str, int, Callable[[str], None]]] = [
            ("augmix", threads, partial(ours, threads=threads)) for threads in num_threads
        ]
        if peer is not None and size >= _LEAST_PEER_SIDE:
            cases.append((peer.title, 1, theirs))
        for package, threads, work in cases:
            times = _time_corruptions(work, names, len(images), seconds)
            rows += [
                {
                    "corruption": name,
                    "package": package,
                    "size": size,
                    "threads": threads,
                    "ms_per_image": time_ms,
                }
                for name, time_ms in times.items()
            ]
    return rows


def spread_corruptions(
    rows: Sequence[dict[str, int | float | str]],
) -> list[dict[str, int | float | str]]:
    """The records of `measure_corruptions` as a table: a row a corruption, a column a case."""
    table: dict[str, dict[str, int | float | str]] = {}
    for row in rows:
        name, threads = str(row["corruption"]), int(row["threads"])
        ours = f"{threads} thread{'s' if threads > 1 else ''}"
        case = f"{row['size']} px, {ours if row['package'] == 'augmix' else row['package']}"
        table.setdefault(name, {"ms_per_image": name})[case] = row["ms_per_image"]
    return list(table.values())


def smooth_images(count: int, size: int) -> UInt8[np.ndarray, "batch height width channel"]:
    """Random colours of large scale with some grain, as photographs have both."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    smooth = [Image.fromarray(colours).resize((size, size)) for colours in coarse]
    levels = np.stack([np.asarray(picture) for picture in smooth])
    return np.clip(levels + rng.normal(0, 6, levels.shape), 0, 255).astype(np.uint8)


def _time_corruptions(
    work: Callable[[str], object], names: Sequence[str], num_images: int, seconds: float
) -> dict[str, float]:
    """Milliseconds an image by name, the fastest turn; and the sum of the paper's, if all are."""
    for name in names:
        work(name)
    best = dict.fromkeys(names, float("inf"))
    turn, deadline = 0, time.perf_counter() + seconds
    while turn < _LEAST_TURNS or time.perf_counter() < deadline:
        for name in names:
            _, turn_s = timed(lambda name=name: work(name))
            best[name] = min(best[name], 1000 * turn_s / num_images)
        turn += 1
    paper = registry.CORRUPTIONS.protocols["paper-15"]
    if set(paper) <= set(names):
        best[PAPER_SUM] = sum(best[name] for name in paper)
    return best


def check_counts(sizes: Sequence[int], num_threads: Sequence[int]) -> None:
    """Refuse what cannot be measured.

    Raises:
        ValueError: If a size or a number of threads is below 1, or there is none.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes must be at least 1 pixel, got {tuple(sizes)}")
    if not num_threads or min(num_threads) < 1:
        raise ValueError(f"num_threads must be at least 1, got {tuple(num_threads)}")


def timed(work: Callable[[], object]) -> tuple:
    """What some work gives, and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def _run_python(*arguments: str, cache: str | None = None) -> str:
    """What a fresh Python prints."""
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[:2])} failed:\n{done.stderr}")
    return done.stdout


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


ARITHMETICS = ("fp32", "bf16 channels-last")
_SIDE = 32  # pixels
_BATCHES = 8  # of an epoch of the made-up set
_WARM_UP_STEPS = 3
_TURN_S = 1.0  # of steps of one arithmetic before the next takes over


def measure_training(
    models: Sequence[str] = ("small", "wrn-16-2"),
    *,
    arithmetics: Sequence[str] = ARITHMETICS,
    batch_size: int = 128,
    seconds: float = 20.0,
    device: str = "auto",
) -> list[dict[str, str | int | float]]:
    """Images per second of training by AugMix with the consistency loss, on made-up images.

    Args:
        models: Networks by name.
        arithmetics: ``fp32`` or ``bf16``, each also with `` channels-last``; the others are
            compared with the first.
        batch_size: Images of a step; each is three views.
        seconds: Time for each network, all arithmetics together; at least 3 turns are made.
        device: Where it computes.

    Returns:
        One record a network and arithmetic: ``model``, ``arithmetic``, ``batch_size``,
        ``images_per_second`` (median of the steps), ``times_first`` (median ratio of the turns
        against the first arithmetic), and ``waiting_share`` of the time, for views.

    Raises:
        ValueError: If a name is unknown or a count is below 1.
    """
    if not models or not arithmetics or batch_size < 1:
        raise ValueError(
            "name at least one model, one arithmetic and a batch_size from 1, got "
            f"{tuple(models)}, {tuple(arithmetics)} and {batch_size}"
        )
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.npz"
        count = _BATCHES * batch_size
        arrays = {"images": smooth_images(count, _SIDE), "labels": np.arange(count) % 10}
        write_npz(data, arrays, is_compressed=False)
        base: dict[str, Any] = {
            "source": "npz",
            "data": str(data),
            "method": "augmix",
            "batch_size": batch_size,
            "device": device,
            "out": Path(folder) / "run",  # never written
        }
        return [
            row
            for model in models
            for row in _measure_model(TrainConfig(model=model, **base), arithmetics, seconds)
        ]


def _measure_model(
    config: TrainConfig, arithmetics: Sequence[str], seconds: float
) -> list[dict[str, str | int | float]]:
    """The rows of one network."""
    turns: list[list[list[Pace]]] = [[] for _ in arithmetics]
    with ExitStack() as stack:
        runs = [
            stack.enter_context(closing(_steps(replace(config, **_settings(name)))))
            for name in arithmetics
        ]
        for run in runs:
            for _ in range(_WARM_UP_STEPS):
                next(run)
        deadline = perf_counter() + seconds
        while len(turns[0]) < _LEAST_TURNS or perf_counter() < deadline:
            for run, own in zip(runs, turns, strict=True):
                own.append(_turn(run))
    medians = [[_median_s(turn) for turn in own] for own in turns]
    return [
        {
            "model": config.model,
            "arithmetic": name,
            "batch_size": config.batch_size,
            "images_per_second": config.batch_size / statistics.median(own),
            "times_first": statistics.median(
                first / this for first, this in zip(medians[0], own, strict=True)
            ),
            "waiting_share": _waiting_share(paces),
        }
        for name, own, paces in zip(arithmetics, medians, turns, strict=True)
    ]


def _settings(arithmetic: str) -> dict[str, Any]:
    """The settings of an arithmetic by its name."""
    precision, _, layout = arithmetic.partition(" ")
    if layout not in ("", "channels-last"):
        raise ValueError(
            f"arithmetic must be 'fp32' or 'bf16', or that and 'channels-last', got {arithmetic!r}"
        )
    return {"precision": precision, "channels_last": bool(layout)}


def _steps(config: TrainConfig) -> Generator[Pace]:
    """Steps of a run without end."""
    with prepared(config) as run:
        order = open_order(run.source, config)
        learner = open_learner(run.model, run.method, recipe=config, device=run.device)
        views = open_views(run.source, run.method, order, config, run.device)
        yield from take_steps(learner, views, order, itertools.count())


def _turn(run: Iterator[Pace]) -> list[Pace]:
    paces, until = [], perf_counter() + _TURN_S
    while not paces or perf_counter() < until:
        paces.append(next(run))
    return paces


def _median_s(turn: Sequence[Pace]) -> float:
    return statistics.median(pace.elapsed_s for pace in turn)


def _waiting_share(turns: Sequence[Sequence[Pace]]) -> float:
    paces = [pace for turn in turns for pace in turn]
    return sum(pace.waited_s for pace in paces) / sum(pace.elapsed_s for pace in paces)
