"""How fast corruptions and first uses are on this machine, and images to measure on.

All functions return plain records, which the command line prints. Executors are measured by
`rates`, training by `pace`.
"""

import importlib
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from augmix.corrupt import suite

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
from augmix.streams import Stream
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
    names: Sequence[str] = suite.ALL_19,
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
    names = suite.resolve_names(names)
    rows: list[dict[str, int | float | str]] = []
    for size in sizes:
        images = smooth_images(min(max(2**16 // size**2, 4), 64), size)

        def ours(name: str, threads: int, images: np.ndarray = images) -> None:
            suite.corrupt(images, name, severity=severity, preset=preset, num_threads=threads)

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
    if set(suite.PAPER_15) <= set(names):
        best[PAPER_SUM] = sum(best[name] for name in suite.PAPER_15)
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
