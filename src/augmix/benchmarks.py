"""Speed of executors, corruptions, training and start-up on this machine.

``augmix bench`` and the scripts in ``benchmarks/`` print the records that these functions return.
What is compared takes turns on the same data, so that other load on the machine affects all of it.
The speed of an executor stands beside the check that its views equal the definition's.
"""

import importlib
import importlib.metadata
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import ArrayLike
from PIL import Image

from augmix import augment
from augmix.augment import batched, compiled
from augmix.augment.plan import Plan
from augmix.augment.policies import AugMix, Policy
from augmix.augment.stages.chains import Chains, CropFlip
from augmix.corruptions import registry
from augmix.corruptions.corrupt import corrupt
from augmix.files import write_npz
from augmix.methods import METHODS, TrainingImages, build_method
from augmix.progress import Note, OnProgress, ignore
from augmix.rng import Stream
from augmix.training.config import TrainConfig
from augmix.training.forecast import StepTime, open_parts, time_steps
from augmix.training.run import prepared
from augmix.training.settings import build_config, update_config

Record = dict[str, Any]

SEVERITIES = {32: (3,), 224: (1, 3)}  # image size in pixels -> severities measured at it
_NUM_VIEWS = 2
_PIXELS = 2**18  # of all images of a batch, which has 24 to 256 images
_MIN_EXECUTOR_TURNS = 5
_MAX_DEFINITION_S = 0.5  # of the `pillow` executor for a batch
_EXACT = (CropFlip, Chains)  # stages whose every bit is the same on all devices
_MAX_STRETCH_S = 0.5  # a second core needs a while to wake up
PEERS = ("imagecorruptions-imaug", "imagecorruptions")  # distributions, the preferred one first
_MIN_PEER_SIZE = 32  # pixels
_MIN_TURNS = 3
ARITHMETICS = ("fp32", "bf16 channels-last")
_TRAINING_SIZE = 32  # pixels
_BATCHES_PER_EPOCH = 8
_WARM_UP_STEPS = 3
_TURN_S = 1.0  # seconds of steps of one arithmetic before the next takes over
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


def turns(seconds: float, *, at_least: int = _MIN_TURNS) -> Iterator[int]:
    """Count turns until the time is over, but at least some."""
    deadline = perf_counter() + seconds
    for turn in itertools.count():
        if turn >= at_least and perf_counter() >= deadline:
            return
        yield turn


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of a function and the seconds it took."""
    start = perf_counter()
    result = work()
    return result, perf_counter() - start


def smooth_images(
    count: int, size: int, width: int | None = None
) -> UInt8[np.ndarray, "batch height width channel"]:
    """Draw images with coarse colours and fine grain, as photographs have both.

    They are square, or ``size`` pixels high where a width is given.
    """
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    smooth = [Image.fromarray(colours).resize((width or size, size)) for colours in coarse]
    levels = np.stack([np.asarray(picture) for picture in smooth])
    return np.clip(levels + rng.normal(0, 6, levels.shape), 0, 255).astype(np.uint8)


def write_smooth_images(path: Path, count: int, size: int) -> str:
    """Write smooth images of ten classes as an npz file; return its path as text."""
    arrays = {"images": smooth_images(count, size), "labels": np.arange(count) % 10}
    write_npz(path, arrays, is_compressed=False)
    return str(path)


def draw_plan(policy: Policy, count: int, size: int, epoch: int, *, num_views: int = 2) -> Plan:
    """Draw the plan of the first images at seed 0."""
    stream = Stream(seed=0).at(epoch=epoch)
    return policy.sample(np.arange(count), num_views=num_views, size=(size, size), stream=stream)


def measure_executors(
    sizes: Sequence[int] = (32, 224),
    num_threads: Sequence[int] = (1, 2),
    seconds: float = 2.0,
    *,
    device: str | None = None,
    methods: Sequence[str] = ("augmix",),
    on_progress: OnProgress = ignore,
) -> list[Record]:
    """Measure views per second of each executor, planning included.

    The executors render the same fresh plans in turns; numbers are medians over the turns.

    Args:
        sizes: Of the square images, in pixels.
        num_threads: Threads of the compiled executor, one record each.
        seconds: Time for each size and severity, for all executors together.
        device: Of the batched executor, whose images and views stay there; ``auto`` is a GPU if
            there is one, None leaves this executor out.
        methods: Whose policies draw the plans, with their defaults; ``all`` is every method. AugMix
            is measured at the severities of its size, the others at their own.
        on_progress: Called with a `Note` before each method is measured.

    Returns:
        For each size, method, severity and executor: ``size`` in pixels, ``method``, ``severity``,
        ``executor``,
        ``device``, ``threads`` of the CPU (0 on another device), ``views_per_second``,
        ``times_pillow`` (the ratio to pillow's speed), ``times_first`` (the ratio of rendering
        alone to the first number of threads; 1 for pillow), ``planning_fraction`` of the time,
        and ``equal``: whether every bit equalled pillow's in every turn; of plans with more than
        crop and chains on ``batched``, whether 99.9 % of the values were within a grey level.

    Raises:
        ValueError: If a size or a number of threads is below 1, or a method's or the device's name
            is unknown.
        RunError: If this machine has no such device.
    """
    _check_counts(sizes, num_threads)
    names = _policy_names() if "all" in methods else methods
    for name in names:
        build_method(name)  # refuses an unknown one before anything is measured
    cases = list(itertools.product(sizes, names))
    records = []
    for number, (size, name) in enumerate(cases, 1):
        on_progress(Note(text=f"{size} px, {name} ({number} of {len(cases)})"))
        fitted = build_method(name).fit(TrainingImages(size=(size, size)))
        for severity in SEVERITIES.get(size, (3,)) if name == "augmix" else (None,):
            policy = AugMix(severity=severity) if severity else fitted.policy
            case = _measure_case(size, policy, num_threads, seconds, device)
            own = severity or getattr(policy, "severity", "")
            records += [{"size": size, "method": name, "severity": own, **each} for each in case]
    return records


def _policy_names() -> list[str]:
    """The methods, one of each policy as it is fitted to images."""
    fitted = {name: method().fit(TrainingImages()).policy for name, method in METHODS.items()}
    by_policy = {repr(policy): name for name, policy in reversed(fitted.items())}
    return [name for name in METHODS if name in by_policy.values()]


def recommend_executors(records: Sequence[Record]) -> list[str]:
    """Name the executor to use, one line for each size of the records of `measure_executors`.

    It is the fastest of those that were equal in every turn, at the highest severity of the size,
    by the first method.
    """
    lines = []
    records = [each for each in records if each.get("method") == records[0].get("method")]
    for size in dict.fromkeys(record["size"] for record in records):
        severity = max(record["severity"] for record in records if record["size"] == size)
        case = [each for each in records if (each["size"], each["severity"]) == (size, severity)]
        best = max((each for each in case if each["equal"]), key=lambda it: it["views_per_second"])
        is_cpu = best["device"] == "cpu"
        where = f"with {_threads(best['threads'])}" if is_cpu else f"on {best['device']}"
        lines.append(
            f"{size} px: executor {best['executor']!r} {where} is the fastest, "
            f"{best['views_per_second']:,.0f} views per second"
        )
    return lines


@dataclass(slots=True, kw_only=True)
class _Contender:
    """An executor on one batch of images, and its measurements."""

    executor: str
    device: str = "cpu"
    threads: int = 1
    render: Callable[[Plan], Any]  # the views are complete when it returns
    fetch: Callable[[Any], np.ndarray] = np.asarray  # views as an array
    render_s: list[float] = field(default_factory=list)  # by turn
    is_equal: bool = True  # whether all views so far equalled the definition's


def _measure_case(
    size: int, policy: Policy, num_threads: Sequence[int], seconds: float, device: str | None
) -> list[Record]:
    """The records of one size and policy."""
    count = _count_images(size, policy)
    images = smooth_images(count, size)
    contenders = [
        _Contender(executor="pillow", render=partial(augment.render, images, executor="pillow"))
    ]
    for threads in num_threads:
        render = partial(compiled.render, images, num_threads=threads)
        contenders.append(_Contender(executor="compiled", threads=threads, render=render))
    if device is not None:
        contenders.append(_batched(images, device))

    planning_s: list[float] = []
    for contender in contenders[1:]:  # compiles kernels, or loads compiled ones
        contender.render(draw_plan(policy, count, size, 0))
    for turn in turns(seconds, at_least=_MIN_EXECUTOR_TURNS):
        plan, plan_s = timed(partial(draw_plan, policy, count, size, turn, num_views=_NUM_VIEWS))
        planning_s.append(plan_s)
        expected, has_bits = None, all(isinstance(stage, _EXACT) for stage in plan.stages)
        for contender in contenders:
            stretch_s = 0.0 if expected is None else min(_MAX_STRETCH_S, seconds / 8)
            result, render_s = _render_repeatedly(contender.render, plan, stretch_s)
            contender.render_s.append(render_s)
            views = contender.fetch(result)
            expected = views if expected is None else expected
            is_close = contender.executor == "batched" and not has_bits
            contender.is_equal &= _is_equal(views, expected, is_close=is_close)

    totals_s = [np.add(planning_s, contender.render_s) for contender in contenders]
    first_s = contenders[1].render_s
    return [
        {
            "executor": contender.executor,
            "device": contender.device,
            "threads": contender.threads,
            "views_per_second": count * _NUM_VIEWS / float(np.median(total_s)),
            "times_pillow": _median_ratio(totals_s[0], total_s),
            "times_first": _median_ratio(first_s, contender.render_s) if index else 1.0,
            "planning_fraction": _median_ratio(planning_s, total_s),
            "equal": contender.is_equal,
        }
        for index, (contender, total_s) in enumerate(zip(contenders, totals_s, strict=True))
    ]


def _count_images(size: int, policy: Policy) -> int:
    """Images of a batch: as many as training takes, fewer where the definition is slow."""
    count, few = min(max(_PIXELS // size**2, 24), 256), 4
    images, plan = smooth_images(few, size), draw_plan(policy, few, size, 0)
    augment.render(images, plan, executor="pillow")  # draws pictures and tables once
    _, render_s = timed(partial(augment.render, images, plan, executor="pillow"))
    return max(few, min(count, int(_MAX_DEFINITION_S * few / render_s)))


def _is_equal(views: np.ndarray, expected: np.ndarray, *, is_close: bool) -> bool:
    """Whether views equal the definition's, or for ``is_close`` 99.9 % of them by a grey level."""
    if not is_close or np.array_equal(views, expected):
        return np.array_equal(views, expected)
    return bool((np.abs(views - expected) <= 1 / 255).mean() >= 0.999)


def _batched(images: UInt8[np.ndarray, "batch height width channel"], name: str) -> _Contender:
    device = batched.find_device(name)
    uploaded = torch.from_numpy(images).to(device)

    def render(plan: Plan) -> torch.Tensor:
        views = batched.render(uploaded, plan)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return views

    return _Contender(
        executor="batched",
        device=str(device),
        threads=torch.get_num_threads() if device.type == "cpu" else 0,
        render=render,
        fetch=lambda views: views.cpu().numpy(),
    )


def _render_repeatedly(
    render: Callable[[Plan], Any], plan: Plan, stretch_s: float
) -> tuple[Any, float]:
    """The views, and the mean seconds of a rendering over at least a stretch of time."""
    start = perf_counter()
    views, count = render(plan), 1
    while perf_counter() < start + stretch_s:
        views, count = render(plan), count + 1
    return views, (perf_counter() - start) / count


@dataclass(frozen=True, slots=True)
class Peer:
    """Another package with the same corruptions."""

    title: str  # its name and version
    corrupt: Callable[..., np.ndarray]  # (image, severity=3, corruption_name="fog")

    def corrupt_all(self, images: np.ndarray, severity: int, name: str) -> None:
        for image in images:
            self.corrupt(image, severity=severity, corruption_name=name)


def find_peer() -> Peer | None:
    """Return `imagecorruptions-imaug`, else `imagecorruptions`, else None."""
    for name in PEERS:
        try:
            version = importlib.metadata.version(name)
            return Peer(f"{name} {version}", importlib.import_module("imagecorruptions").corrupt)
        except ImportError:  # not installed, or unusable with the installed libraries
            continue
    return None


def measure_corruptions(
    sizes: Sequence[int | tuple[int, int]] = (32, 64, 224),
    num_threads: Sequence[int] = (1, 2),
    severity: int = 3,
    seconds: float = 2.0,
    *,
    names: Sequence[str] = ("paper-15", "extra-4"),
    preset: str = "auto",
    peer: Peer | None = None,
) -> list[Record]:
    """Measure milliseconds per image of each corruption.

    The corruptions take turns on one batch; numbers are the fastest turns. First calls, which
    compile or load kernels, are left out. Counts out of range and unknown names are a ValueError.

    Args:
        sizes: Of the images in pixels, at least 16; of images that are not square width and height.
        num_threads: Threads of `augmix.corrupt`.
        severity: 1 to 5.
        seconds: Time for each size and number of threads, for all corruptions together; each
            corruption has at least 3 turns.
        names: Corruptions and groups of them, in the order of the records.
        preset: Name of the severity tables, or ``auto``.
        peer: A package to compare with, on one thread and images of at least 32 pixels, smaller
            than which it refuses. It has the severities of ImageNet only.

    Returns:
        For each size, number of threads and corruption, and for the peer: ``corruption``,
        ``package``, ``size`` in pixels (of a pair e.g. 640x480), ``threads``, ``ms_per_image``.
        Where all of the paper's 15 or of a list of C-bar were measured, their sum follows, e.g. as
        ``sum of paper-15``.
    """
    edges = [(each, each) if isinstance(each, int) else each for each in sizes]
    _check_counts([min(each) for each in edges], num_threads)
    names = registry.CORRUPTIONS.resolve(names)
    records: list[Record] = []
    for size, (width, height) in zip(sizes, edges, strict=True):
        images = smooth_images(min(max(2**16 // (width * height), 4), 64), height, width)
        cases: list[tuple[str, int, Callable[[str], object]]] = []
        for threads in num_threads:
            ours = partial(corrupt, images, severity=severity, preset=preset, num_threads=threads)
            cases.append(("augmix", threads, ours))
        if peer is not None and min(width, height) >= _MIN_PEER_SIZE:
            cases.append((peer.title, 1, partial(peer.corrupt_all, images, severity)))
        for package, threads, work in cases:
            shown = size if isinstance(size, int) else f"{width}x{height}"
            case: Record = {"package": package, "size": shown, "threads": threads}
            times_ms = _time_corruptions(work, names, len(images), seconds)
            for name, time_ms in times_ms.items():
                records.append({"corruption": name, **case, "ms_per_image": time_ms})
    return records


def tabulate_corruptions(records: Sequence[Record]) -> list[Record]:
    """Arrange the records of `measure_corruptions`: a row per corruption, a column per case."""
    table: dict[str, Record] = {}
    for record in records:
        name, package = record["corruption"], record["package"]
        package = _threads(record["threads"]) if package == "augmix" else package
        row = table.setdefault(name, {"ms_per_image": name})
        row[f"{record['size']} px, {package}"] = record["ms_per_image"]
    return list(table.values())


def _time_corruptions(
    work: Callable[[str], object], names: Sequence[str], num_images: int, seconds: float
) -> dict[str, float]:
    """Milliseconds per image by name, and the sum of each benchmark that is there as a whole."""
    for name in names:
        work(name)
    best_ms = dict.fromkeys(names, float("inf"))
    for _ in turns(seconds):
        for name in names:
            _, turn_s = timed(partial(work, name))
            best_ms[name] = min(best_ms[name], 1000 * turn_s / num_images)
    protocols = registry.CORRUPTIONS.protocols
    sums = {f"sum of {each}": protocols[each] for each in ("paper-15", "cifar-bar", "imagenet-bar")}
    measured = {title: own for title, own in sums.items() if set(own) <= set(names)}
    totals = {title: sum(best_ms[name] for name in own) for title, own in measured.items()}
    return best_ms | totals


def measure_training(
    models: Sequence[str] = ("small", "wrn-16-2"),
    *,
    arithmetics: Sequence[str] = ARITHMETICS,
    batch_size: int = 128,
    seconds: float = 20.0,
    device: str = "auto",
) -> list[Record]:
    """Measure images per second of training by AugMix with the consistency loss.

    The steps are those of `augmix.train` on random images; the arithmetics take turns of a few
    steps. An unknown name is a ValueError.

    Args:
        models: Names of networks.
        arithmetics: ``fp32`` or ``bf16``, each also with `` channels-last``; the others are
            compared with the first.
        batch_size: Images of a step; each has three views.
        seconds: Time for each network, all arithmetics together; each has at least 3 turns.

    Returns:
        For each network and arithmetic: ``model``, ``arithmetic``, ``batch_size``,
        ``images_per_second`` (median of the turns), ``times_first`` (median ratio to the first
        arithmetic), and ``wait_fraction`` of the time, spent waiting for views.
    """
    if not models or not arithmetics or batch_size < 1:
        raise ValueError(
            "name at least one model, one arithmetic and a batch_size from 1, got "
            f"{tuple(models)}, {tuple(arithmetics)} and {batch_size}"
        )
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.npz"
        base: dict[str, Any] = {
            "source": "npz",
            "data": write_smooth_images(data, _BATCHES_PER_EPOCH * batch_size, _TRAINING_SIZE),
            "method": "augmix",
            "batch_size": batch_size,
            "device": device,
            "out": Path(folder) / "run",  # never written
        }
        return [
            record
            for model in models
            for record in _measure_model(build_config(model=model, **base), arithmetics, seconds)
        ]


def _measure_model(config: TrainConfig, arithmetics: Sequence[str], seconds: float) -> list[Record]:
    """The records of one network."""
    with ExitStack() as stack:
        runs = [
            stack.enter_context(closing(_steps(update_config(config, **_parse_arithmetic(name)))))
            for name in arithmetics
        ]
        for run in runs:
            for _ in range(_WARM_UP_STEPS):
                next(run)
        by_turn = [  # turn, arithmetic, step
            [[next(run) for _ in turns(_TURN_S, at_least=1)] for run in runs]
            for _ in turns(seconds)
        ]
    medians_s = [
        [statistics.median(step.elapsed_s for step in steps) for steps in turn] for turn in by_turn
    ]
    first_s = [turn[0] for turn in medians_s]
    records: list[Record] = []
    for index, name in enumerate(arithmetics):
        step_s = [turn[index] for turn in medians_s]
        steps = [step for turn in by_turn for step in turn[index]]
        waited_s = sum(step.waited_s for step in steps)
        records.append(
            {
                "model": config.network.model,
                "arithmetic": name,
                "batch_size": config.optimisation.batch_size,
                "images_per_second": config.optimisation.batch_size / statistics.median(step_s),
                "times_first": _median_ratio(first_s, step_s),
                "wait_fraction": waited_s / sum(step.elapsed_s for step in steps),
            }
        )
    return records


def _parse_arithmetic(name: str) -> dict[str, Any]:
    """The settings of an arithmetic."""
    precision, _, layout = name.partition(" ")
    if layout not in ("", "channels-last"):
        raise ValueError(
            f"arithmetic must be 'fp32' or 'bf16', or that and 'channels-last', got {name!r}"
        )
    return {"precision": precision, "channels_last": bool(layout)}


def _steps(config: TrainConfig) -> Generator[StepTime]:
    """Train without end."""
    with prepared(config) as run:
        parts, num_threads = open_parts(config, run), config.run.num_threads
        yield from time_steps(*parts, itertools.count(), num_threads=num_threads)


def measure_startup() -> dict[str, float]:
    """Measure seconds of the import and of the first compiled rendering of a process.

    Returns:
        ``import_s``: ``import augmix``; ``help_s``: all of ``augmix --help``; ``first_warm_s`` and
        ``first_cold_s``: the first rendering including its imports, with kernels cached on disk
        and without.
    """
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = (float(run_python("-c", _FIRST_RENDER, cache=cache)) for _ in range(2))
    imported = float(run_python("-c", _IMPORT))
    _, help_s = timed(partial(run_python, "-m", "augmix", "--help"))
    return {"import_s": imported, "help_s": help_s, "first_warm_s": warm, "first_cold_s": cold}


def run_python(*arguments: str, cache: str | None = None) -> str:
    """Run a new Python process and return what it prints; its failure is a RuntimeError.

    numba's compiled kernels are in the folder ``cache``; None takes the usual one.
    """
    environment = dict(os.environ) | ({} if cache is None else {"NUMBA_CACHE_DIR": cache})
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments[:2])} failed:\n{done.stderr}")
    return done.stdout


def _check_counts(sizes: Sequence[int], num_threads: Sequence[int]) -> None:
    if min(sizes, default=0) < 1:
        raise ValueError(f"sizes must be at least 1 pixel, got {tuple(sizes)}")
    if min(num_threads, default=0) < 1:
        raise ValueError(f"num_threads must be at least 1, got {tuple(num_threads)}")


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _median_ratio(over: ArrayLike, under: ArrayLike) -> float:
    return float(np.median(np.divide(over, under)))
