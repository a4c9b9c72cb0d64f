"""What an evaluation takes, measured on a few images before anything is written.

Making images and passing them through the model are timed apart, as they are done at the same time:
images of every corruption and sequence, and a growing batch for each way of passing.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from augmix.data.batches import spread_positions
from augmix.evaluation import store
from augmix.evaluation.config import EvaluateConfig
from augmix.evaluation.decide import Arm, check_alike, choose_suite
from augmix.evaluation.loop import Evaluator, Ids, open_evaluation
from augmix.evaluation.measures import NUM_ARRAYS
from augmix.evaluation.predictor import ready
from augmix.evaluation.suites import CLEAN, Attacked, Clean, Natural, Perturbations, Suite
from augmix.files import describe_space, format_size
from augmix.models.batch_norm import adapt_batch_norm
from augmix.models.wrapper import name_of
from augmix.per_image import to_classes
from augmix.progress import Note, OnProgress, format_duration, ignore
from augmix.results import RESULTS_FILE, CellKey, load_results
from augmix.shards import find_shard

_SECONDS = 5.0  # after which no more images are made
_PASS_S = 0.5  # of a batch that is large enough to be timed
_NUM_IMAGES = 16  # made at a time, frames counted
_NUM_SHOWN = 8  # different images in a batch that is timed
_MOST_TURNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteForecast:
    """What a suite takes, of one process."""

    name: str
    num_sets: int
    num_left: int  # sets that are not measured yet
    num_images: int  # of all sets
    num_made: int  # images, or frames, made for what is left
    num_passes: int  # forward passes of one image for what is left, at most
    images_s: float  # of one thread, for what is left
    passes_s: float  # for what is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an evaluation takes.

    Attributes:
        suites: In the order of measurement; images held out for a temperature are one of them.
        num_bytes: Of all files, at most.
        num_measured: Images that were made for the forecast.
        num_threads: Threads that make images.
        num_cores: Processors that the model and these threads share; 0 beside a GPU.
        device: Name of the model's device.
        num_processes: Processes or shards that divide the work.
    """

    suites: tuple[SuiteForecast, ...]
    num_bytes: int
    num_measured: int
    num_threads: int
    num_cores: int
    device: str
    num_processes: int

    @property
    def images_s(self) -> float:
        """Seconds of one process for making images."""
        return sum(each.images_s for each in self.suites) / self.num_threads

    @property
    def passes_s(self) -> float:
        """Seconds of one process for forward passes."""
        return sum(each.passes_s for each in self.suites)

    @property
    def seconds(self) -> float:
        """Seconds for what is left.

        Beside a GPU the slower of the two counts. On a CPU both take the same processors.
        """
        shared_s = self.images_s * self.num_threads / self.num_cores if self.num_cores else 0.0
        return max(self.images_s, self.passes_s + shared_s) / self.num_processes

    def time_lines(self) -> list[str]:
        """Return sets, forward passes and time in words."""
        lines = [_suite_words(each) for each in self.suites]
        num_passes = sum(each.num_passes for each in self.suites)
        if not num_passes:
            return [*lines, "nothing is left to measure"]
        num_made = sum(each.num_made for each in self.suites)
        threads = "1 thread" if self.num_threads == 1 else f"{self.num_threads} threads"
        processes = f" with {self.num_processes} processes" if self.num_processes > 1 else ""
        made_ms = 1000 * self.images_s * self.num_threads / num_made
        return [
            *lines,
            f"images: {format_duration(self.images_s)} on {threads}, {made_ms:.2g} ms each "
            f"(measured on {self.num_measured:,}); forward passes: "
            f"{format_duration(self.passes_s)} on {self.device}, "
            f"{1000 * self.passes_s / num_passes:.2g} ms each",
            f"about {format_duration(self.seconds)}{processes}, as images are made while the model "
            "computes; writing files is not counted",
        ]

    def lines(self, folder: Path) -> list[str]:
        """Return the forecast in words, with what is free on the disk of the results' folder."""
        size = f"at most {format_size(self.num_bytes)} in {folder}: predictions of every image, "
        return [
            *self.time_lines(),
            f"{size}results and pictures",
            *describe_space(folder, self.num_bytes),
        ]


def forecast(
    model: nn.Module,
    data: Any,
    config: EvaluateConfig | None = None,
    *,
    on_progress: OnProgress | None = None,
    **options: Any,
) -> Forecast:
    """Time a few images and batches of an evaluation, and extend them to what is left of it.

    What ``out`` holds already is not counted again. Nothing is written.

    Args:
        model: As of `evaluate`.
        data: As of `evaluate`.
        config: As of `evaluate`.
        on_progress: Called with a `Note`.
        **options: Fields of `EvaluateConfig`, instead of ``config``.

    Raises:
        TypeError: As of `evaluate`.
        ValueError: As of `evaluate`.
        ResumeError: As of `evaluate`.
        RunError: As of `evaluate`.

    Example:
        >>> found = forecast(model, "photos", names=("fog",))  # doctest: +SKIP
        >>> found.seconds, found.num_bytes  # doctest: +SKIP
    """
    if config is not None and options:
        raise TypeError(f"give config or its fields, not both; got config and {sorted(options)}")
    config = EvaluateConfig(**options) if config is None else config
    emit, shard = on_progress or ignore, find_shard(config.shard)
    evaluator, keys, held, fresh = open_evaluation(model, data, config)
    suites, device = evaluator.suites, evaluator.predictor.device
    for note in filter(None, (suite.note() for suite in suites.values())):
        emit(Note(text=note))
    with ExitStack() as stack:
        stack.enter_context(ready(model, device))
        if config.adapt_batch_norm:
            stack.enter_context(adapt_batch_norm(model, config.adapt_prior))
        results = fresh
        if config.out:
            store.check_folder(Path(config.out), model)
            fresh = evaluator.with_outputs(fresh)
            results = store.find_measured(Path(config.out), fresh, keys, suites)
        missing = [key for key in keys if not store.is_done(results, key)]
        if len(held) and missing and results.temperature is None:
            suites = {**suites, "held out": Clean(config=config, source=evaluator.source)}
            evaluator = replace(evaluator, suites=suites)
            first = CellKey("held out", CLEAN.name, 0)
            keys, missing = [first, *keys], [first, *missing]
        for suite in suites.values():
            if any(key.suite == suite.name for key in missing):
                suite.check_model(evaluator.predictor, evaluator.ids)
        ids = {
            key: held if key.suite == "held out" else suites[key.suite].ids(key, evaluator.ids)
            for key in keys
        }
        left = {key: ids[key] for key in missing}
        emit(Note(text="timing images and forward passes"))
        made_s, num_measured = _time_images(evaluator, left)
        passes_s = _time_passes(evaluator, left)
    sizes = {key: len(each) for key, each in ids.items()}
    measures = sum(NUM_ARRAYS[group] for group in config.metrics)
    return Forecast(
        suites=tuple(
            _forecast_suite(name, evaluator, sizes, missing, made_s, passes_s)
            for name in sorted(suites, key=lambda name: name != "held out")
        ),
        num_bytes=store.count_bytes(
            [key for key in keys if key.suite != "held out"],
            suites,
            evaluator.source,
            evaluator.ids,
            num_measures=measures,
            bin_size=config.bin_size,
        ),
        num_measured=num_measured,
        num_threads=evaluator.num_threads,
        num_cores=torch.get_num_threads() if device.type == "cpu" else 0,
        device=device.type,
        num_processes=shard.count if shard else 1,
    )


def forecast_decision(
    arms: Sequence[Arm],
    config: EvaluateConfig,
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
) -> list[str]:
    """Say what `decide` takes at most, in words; how much less it will be is not known before."""
    suite = choose_suite(config)
    check_alike(arms)
    config, emit = replace(config, suite=(suite,), out=None), on_progress or ignore
    found = [forecast(arm.model, arm.source, config, on_progress=emit) for arm in arms]
    (first,) = [each for each in found[0].suites if each.name == suite]
    item = to_classes(np.empty(0, np.int64), arms[0].source.num_classes).itemsize
    num_bytes = first.num_images * (2 * np.int64().nbytes + len(arms) * item)
    lines = ["at most, if no interval of a part of the images is narrow enough:"]
    for arm, each in zip(arms, found, strict=True):
        lines += [f"model {arm.about.get('label') or name_of(arm.model)}", *each.time_lines()]
    path = folder / RESULTS_FILE
    decision = load_results(path).decision if path.exists() else None
    if decision is not None:
        lines.append(f"{folder} has {decision.num_passes:,} images of this or another measurement")
    lines.append(f"at most {format_size(num_bytes)} in {folder}: what was drawn, and the results")
    return [*lines, *describe_space(folder, num_bytes)]


def _forecast_suite(
    name: str,
    evaluator: Evaluator,
    sizes: Mapping[CellKey, int],
    missing: Sequence[CellKey],
    made_s: Mapping[tuple[str, str], float],
    passes_s: Mapping[str, float],
) -> SuiteForecast:
    suite = evaluator.suites[name]
    own, left = ([key for key in each if key.suite == name] for each in (sizes, missing))
    num_passes = sum(sizes[key] * suite.num_passes(key) for key in left)
    has_frames = isinstance(suite, Perturbations)  # of a Fourier map the model's device makes them
    return SuiteForecast(
        name=name,
        num_sets=len(own),
        num_left=len(left),
        num_images=sum(sizes[key] for key in own),
        num_made=sum(sizes[key] * (suite.num_frames(key) if has_frames else 1) for key in left),
        num_passes=num_passes,
        images_s=float(sum(sizes[key] * made_s[name, key.name] for key in left)),
        passes_s=num_passes * passes_s.get(name, 0.0),
    )


def _time_images(
    evaluator: Evaluator, missing: Mapping[CellKey, Ids]
) -> tuple[dict[tuple[str, str], float], int]:
    """Seconds that an image, or all frames of a sequence, takes by suite and name; images made."""
    groups: dict[tuple[str, str], list[CellKey]] = defaultdict(list)
    for key in missing:
        groups[key.suite, key.name].append(key)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    num_made, end = 0, 0.0
    for turn in range(-1, _MOST_TURNS):  # kernels are compiled in turn -1
        if turn == 0:
            end = perf_counter() + _SECONDS
        for group, keys in groups.items():
            suite, key = evaluator.suites[group[0]], keys[turn % len(keys)]
            own = missing[key]
            num = min(len(own), max(1, _NUM_IMAGES // (suite.num_frames(key) or 1)))
            starts = spread_positions(len(own) - num + 1, _MOST_TURNS)
            chosen = own[starts[turn] :][: num if turn >= 0 else 1]
            began = perf_counter()
            evaluator.load(key, chosen)
            if turn >= 0:
                seconds[group].append((perf_counter() - began) / len(chosen))
                num_made += len(chosen)
        if turn >= 0 and perf_counter() > end:
            break
    return {group: float(np.mean(each)) for group, each in seconds.items()}, num_made


def _time_passes(evaluator: Evaluator, missing: Mapping[CellKey, Ids]) -> dict[str, float]:
    """Seconds that a forward pass takes for each image shown, by suite."""
    found: dict[str, float] = {}
    plain: float | None = None  # of suites that only show their images
    for name in dict.fromkeys(key.suite for key in missing):
        suite = evaluator.suites[name]
        key = next(key for key in missing if key.suite == name)
        if type(suite).logits not in (Suite.logits, Natural.logits):
            found[name] = _time_pass(evaluator, key, missing[key][:_NUM_SHOWN])
            continue
        plain = _time_pass(evaluator, key, missing[key][:_NUM_SHOWN]) if plain is None else plain
        found[name] = plain
    return found


def _time_pass(evaluator: Evaluator, key: CellKey, own: Ids) -> float:
    """Seconds of a pass for each image shown, in the largest batch that is soon passed."""
    suite = evaluator.suites[key.suite]
    if isinstance(suite, Attacked):  # a step of it is like the others
        suite = replace(suite, config=replace(suite.config, attack_steps=1, attack_restarts=1))
        evaluator = replace(evaluator, suites={**evaluator.suites, key.suite: suite})
    pixels = evaluator.load(key, own)
    frames = pixels.reshape(len(own), -1, *pixels.shape[1:])
    most = max(1, evaluator.config.batch_size // (suite.num_frames(key) or 1))
    num, elapsed_s = 0, 0.0
    while num == 0 or (num < most and elapsed_s < _PASS_S):
        num = min(max(1, 2 * num), most)
        chosen = np.arange(num) % len(own)
        images = frames[chosen].reshape(-1, *pixels.shape[1:])
        evaluator.logits(key, own[chosen], images)  # tunes and fills caches
        began = perf_counter()
        evaluator.logits(key, own[chosen], images)
        elapsed_s = perf_counter() - began
    return elapsed_s / (num * suite.num_passes(key))


def _suite_words(suite: SuiteForecast) -> str:
    sets = f"{suite.num_sets:,} sets" if suite.num_sets > 1 else "1 set"
    each, rest = divmod(suite.num_images, suite.num_sets)
    images = f"{suite.num_images:,} images in all" if rest else f"{each:,} images"
    words = f"{suite.name}: {sets} of {images}, "
    if suite.num_left == suite.num_sets:
        return f"{words}{suite.num_passes:,} forward passes"
    done = suite.num_sets - suite.num_left
    return f"{words}{done:,} measured already, {suite.num_passes:,} forward passes left"
