"""Runs that differ only in their seed are one row of the page: mean and spread.

Also what is asked of rows: their numbers with intervals, and the difference of two rows.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from augmix.intervals import (
    Interval,
    average,
    difference,
    seed_difference,
    spread,
    widened,
)
from augmix.report.estimates import Estimates, Key
from augmix.report.runs import Run, distinct

_OF_A_SEED = {"seed", "out", "label", "device", "num_threads", "num_workers"}  # settings
_SEED = re.compile(r"[-_. ]*(seed)?[-_. =]*\d+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number of a row.

    Attributes:
        value: The mean over the row's runs.
        low: Lower end of the interval over images; None if no outcomes were kept.
        high: Upper end.
        deviation: Standard deviation over seeds; None for a single run.
        num_seeds: Runs behind it.
    """

    value: float
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    num_seeds: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Runs that are one row: one run, or several seeds of the same.

    Attributes:
        label: What the page calls it; no two groups share one.
        runs: At least one.
        estimates: The numbers of each run.
    """

    label: str
    runs: tuple[Run, ...]
    estimates: tuple[Estimates, ...]

    @property
    def first(self) -> Run:
        """The run that stands for what all have in common."""
        return self.runs[0]

    def number(self, key: Key) -> Number | None:
        """The mean of a number over the runs; None if one of them lacks it."""
        found = [each[key] for each in self.estimates if key in each]
        if len(found) < len(self.runs):
            return None
        over_seeds = spread([each.value for each in found])
        draws = [each.draws for each in found if each.draws is not None]
        interval = found[0].interval if len(found) == 1 else None
        if interval is None and len(draws) == len(found):
            interval = average(draws).interval()
        return Number(
            value=over_seeds.mean,
            low=None if interval is None else interval.low,
            high=None if interval is None else interval.high,
            deviation=over_seeds.deviation if len(found) > 1 else None,
            num_seeds=len(found),
        )


def contrast(first: Group, second: Group, key: Key) -> Interval | None:
    """First minus second with its interval; None where outcomes are missing.

    Images are paired. Where both have several seeds, the noise of training is in the interval too.
    """
    sides = [[each.get(key) for each in group.estimates] for group in (first, second)]
    draws = [[each.draws for each in side if each and each.draws] for side in sides]
    if any(len(drawn) < len(side) for drawn, side in zip(draws, sides, strict=True)):
        return None
    if len({len(each.resampled) for drawn in draws for each in drawn}) != 1:
        return None
    images = difference(average(draws[0]), average(draws[1])).interval()
    if min(map(len, sides)) < 2:
        return images
    values = [[each.value for each in side if each] for side in sides]
    return widened(images, seed_difference(*values))


def gather_runs(runs: Sequence[Run], estimates: Sequence[Estimates]) -> list[Group]:
    """Rows in the order of their first run."""
    by_key: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        by_key.setdefault(_identity(run) or f"run {place}", []).append(place)
    parts = [_with_seeds_of_their_own(runs, places) for places in by_key.values()]
    places = [group for part in parts for group in part]
    labels = distinct([_label([runs[place] for place in group]) for group in places])
    return [
        Group(
            label=label,
            runs=tuple(runs[place] for place in group),
            estimates=tuple(estimates[place] for place in group),
        )
        for label, group in zip(labels, places, strict=True)
    ]


def identity(run: Run, *, has_adaptation: bool = True) -> tuple[Any, ...]:
    """What two runs share that differ only in their seed."""
    settings = {key: value for key, value in run.config.items() if key not in _OF_A_SEED}
    return (
        run.method,
        run.network,
        run.adaptation if has_adaptation else "",
        run.results.source.get("fingerprint"),
        json.dumps(settings, sort_keys=True, default=str),
    )


def _identity(run: Run) -> str:
    """As text; empty for a run that has no seed, which stands alone."""
    if run.results.model.get("seed") is None:
        return ""
    measured = [sorted({cell.name for cell in run.results.cells}), len(run.results.sequences)]
    protocol = {k: v for k, v in run.results.protocol.items() if k not in ("device", "batch_size")}
    return json.dumps([*identity(run), measured, protocol], sort_keys=True, default=str)


def _with_seeds_of_their_own(runs: Sequence[Run], places: list[int]) -> list[list[int]]:
    """Runs of one seed twice are no seeds of a row: they stand apart."""
    seeds = [runs[place].results.model.get("seed") for place in places]
    return [places] if len(set(seeds)) == len(seeds) else [[place] for place in places]


def _label(runs: Sequence[Run]) -> str:
    """The run's own, or what the labels of all seeds have in common."""
    if len(runs) == 1:
        return runs[0].label
    adapted = f", adapted ({runs[0].adaptation})" if runs[0].adaptation else ""
    own = [run.label.removesuffix(adapted) for run in runs]
    stems = {_SEED.sub("", re.sub(r" \(\d+\)$", "", label)) for label in own}
    stem = stems.pop() if len(stems) == 1 else ""
    return (stem or runs[0].method or own[0]) + adapted
