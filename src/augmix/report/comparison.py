"""Compare runs: their common grid, seeds gathered into rows, and the differences of two rows."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from augmix.bootstrap import Interval, Kind, average, difference, seed_difference, spread, widened
from augmix.report.estimates import Estimates, Key, estimate
from augmix.report.load import (
    Grid,
    Run,
    attacked_cell,
    common_grid,
    common_sequences,
    distinct,
    flatten,
    load_runs,
    planned_grid,
)
from augmix.results import Results

_HARMLESS = {  # settings that may differ: what was measured, and on which machine
    *["suite", "names", "severities", "sequences", "seed", "batch_size", "precision", "device"],
    *["max_images", "temperature_images", "class_names", "metrics"],
}
_OTHERS = ("natural", "ood")  # suites of images other than those of the source
_MAX_NAMED = 8  # cells or corruptions named one by one


def differences(runs: Sequence[Run]) -> list[str]:
    """List the settings that forbid comparing the runs, a sentence for each.

    A setting that a run does not have, since it measured less, is no difference.
    """
    found = []
    for part in ("source", "protocol"):
        plain = [_decisive(getattr(run.results, part)) for run in runs]
        for key in dict.fromkeys(key for each in plain for key in each):
            having = [run for run, each in zip(runs, plain, strict=True) if key in each]
            values = [each[key] for each in plain if key in each]
            if len({json.dumps(value, sort_keys=True) for value in values}) > 1:
                who = _by_value(having, [_show(value) for value in values])
                found.append(f"{part} {key.replace('_', ' ')}: {who}")
    cells = [[c for c in run.results.measured if c.key.suite not in _OTHERS] for run in runs]
    counts = [_show(sorted({cell.num_images for cell in of_run})) for of_run in cells]
    if not found and len(set(counts)) > 1:
        found.append("images in a measured set: " + _by_value(runs, counts))
    ids = [run.predictions.images.ids for run in runs if run.predictions is not None]
    if not found and not all(np.array_equal(each, ids[0]) for each in ids):
        found.append("the images that were measured: other ones of the same source")
    return found


def remarks(runs: Sequence[Run], grid: Grid) -> list[str]:
    """List what a reader must know before trusting the averages, a sentence for each."""
    found = [sentence for run in runs for sentence in _missing(run)]
    bare = [run.label for run in runs if run.predictions is None]
    if bare:
        found.append(
            f"No intervals for {_listed(bare)}: the predictions of single images were not kept. "
            "Evaluate into a new folder to have them."
        )
    plans = [planned_grid(run.results) for run in runs]
    names = list(dict.fromkeys(name for plan in plans for name in plan.names))
    levels = sorted({level for plan in plans for level in plan.severities})
    left_out = [name for name in names if name not in grid.names]
    if grid and (left_out or len(levels) > len(grid.severities)):
        found.append(
            f"Averages over corruptions use only what every run has measured completely: "
            f"{_some(grid.names)}, at severities {_some(grid.severities)}."
            + (f" Left out: {_some(left_out)}." if left_out else "")
        )
    if names and not grid:
        found.append(
            "The runs have no completely measured corruption in common, so nothing is averaged "
            "over corruptions; measure the same corruptions with `augmix evaluate`."
        )
    seeds = [_show(run.results.protocol.get("seed")) for run in runs]
    if len(set(seeds)) > 1:
        found.append(
            "The random corruptions were drawn from different seeds: "
            f"{_by_value(runs, seeds)}. The sets are equally hard but not the same images."
        )
    return found


def _missing(run: Run) -> list[str]:
    """List the planned measurements that a run lacks, a sentence for each kind."""
    found = []
    results, plan = run.results, planned_grid(run.results)
    planned = [(name, level) for name in plan.names for level in plan.severities]
    sets = [f"{name} {level}" for name, level in planned if not results.find("c", name, level)]
    sequences = results.protocol.get("sequences") or []
    lacking = [name for name in sequences if not results.find_sequence(name)]
    if not results.find("clean", "clean", 0):
        found.append(f"{run.label} was not measured on clean images.")
    if not any(cell.suite == "c" for cell in results.cells):
        found.append(f"{run.label} was not measured on corrupted images.")
        sets = []
    for what, missing, total in (
        ("corrupted sets", sets, len(planned)),
        ("perturbations", lacking, len(sequences)),
    ):
        if missing:
            found.append(
                f"{run.label} is incomplete: {len(missing)} of {total} {what} are not measured "
                f"({_some(missing)}). Evaluate it again to add them."
            )
    if "attack" in results.protocol.get("suite", ()) and not attacked_cell(results):
        found.append(
            f"{run.label} is incomplete: the attack is not measured. Evaluate it again to add it."
        )
    errors = results.fourier_map
    if errors is not None and np.isnan(errors).any():
        found.append(
            f"{run.label} is incomplete: {np.isnan(errors).sum()} of {errors.size} positions of "
            "the Fourier map are not measured. Evaluate it again to add them."
        )
    return found


def _decisive(facts: dict[str, Any]) -> dict[str, Any]:
    """The settings that matter; nested ones get a name of two words."""
    return {
        key: value
        for key, value in flatten(facts, " ").items()
        if key not in _HARMLESS and value is not None and (key, value) != ("frost_textures", "")
    }


def _by_value(runs: Sequence[Run], values: Sequence[str]) -> str:
    """``4 for A and B, 8 for C``."""
    groups: dict[str, list[str]] = {}
    for run, value in zip(runs, values, strict=True):
        groups.setdefault(value, []).append(run.label)
    return "; ".join(f"{value} for {_listed(labels)}" for value, labels in groups.items())


def _listed(names: Sequence[str]) -> str:
    """``A, B and C``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _show(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, str):
        return value if len(value) <= 40 else value[:12] + "…"
    return json.dumps(value, ensure_ascii=False)


def _some(entries: Sequence[Any]) -> str:
    """The first few entries, and how many more there are."""
    shown = ", ".join(str(entry).replace("_", " ") for entry in entries[:_MAX_NAMED])
    more = len(entries) - _MAX_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


_OF_A_SEED = {"seed", "out", "name", "label", "device", "num_threads", "num_workers"}  # settings
_SEED = re.compile(r"[-_. ]*(seed)?[-_. =]*\d+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number of a row: its mean over seeds, and how uncertain it is.

    The interval over images needs predictions of single images, the standard deviation over seeds
    several runs.
    """

    value: float
    low: float | None = None
    high: float | None = None
    std: float | None = None
    num_seeds: int = 1
    interval: Kind | None = None  # of which kind it is


def over_seeds(values: Sequence[float]) -> Number:
    """Average the values of several seeds, or of one."""
    mean, std = spread(values)
    return Number(value=mean, std=std if len(values) > 1 else None, num_seeds=len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A row of the report: one run, or several that differ only in their seed.

    No two groups share a label; ``estimates`` has the numbers of each run.
    """

    label: str
    runs: tuple[Run, ...]
    estimates: tuple[Estimates, ...]

    @property
    def first(self) -> Run:
        """The first run, for what all of them have in common."""
        return self.runs[0]

    @property
    def singles(self) -> "list[Group]":
        """Each run as a group of its own."""
        return [
            Group(label=run.label, runs=(run,), estimates=(estimates,))
            for run, estimates in zip(self.runs, self.estimates, strict=True)
        ]

    def number(self, key: Key) -> Number | None:
        """Average a number over the runs; None if one of them lacks it."""
        found = [each[key] for each in self.estimates if key in each]
        if len(found) < len(self.runs):
            return None
        draws = [each.draws for each in found if each.draws is not None]
        interval = found[0].interval if len(found) == 1 else None
        if interval is None and len(draws) == len(found):
            interval = average(draws).interval()
        number = over_seeds([each.value for each in found])
        if interval is None:
            return number
        return replace(number, low=interval.low, high=interval.high, interval=interval.kind)


def contrast(first: Group, second: Group, key: Key) -> Interval | None:
    """Subtract the second row from the first, with an interval.

    Images are paired. If both rows have several seeds, the interval also includes the noise of
    training. None if one lacks predictions of single images.
    """
    pairs = [[each.get(key) for each in group.estimates] for group in (first, second)]
    draws = [[each.draws for each in found if each and each.draws] for found in pairs]
    if any(len(drawn) < len(found) for drawn, found in zip(draws, pairs, strict=True)):
        return None
    if len({len(each.resampled) for drawn in draws for each in drawn}) != 1:
        return None
    drawn = difference(average(draws[0]), average(draws[1]))
    if min(map(len, pairs)) < 2:
        return drawn.interval()
    values = [[each.value for each in found if each] for found in pairs]
    return widened(drawn.interval(), seed_difference(*values), drawn.limits)


def gather_runs(runs: Sequence[Run], estimates: Sequence[Estimates]) -> list[Group]:
    """Gather runs that differ only in their seed into rows, in the order of their first run."""
    by_key: dict[str, list[tuple[Run, Estimates]]] = {}
    for index, (run, numbers) in enumerate(zip(runs, estimates, strict=True)):
        by_key.setdefault(_identity(run) or f"run {index}", []).append((run, numbers))
    rows = []
    for pairs in by_key.values():
        seeds = {run.results.model.get("seed") for run, _ in pairs}
        is_one_row = len(seeds) == len(pairs)  # the same seed twice stays two rows
        rows += [pairs] if is_one_row else [[pair] for pair in pairs]
    labels = distinct([_label([run for run, _ in row]) for row in rows])
    return [
        Group(
            label=label,
            runs=tuple(run for run, _ in row),
            estimates=tuple(numbers for _, numbers in row),
        )
        for label, row in zip(labels, rows, strict=True)
    ]


def identity(run: Run, *, has_adaptation: bool = True) -> tuple[Any, ...]:
    """Everything but the seed that identifies a run."""
    settings = {key: value for key, value in run.config.items() if key not in _OF_A_SEED}
    return (
        run.method,
        run.network,
        run.adaptation if has_adaptation else "",
        run.results.source.get("fingerprint"),
        json.dumps(settings, sort_keys=True, default=str),
    )


def _identity(run: Run) -> str:
    """The identity as text; empty for a run without a seed, which is a row of its own."""
    if run.results.model.get("seed") is None:
        return ""
    measured = [sorted({cell.name for cell in run.results.cells}), len(run.results.sequences)]
    protocol = {k: v for k, v in run.results.protocol.items() if k not in ("device", "batch_size")}
    return json.dumps([*identity(run), measured, protocol], sort_keys=True, default=str)


def _label(runs: Sequence[Run]) -> str:
    """The run's label, or the part that the labels of all seeds share."""
    if len(runs) == 1:
        return runs[0].label
    adapted = f", adapted ({runs[0].adaptation})" if runs[0].adaptation else ""
    own = [run.label.removesuffix(adapted) for run in runs]
    stems = {_SEED.sub("", re.sub(r" \(\d+\)$", "", label)) for label in own}
    stem = stems.pop() if len(stems) == 1 else ""
    return (stem or runs[0].method or own[0]) + adapted


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs beside each other."""

    runs: tuple[Run, ...]
    groups: tuple[Group, ...]  # the rows of the report: runs, or several seeds of the same
    grid: Grid  # corruptions and severities measured by all
    sequences: tuple[str, ...]  # perturbations measured by all
    is_alexnet: bool  # whether the set is like ImageNet, so that errors are divided by AlexNet's
    unlike: tuple[str, ...]  # settings that forbid comparing the runs
    notes: tuple[str, ...]  # sentences that a reader must know
    decided: tuple[Run, ...] = ()  # of parts of the images, to a margin of error; in no row

    @property
    def warning(self) -> str:
        """What every form of the report says of runs that were not measured alike, else empty."""
        return (
            "These runs were not measured alike, so their numbers must not be compared"
            if self.unlike
            else ""
        )

    @property
    def is_comparable(self) -> bool:
        """Whether there is more than one row, all measured alike."""
        return len(self.groups) > 1 and not self.unlike

    def has(self, key: Key) -> bool:
        """Whether any row has a number."""
        return any(group.number(key) for group in self.groups)


def compare(folders: Sequence[Path]) -> Comparison:
    """Read run folders and estimate all their numbers; raises as `load_runs`."""
    found = load_runs(folders)
    runs = [run for run in found if run.results.decision is None]
    results = [run.results for run in runs]
    grid, sequences = common_grid(results), common_sequences(results)
    is_alexnet = all(is_imagenet_like(each) for each in results)
    estimates = [estimate(run, grid, sequences, is_alexnet=is_alexnet) for run in runs]
    return Comparison(
        runs=tuple(runs),
        groups=tuple(gather_runs(runs, estimates)),
        grid=grid,
        sequences=sequences,
        is_alexnet=is_alexnet,
        unlike=tuple(differences(runs)),
        notes=tuple(remarks(runs, grid)),
        decided=tuple(run for run in found if run.results.decision is not None),
    )


def is_imagenet_like(results: Results) -> bool:
    """Whether errors may be divided by AlexNet's: ImageNet's classes at ImageNet's severities."""
    classes = (results.model.get("num_classes"), results.source.get("num_classes"))
    name = str(results.source.get("name") or "").lower()
    is_imagenet = 1000 in classes or "imagenet" in name
    return is_imagenet and results.protocol.get("preset") == "imagenet"
